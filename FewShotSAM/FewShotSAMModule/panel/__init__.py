"""The panel: its sections, what may be done when, and the parameters that they show."""
