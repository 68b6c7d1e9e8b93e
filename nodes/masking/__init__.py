"""The mask nodes."""
