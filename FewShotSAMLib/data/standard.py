"""Grey levels as FoB's published networks were trained on them: clipped, z-scored by the volume.

The z-score is that of the prepared file (`published_frame`), all of its voxels and no others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from .intensity import CT_WINDOW
from .prepared_lines import PreparedLine, is_prepared, prepared_lines
from .slicing import extract_slices, slice_spacing
from .volume import Volume

if TYPE_CHECKING:
    from torch import Tensor

_TOP = 99.5  # percentile of all voxels at which anything but CT is clipped
_MR_THICKNESS = 7.7  # mm from slice to slice of prepared MR files

Values = TypeVar("Values", np.ndarray, "Tensor")


@dataclass(frozen=True)
class Standard:
    """Stored values are clipped to [low, high]; then `mean` becomes 0 and `deviation` 1."""

    low: float
    high: float
    mean: float
    deviation: float

    def above_low(self, voxels: np.ndarray) -> np.ndarray:
        """Clipped values above `low`, float32, (..., H, W) of (..., H, W[, 3]); colours are
        averaged away. What is not a number counts as lowest."""
        grey = np.array(voxels, dtype=np.float32)
        grey[~np.isfinite(grey)] = self.low
        np.clip(grey, self.low, self.high, out=grey)
        grey -= np.float32(self.low)
        return grey.mean(-1) if voxels.ndim == 4 else grey

    def scores(self, above_low: Values) -> Values:
        """z-scores of values above `low`, an array or a tensor."""
        return (above_low - (self.mean - self.low)) / self.deviation

    def apply(self, voxels: np.ndarray) -> np.ndarray:
        """z-scores, float32, of stored slices (N, H, W[, 3])."""
        return self.scores(self.above_low(voxels))


def measure_standard(volume: Volume, axis: str = "axial") -> Standard:
    """The clipping and z-score of a whole canonical volume with slices along `axis`.

    CT: clipped to [-125, 275] HU. Anything else: without the top 0.5 % of all voxels. A prepared
    file was clipped when it was made, and is not clipped again.
    """
    stack = extract_slices(volume.voxels, axis)[:, ::-1]  # prepared files begin with the last row
    dx, dy, dz = slice_spacing(volume.spacing, axis)
    known = is_prepared(stack.shape[1:3], (dx, dy), volume.modality)
    low, high = _ends(volume, known)
    lines = prepared_lines(stack.shape[1:3], (dx, dy), volume.modality)
    taps = [_taps(line, n) for line, n in zip(lines, stack.shape[2:0:-1], strict=True)]
    clipping, total, squares = Standard(low, high, 0.0, 1.0), 0.0, 0.0
    between = _between(len(stack), dz, volume.modality, known)
    for plane in _planes(stack, clipping, between):
        inside = _tapped(_tapped(plane, taps[1], 0), taps[0], 1)
        total += float(inside.sum(dtype=np.float64))
        squares += float(np.square(inside).sum(dtype=np.float64))
    number = between.count * lines[0].count * lines[1].count
    mean = total / number
    deviation = float(np.sqrt(max(squares / number - mean**2, 0.0)))
    return Standard(low, high, low + mean, deviation if deviation > 0 else 1.0)


def _ends(volume: Volume, prepared: bool) -> tuple[float, float]:
    if volume.modality == "CT" and not prepared:
        return CT_WINDOW
    values = volume.voxels
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
    low = float(values.min())
    high = float(values.max()) if prepared else float(np.percentile(values, _TOP))
    # In the preparation clipped values are stored again, as whole numbers where they were such.
    whole = values.dtype.kind in "iu"
    return low, max(float(int(high)), low) if whole else high


def _between(count: int, thickness: float, modality: str, prepared: bool) -> PreparedLine:
    """Slices of the prepared file, in slices of the stack. Resampling adds one beyond the last
    slice, which is empty; in MR it changes the thickness."""
    if prepared:
        return PreparedLine(0.0, 1.0, count)
    if modality == "CT":
        return PreparedLine(0.0, 1.0, count + 1)
    return PreparedLine(
        0.0, _MR_THICKNESS / thickness, int(count * thickness / _MR_THICKNESS + 1)
    )


def _planes(stack: np.ndarray, clipping: Standard, between: PreparedLine) -> Iterator[np.ndarray]:
    """The prepared slices that are not empty, clipped, above the lowest value."""
    for lower, upper, weights in zip(*_taps(between, len(stack)), strict=True):
        if weights[1] == 0 and weights[0] > 0:
            yield clipping.above_low(stack[lower : lower + 1])[0]
        elif weights.any():
            first, second = clipping.above_low(stack[[lower, upper]])
            yield weights[0] * first + weights[1] * second


def _taps(line: PreparedLine, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each prepared pixel that is not dark its two neighbours among `count` and their weights
    (n, 2); none for one outside."""
    places = line.start + line.step * np.arange(line.count - line.dark)
    inside = (places >= -0.5) & (places < count - 0.5)
    places = np.clip(places, 0, count - 1)
    lower = np.floor(places).astype(np.intp)
    upper = np.minimum(lower + 1, count - 1)
    share = places - lower
    weights = np.stack([1 - share, share], 1) * inside[:, None]
    return lower, upper, weights.astype(np.float32)


def _tapped(plane: np.ndarray, taps: tuple, axis: int) -> np.ndarray:
    lower, upper, weights = taps
    first, second = (w[:, None] if axis == 0 else w for w in weights.T)
    return plane.take(lower, axis) * first + plane.take(upper, axis) * second
