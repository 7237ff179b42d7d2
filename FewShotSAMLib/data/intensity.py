"""From stored values to grey levels in [0, 1]: which modality, which range, and the mapping."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .errors import InputError
from .hounsfield import detect_modality
from .sampling import evenly_spread
from .volume import Volume

# Soft-tissue window of the papers (FoB: [-125, 275] HU).
CT_WINDOW = (-125.0, 275.0)
MR_PERCENTILES = (0.5, 99.5)
# Where the brightest lie so many times further up than all but 3 %, they are metal or the like.
_FAR, _MOST = 5.0, 97.0

__all__ = [
    "IntensityRange",
    "check_varied",
    "detect_modality",
    "evenly_spread",
    "intensity_range",
    "normalise",
]


@dataclass(frozen=True)
class IntensityRange:
    """Stored values that become 0 and 1, and where they come from."""

    low: float
    high: float
    source: str


def intensity_range(volume: Volume, window: tuple[float, float] | None = None) -> IntensityRange:
    """The range of stored values to show as black to white.

    CT: the window (-125, 275) HU. MR and other: percentiles 0.5 and 99.5 of the finite voxels
    without the background, that is without the lowest value where it is common; where a few are
    far brighter than all others (metal), percentile 97. RGB: all of the stored type's range.
    ``window`` (low, high) overrides each of them.

    Raises:
        InputError: all voxels are equal or not finite, the window is not low < high, or nothing
            but black or white would be seen.
    """
    found = _range_of(volume, window)
    _check_seen(volume, found)
    return found


def _range_of(volume: Volume, window: tuple[float, float] | None) -> IntensityRange:
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
        most = float(np.percentile(foreground, _MOST))
        if low < most and high - low > _FAR * (most - low):
            return IntensityRange(low, most, "percentiles 0.5 and 97 of the foreground")
        if low < high:
            return IntensityRange(low, high, "percentiles 0.5 and 99.5 of the foreground")
    finite = volume.voxels[np.isfinite(volume.voxels)]
    return IntensityRange(float(finite.min()), float(finite.max()), "lowest and highest value")


def _check_seen(volume: Volume, shown: IntensityRange) -> None:
    """Refuse a range in which everything is black, or everything is white."""
    values = evenly_spread(volume.voxels)
    if not values.size:
        return
    low, high = float(values.min()), float(values.max())
    if shown.low < high and low < shown.high:
        return
    exact = volume.voxels[np.isfinite(volume.voxels)]
    low, high = float(exact.min()), float(exact.max())
    if shown.low < high and low < shown.high:
        return
    what = "black" if high <= shown.low else "white"
    raise InputError(
        f"{volume.name or 'volume'}: everything is {what} when {shown.low:g} to {shown.high:g} is "
        f"shown ({shown.source}), since its values go from {low:g} to {high:g}; give a window= "
        "within them or another modality="
    )


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
