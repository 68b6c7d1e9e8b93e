"""Nodes that put references into the regions of a model."""
