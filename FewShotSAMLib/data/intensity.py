"""From stored values to grey levels in [0, 1]: which modality, which range, and the mapping."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .errors import InputError
from .volume import Volume

# Soft-tissue window of the papers (FoB: [-125, 275] HU).
CT_WINDOW = (-125.0, 275.0)
MR_PERCENTILES = (0.5, 99.5)

# Statistics are taken on at most about this many voxels, evenly spread.
_SAMPLE = 2_000_000


@dataclass(frozen=True)
class IntensityRange:
    """Stored values that become 0 and 1, and where they come from."""

    low: float
    high: float
    source: str


def evenly_spread(voxels: np.ndarray) -> np.ndarray:
    """Evenly spread finite values of ``voxels``, flat."""
    step = max(1, int(np.ceil((voxels.size / _SAMPLE) ** (1 / 3))))
    values = voxels[tuple(slice(None, None, min(step, max(1, n // 32))) for n in voxels.shape[:3])]
    values = values.ravel()
    return values[np.isfinite(values)] if values.dtype.kind == "f" else values


def detect_modality(voxels: np.ndarray) -> str:
    """ "RGB", "CT" or "MR" from the values of a volume (k, j, i[, 3]) whose source does not tell.

    CT is recognised by Hounsfield units: air near -1000 together with soft tissue, or, cropped
    inside the body, whole numbers that lie where fat, organs and bone do. Padding below -1100 is
    left out. Everything else that is grey counts as MR.
    """
    if voxels.ndim == 4:
        return "RGB"
    if voxels.dtype.kind in "ub":
        return "MR"
    values = evenly_spread(voxels)
    if not values.size or values.min() >= 0:
        return "MR"
    padding = values < -1100
    if np.mean(padding & (values != values.min())) > 0.02 or padding.all():
        return "MR"
    values = values[~padding].astype(np.float32)
    low, middle, high, highest = np.percentile(values, (1, 50, 99, 99.9))
    if highest > 4100:
        return "MR"
    air = np.mean(values < -900)
    lung = np.mean((values >= -900) & (values < -200))
    tissue = np.mean((values >= -200) & (values <= 400))
    if air > 0.005 and tissue > 0.05 and tissue > 0.25 * lung:
        return "CT"
    whole = np.mean(np.abs(values - np.rint(values)) < 1e-3) > 0.99
    fat = np.mean((values >= -150) & (values <= -40))
    inside = tissue > 0.8 and fat > 0.005 and -150 <= middle <= 200 and high - low > 60
    return "CT" if whole and inside else "MR"


def intensity_range(volume: Volume, window: tuple[float, float] | None = None) -> IntensityRange:
    """The range of stored values to show as black to white.

    CT: the window (-125, 275) HU. MR and other: percentiles 0.5 and 99.5 of the finite voxels
    without the background, that is without the lowest value where it is common. RGB: all of the
    stored type's range. ``window`` (low, high) overrides each of them.

    Raises:
        InputError: all voxels are equal or not finite, or the window is not low < high.
    """
    if window is not None:
        low, high = float(window[0]), float(window[1])
        if not (np.isfinite(low) and np.isfinite(high) and low < high):
            raise InputError(f"intensity window ({low:g}, {high:g}): the first must be lower")
        return IntensityRange(low, high, "given window")
    check_varied(volume)
    if volume.is_rgb:
        if volume.voxels.dtype.kind == "f":
            return IntensityRange(0.0, 1.0 if np.nanmax(volume.voxels) <= 1 else 255.0, "RGB")
        return IntensityRange(0.0, float(np.iinfo(volume.voxels.dtype).max), "RGB")
    if volume.modality == "CT":
        return IntensityRange(*CT_WINDOW, "CT window")
    values = evenly_spread(volume.voxels)
    lowest = values.min() if values.size else 0
    foreground = values[values > lowest]
    if values.size - foreground.size < 0.01 * values.size:
        foreground = values
    if foreground.size:
        low, high = (float(p) for p in np.percentile(foreground, MR_PERCENTILES))
        if low < high:
            return IntensityRange(low, high, "percentiles 0.5 and 99.5 of the foreground")
    finite = volume.voxels[np.isfinite(volume.voxels)]
    return IntensityRange(float(finite.min()), float(finite.max()), "lowest and highest value")


def check_varied(volume: Volume) -> None:
    """Refuse a volume without any contrast.

    Raises:
        InputError: no voxel is finite, or all finite voxels are equal.
    """
    name = volume.name or "volume"
    if volume.voxels.dtype.kind == "f":
        low = min(np.min(s, where=np.isfinite(s), initial=np.inf) for s in volume.voxels)
        high = max(np.max(s, where=np.isfinite(s), initial=-np.inf) for s in volume.voxels)
    else:
        low, high = volume.voxels.min(), volume.voxels.max()
    if low > high:
        raise InputError(f"{name}: none of its voxels is a number; export it again")
    if low == high:
        raise InputError(f"{name}: all voxels have the value {low:g}; choose an image with content")


def normalise(voxels: np.ndarray, intensity: IntensityRange) -> np.ndarray:
    """Grey levels in [0, 1], float32, of the same shape.

    Works on any part of a volume: give it batches of slices to keep memory low. NaN and infinite
    values count as background and become 0.
    """
    grey = np.array(voxels, dtype=np.float32)
    if voxels.dtype.kind == "f":
        grey[~np.isfinite(grey)] = intensity.low
    grey -= np.float32(intensity.low)
    grey *= np.float32(1.0 / (intensity.high - intensity.low))
    return np.clip(grey, 0.0, 1.0, out=grey)
