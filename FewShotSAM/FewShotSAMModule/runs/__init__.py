"""Segmentation from nodes to nodes, in a process of its own, and a look through its result."""
