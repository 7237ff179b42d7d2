"""Metrics, the papers' protocol, and a baseline without learning."""
