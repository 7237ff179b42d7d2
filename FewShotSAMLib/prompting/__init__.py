"""From support and query features to prompts for a promptable model."""
