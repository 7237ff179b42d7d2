"""Label values out of the numbers that files store."""

from __future__ import annotations

import numpy as np

from .errors import InputError


def whole_numbers(values: np.ndarray, name: str) -> np.ndarray:
    """Label values as uint8 where they fit, else uint16. NaN counts as 0.

    Raises:
        InputError: negative, fractional (unless all lie in [0, 1]: cut at 0.5) or above 65535.
    """
    if values.dtype.kind == "f":
        values = np.where(np.isfinite(values), values, 0)
        rounded = np.rint(values)
        if np.abs(values - rounded).max(initial=0) > 1e-3:
            if values.min() >= 0 and values.max() <= 1:
                return (values > 0.5).astype(np.uint8)
            raise InputError(f"{name}: holds fractions, so it is no label map; choose the labels")
        values = rounded
    low, high = values.min(initial=0), values.max(initial=0)
    if low < 0:
        raise InputError(f"{name}: holds the negative label {low:g}; labels are 1, 2, 3 ...")
    if high > 65535:
        raise InputError(f"{name}: holds the label {high:g}; the highest possible is 65535")
    return values.astype(np.uint8 if high <= 255 else np.uint16)


def present_labels(voxels: np.ndarray) -> list[int]:
    """The labels above 0 in an array (k, j, i) of whole numbers, rising."""
    counts = np.zeros(int(voxels.max(initial=0)) + 1, np.int64)
    for plane in voxels:
        counts += np.bincount(plane.ravel(), minlength=len(counts))
    return [int(value) for value in np.flatnonzero(counts) if value]
