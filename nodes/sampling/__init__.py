"""The sampling path: patches at the layers, what a run works out, and recording what references did."""
