"""Volumes, labels and supports: what goes in and out, with its geometry."""
