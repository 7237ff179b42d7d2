"""Whether a mask ends where the picture changes, and its outline."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

RIM = 2  # pixels on either side of a border
_FLAT = 0.02  # grey levels, of 1: spread of what is quite even
_ORDINARY = (0.1, 0.9)  # share of the grey levels inside below the darkest and brightest of them


def border(grey: np.ndarray, mask: np.ndarray) -> float:
    """0 to 1: how much the grey levels (H, W) on both sides of a mask's border differ, beside
    their spread inside; a half where they differ by as much."""
    rim = mask & ~ndimage.binary_erosion(mask, iterations=RIM, border_value=1)
    ring = _ring(mask)
    if not rim.any() or not ring.any():  # the mask fills the picture
        return 0.0
    apart = abs(float(grey[rim].mean() - grey[ring].mean())) / (float(grey[mask].std()) + _FLAT)
    return apart / (1 + apart)


def closed(grey: np.ndarray, mask: np.ndarray) -> float:
    """0 to 1: the share of what lies around a mask (H, W) that does not look like its inside, that
    is, whose grey levels are not ordinary there. Where a mask has run over the structure's end, or
    stopped short of it, what lies beyond goes on as it is inside."""
    ring = _ring(mask)
    if not ring.any():
        return 0.0
    darkest, brightest = ordinary(grey[mask])
    return float(((grey[ring] < darkest) | (grey[ring] > brightest)).mean())


def ordinary(inside: np.ndarray) -> tuple[float, float]:
    """The darkest and brightest ordinary one of a structure's grey levels."""
    darkest, brightest = np.quantile(inside, _ORDINARY)
    return float(darkest), float(brightest)


def _ring(mask: np.ndarray) -> np.ndarray:
    """What lies just outside of a mask (H, W)."""
    return ndimage.binary_dilation(mask, iterations=RIM) & ~mask


def roundness(mask: np.ndarray) -> float:
    """0 to 1: area of a mask (H, W) over that of a disc with as many pixels on its edge."""
    edge = np.count_nonzero(mask & ~ndimage.binary_erosion(mask))
    return min(4 * np.pi * np.count_nonzero(mask) / max(edge, 1) ** 2, 1.0)
