"""Slices of a canonical volume along one anatomical axis, and which axis a person drew on.

Everything here expects the canonical orientation (``Volume.canonical``): arrays (k, j, i) with k
from inferior to superior, j from anterior to posterior, i from right to left. Slices are shown
the usual way: axial rows j and columns i; coronal rows k and columns i; sagittal rows k and
columns j, the last two with superior at the top.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .errors import InputError
from .intensity import IntensityRange, normalise
from .volume import Volume

AXES = ("axial", "coronal", "sagittal")

# Grid axis (i, j, k = 0, 1, 2) that each stack of canonical slices runs along.
GRID_AXIS = {"axial": 2, "coronal": 1, "sagittal": 0}


def _array_axis(axis: str) -> int:
    return 2 - GRID_AXIS[axis]


def check_axis(axis: str) -> str:
    """``axis`` itself.

    Raises:
        InputError: it is none of ``AXES``.
    """
    if axis not in AXES:
        raise InputError(f"axis {axis!r} is unknown; use one of {', '.join(AXES)}")
    return axis


def extract_slices(voxels: np.ndarray, axis: str) -> np.ndarray:
    """The stack of slices (S, H, W[, channel]) of canonical voxels (k, j, i[, channel]).

    A view: slice s is the s-th along the axis, from inferior (axial), anterior (coronal) or
    right (sagittal).
    """
    check_axis(axis)
    if axis == "axial":
        return voxels
    order = (1, 0, 2) if axis == "coronal" else (2, 0, 1)
    return voxels[::-1].transpose(*order, *range(3, voxels.ndim))


def put_slices(stack: np.ndarray, axis: str) -> np.ndarray:
    """The inverse of ``extract_slices``: (S, H, W[, channel]) -> (k, j, i[, channel]), a view."""
    check_axis(axis)
    if axis == "axial":
        return stack
    order = (1, 0, 2) if axis == "coronal" else (1, 2, 0)
    return stack.transpose(*order, *range(3, stack.ndim))[::-1]


def slice_spacing(spacing: tuple[float, float, float], axis: str) -> tuple[float, float, float]:
    """(dx, dy, dz) in mm, along a slice's columns, its rows and from slice to slice, of a
    canonical spacing along i, j, k."""
    check_axis(axis)
    i, j, k = spacing
    return {"axial": (i, j, k), "coronal": (i, k, j), "sagittal": (j, k, i)}[axis]


def find_axis(mask: np.ndarray, spacing: tuple[float, float, float]) -> str:
    """The axis whose slices carry the drawing.

    A drawing on slices is flat: along its axis it has hardly any neighbouring voxels (one slice,
    every fifth slice) or it fills far fewer slices than along the two others (some neighbouring
    slices). A mask that is neither (a whole organ) has no such axis: then the axis of the largest
    spacing is taken, and the axial one where spacings are alike.

    Args:
        mask: canonical (k, j, i), nonzero where drawn.
        spacing: mm along i, j, k.

    Raises:
        InputError: the mask is empty.
    """
    mask = np.asarray(mask) != 0
    single = [axis for axis in AXES if mask.shape[_array_axis(axis)] == 1]
    if len(single) == 1 and mask.any():
        return single[0]
    occupied = [mask.any(axis=tuple({0, 1, 2} - {n})).nonzero()[0] for n in range(3)]
    if not len(occupied[0]):
        raise InputError("the mask is empty: mark the structure on at least one slice")
    box = mask[tuple(slice(indices[0], indices[-1] + 1) for indices in occupied)]
    count = {axis: len(occupied[_array_axis(axis)]) for axis in AXES}
    step = {axis: slice_spacing(spacing, axis)[2] for axis in AXES}
    total = np.count_nonzero(box)

    def rank(axis: str) -> tuple[float, ...] | None:
        along = np.moveaxis(box, _array_axis(axis), 0)
        joined = np.count_nonzero(along[1:] & along[:-1]) / total
        others = min(count[other] for other in AXES if other != axis)
        if joined >= 0.1 and count[axis] > 0.5 * others:
            return None
        return (joined >= 0.1, count[axis], -round(step[axis], 3))

    ranks = {axis: rank(axis) for axis in AXES}
    flat = [axis for axis in AXES if ranks[axis] is not None]
    if flat:
        return min(flat, key=lambda axis: ranks[axis])
    if step["axial"] >= 0.95 * max(step.values()):
        return "axial"
    return max(AXES, key=lambda axis: step[axis])


@dataclass(frozen=True)
class FieldOfView:
    """A square part of a slice: its centre (x, y) and side in mm.

    Millimetres run along the slice's columns and rows from the centre of pixel (0, 0). The square
    may reach outside of the slice.
    """

    centre_mm: tuple[float, float]
    side_mm: float


def whole_field(shape: tuple[int, int], spacing: tuple[float, float]) -> FieldOfView:
    """The smallest square around a whole slice of ``shape`` (H, W) and ``spacing`` (dx, dy)."""
    height, width = shape
    dx, dy = spacing
    centre = ((width - 1) / 2 * dx, (height - 1) / 2 * dy)
    return FieldOfView(centre, max(width * dx, height * dy))


def body_field(
    normalised: np.ndarray, axis: str, spacing: tuple[float, float, float]
) -> FieldOfView:
    """One square around the body for all slices along ``axis``.

    The body is what is brighter than half of Otsu's threshold after smoothing and opening: the
    largest connected part in 3-D and every other at least a tenth as large (arms, a second leg).
    The square has a margin of 4 %. Where what it leaves out is not dark all through, there is no
    background to speak of (a cropped volume), and the whole slice is taken.

    Args:
        normalised: canonical grey levels in [0, 1], (k, j, i[, 3]).
        axis: "axial", "coronal" or "sagittal".
        spacing: mm along i, j, k.
    """
    check_axis(axis)
    dx, dy, _ = slice_spacing(spacing, axis)
    stack = extract_slices(normalised, axis)
    return _field_of_stack(stack, (dx, dy), stack.shape[1:3], (1, 1))


def volume_field(volume: Volume, intensity: IntensityRange, axis: str) -> FieldOfView:
    """``body_field`` of a canonical volume's stored values, on a thinned copy: fast and small."""
    check_axis(axis)
    dx, dy, _ = slice_spacing(volume.spacing, axis)
    stack = extract_slices(volume.voxels, axis)
    steps = [max(1, n // limit) for n, limit in zip(stack.shape, (48, 128, 128))]
    thin = normalise(stack[tuple(slice(None, None, step) for step in steps)], intensity)
    return _field_of_stack(thin, (dx, dy), stack.shape[1:3], (steps[2], steps[1]))


def _field_of_stack(
    stack: np.ndarray,
    spacing: tuple[float, float],
    shape: tuple[int, int],
    steps: tuple[int, int],
) -> FieldOfView:
    """``stack`` (S, h, w[, 3]) holds every ``steps`` (x, y)-th pixel of slices of ``shape``."""
    grey = stack.mean(axis=-1) if stack.ndim == 4 else stack
    whole = whole_field(shape, spacing)
    grey = ndimage.uniform_filter(grey.astype(np.float32), size=(1, 3, 3))
    threshold = 0.5 * _otsu(grey)
    body = ndimage.binary_opening(grey > threshold, structure=np.ones((1, 3, 3), bool))
    parts, number = ndimage.label(body)
    if not number:
        return whole
    sizes = np.bincount(parts.ravel())[1:]
    kept = np.isin(parts, 1 + np.flatnonzero(sizes >= 0.1 * sizes.max())).any(axis=0)
    rows, columns = kept.any(axis=1).nonzero()[0], kept.any(axis=0).nonzero()[0]
    left_out = np.ones(grey.shape, bool)
    left_out[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = False
    if left_out.any() and np.mean(grey[left_out] > threshold) > 0.1:
        return whole

    def centre_and_length(
        indices: np.ndarray, step: int, mm: float, size: int
    ) -> tuple[float, float]:
        first = max(indices[0] * step - step / 2, -0.5)
        last = min(indices[-1] * step + step / 2, size - 0.5)
        return float((first + last) / 2 * mm), float((last - first) * mm)

    x, width = centre_and_length(columns, steps[0], spacing[0], shape[1])
    y, height = centre_and_length(rows, steps[1], spacing[1], shape[0])
    return FieldOfView((x, y), min(1.04 * max(width, height), whole.side_mm))


def _otsu(grey: np.ndarray) -> float:
    """The threshold in [0, 1] that parts grey levels into two classes best (Otsu 1979)."""
    counts, edges = np.histogram(grey, bins=128, range=(0.0, 1.0))
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * middles)
    with np.errstate(divide="ignore", invalid="ignore"):
        difference = sums / below - (sums[-1] - sums) / above
    between = np.nan_to_num(below * above * difference**2)
    return float(edges[1 + int(np.argmax(between))])
