"""Running a graph without a browser, and the demo that does so."""
