"""Colours for labels that come without one."""

from __future__ import annotations

from colorsys import hsv_to_rgb

# Step of the golden section: neighbouring label values get hues far apart.
_GOLDEN = 0.618033988749895


def default_colour(value: int) -> tuple[float, float, float]:
    """RGB in 0..1 for a label value, the same on every run."""
    saturation = (0.75, 0.55, 0.9)[value // 12 % 3]
    red, green, blue = hsv_to_rgb((0.02 + value * _GOLDEN) % 1.0, saturation, 0.9)
    return (round(red, 4), round(green, 4), round(blue, 4))
