"""A process that segments for another one, and what the two say to each other."""
