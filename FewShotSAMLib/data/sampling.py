"""Few values that stand for all of a volume's."""

from __future__ import annotations

import numpy as np

# Statistics are taken on at most about this many voxels, evenly spread.
_SAMPLE = 2_000_000


def evenly_spread(voxels: np.ndarray) -> np.ndarray:
    """Evenly spread finite values of ``voxels``, flat."""
    step = max(1, int(np.ceil((voxels.size / _SAMPLE) ** (1 / 3))))
    values = voxels[tuple(slice(None, None, min(step, max(1, n // 32))) for n in voxels.shape[:3])]
    values = values.ravel()
    return values[np.isfinite(values)] if values.dtype.kind == "f" else values
