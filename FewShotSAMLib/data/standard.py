"""Pictures as FoB's published networks were trained on them: clipped, z-scored by the volume."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .intensity import CT_WINDOW, evenly_spread
from .volume import Volume

_TOP = 99.5  # percentile at which anything but CT is clipped


@dataclass(frozen=True)
class Standard:
    """Stored values are clipped to [low, high]; then `mean` becomes 0 and `deviation` 1."""

    low: float
    high: float
    mean: float
    deviation: float

    def apply(self, voxels: np.ndarray) -> np.ndarray:
        """z-scores, float32, of the same shape; colours are averaged away. What is not a number
        counts as lowest."""
        grey = np.array(voxels, dtype=np.float32)
        grey[~np.isfinite(grey)] = self.low
        np.clip(grey, self.low, self.high, out=grey)
        grey = (grey - self.mean) / self.deviation
        return grey.mean(-1) if grey.ndim == 4 else grey


def measure_standard(volume: Volume) -> Standard:
    """The clipping and z-score of a whole volume: CT [-125, 275] HU; anything else without its
    top 0.5 %. Measured on at most two million voxels, evenly spread."""
    values = evenly_spread(volume.voxels).astype(np.float64)
    if volume.modality == "CT":
        low, high = CT_WINDOW
    else:
        low, high = float(values.min()), float(np.percentile(values, _TOP))
    values = np.clip(values, low, high)
    deviation = float(values.std())
    return Standard(low, high, float(values.mean()), deviation if deviation > 0 else 1.0)
