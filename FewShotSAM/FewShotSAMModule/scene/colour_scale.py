"""Colours for numbers: equal steps of a number are equal steps for the eye."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import slicer

# Lightness (0..100), hue in degrees and chroma of CIELAB at both ends: from a dark violet over
# blue and green to a light yellow, which those who see no red or green can follow by lightness.
_LIGHTNESS, _HUE, _CHROMA = (25.0, 92.0), (305.0, 100.0), (45.0, 75.0)
# D65 white, and CIE XYZ to linear sRGB (IEC 61966-2-1).
_WHITE = np.array([0.95047, 1.0, 1.08883])
_TO_RGB = np.array(
    [[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]]
)
_COUNT = 256


@cache
def perceptual_colours(count: int = _COUNT) -> np.ndarray:
    """sRGB colours (count, 3) in 0..1 whose lightness rises evenly."""
    lightness, hue, chroma = (np.linspace(*ends, count) for ends in (_LIGHTNESS, _HUE, _CHROMA))
    colours = np.empty((count, 3))
    for n in range(count):
        # What no screen can show is made greyer, not lighter or darker: the most colourful one
        # that can be shown is found by halving.
        grey, colourful = 0.0, float(chroma[n])
        for _ in range(12):
            middle = (grey + colourful) / 2.0
            rgb = _srgb(lightness[n], middle, np.radians(hue[n]))
            shown = bool(((rgb >= 0.0) & (rgb <= 1.0)).all())
            grey, colourful = (middle, colourful) if shown else (grey, middle)
        colours[n] = np.clip(_srgb(lightness[n], grey, np.radians(hue[n])), 0.0, 1.0)
    return colours


def _srgb(lightness: float, chroma: float, hue: float) -> np.ndarray:
    y = (lightness + 16.0) / 116.0
    f = np.array([y + chroma * np.cos(hue) / 500.0, y, y - chroma * np.sin(hue) / 200.0])
    xyz = _WHITE * np.where(f > 6.0 / 29.0, f**3, 3.0 * (6.0 / 29.0) ** 2 * (f - 4.0 / 29.0))
    linear = _TO_RGB @ xyz
    bright = 1.055 * np.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055
    return np.where(linear > 0.0031308, bright, 12.92 * linear)


def add_colour_node(scene: Any) -> Any:
    """The scale as a ``vtkMRMLColorTableNode``: listed nowhere, neither saved nor undone."""
    node = slicer.vtkMRMLColorTableNode()
    node.SetTypeToUser()
    node.SetName("Confidence")
    node.SetNumberOfColors(_COUNT)
    for n, colour in enumerate(perceptual_colours()):
        node.SetColor(n, f"{n}", *(float(part) for part in colour), 1.0)
    node.SetHideFromEditors(True)
    node.SetSaveWithScene(False)
    node.SetUndoEnabled(False)
    return scene.AddNode(node)
