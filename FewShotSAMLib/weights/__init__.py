"""Weights on disk: which there are, where they lie, how they come and how they are read."""
