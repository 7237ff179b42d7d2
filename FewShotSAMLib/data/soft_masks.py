"""Masks with soft edges, which are no label maps: resized, smoothed or anti-aliased drawings and
probabilities. One structure is cut at half; several cannot be told apart and are refused."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .errors import InputError

# Fewer grey levels than these between the labels are taken for labels of their own.
_LEVELS = 8
# A value is a structure's own where so many of its neighbours within the drawing have it too.
_FLAT = 0.5
# So many of all values, and so many voxels of theirs, must look like edges.
_VALUES, _VOXELS = 0.7, 0.8
# Fewer voxels than these tell nothing of edges.
_FEWEST = 40
# Slices that are looked at, of those with a drawing.
_SLICES = 64
# What programs write for "wholly inside".
_FULL = (1, 100, 255, 1000, 10000, 65535)


def cut_soft_mask(values: np.ndarray, name: str) -> tuple[np.ndarray, str | None]:
    """A mask (k, j, i) cut at half where its edges are soft, uint8 of 0 and 1, and a note; else
    the values as they are and None.

    Raises:
        InputError: soft edges of several structures.
    """
    if values.dtype.kind == "f":
        values = np.where(np.isfinite(values), values, 0)
    if values.min(initial=0) < 0:
        return values, None
    planes = _drawn_planes(values)
    levels, index = _levels(planes)
    if len(levels) <= _LEVELS:
        return values, None
    flat = _flat_levels(index, len(levels))
    edges = ~flat
    edges[0] = False
    if not _look_soft(levels, index, edges):
        return values, None
    cores = levels[1:][(flat & _filled_levels(index, len(levels)))[1:]]
    if len(cores) > 1 and not _one_structure(cores, levels[-1]):
        shown = ", ".join(f"{core:g}" for core in cores[:6])
        raise InputError(
            f"{name}: has soft edges ({edges.sum()} grey levels) around several structures "
            f"({shown}), so it is no label map; save the labels without smoothing"
        )
    full = cores[-1] if len(cores) else next((f for f in _FULL if levels[-1] <= f), levels[-1])
    cut = (values > full / 2).astype(np.uint8)
    return cut, f"its edges are soft ({len(levels)} grey levels); it is cut at {full / 2:g}"


def _drawn_planes(values: np.ndarray) -> list[np.ndarray]:
    """The drawn part of slices, evenly spread, with an undrawn edge around each."""
    drawn = [k for k in range(len(values)) if values[k].any()]
    chosen = drawn[:: max(1, -(-len(drawn) // _SLICES))]
    planes = []
    for k in chosen:
        rows, columns = (np.flatnonzero(values[k].any(axis=n)) for n in (1, 0))
        part = values[k, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        planes.append(np.pad(part, 1))
    return planes


def _levels(planes: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
    """All values of the planes, 0 first and rising, and the planes as indices into them."""
    found = [np.unique(plane) for plane in planes]
    levels = np.unique(np.concatenate((*found, [0])))
    return levels, [np.searchsorted(levels, plane) for plane in planes]


def _pairs(index: list[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Neighbouring pixels along rows and columns."""
    for plane in index:
        yield plane[1:].ravel(), plane[:-1].ravel()
        yield plane[:, 1:].ravel(), plane[:, :-1].ravel()


def _flat_levels(index: list[np.ndarray], count: int) -> np.ndarray:
    """Which values fill areas of their own."""
    same, other = np.zeros(count), np.zeros(count)
    for a, b in _pairs(index):
        inside = (a > 0) & (b > 0)
        a, b = a[inside], b[inside]
        equal = a == b
        same += 2 * np.bincount(a[equal], minlength=count)
        for side in (a, b):
            other += np.bincount(side[~equal], minlength=count)
    return same > _FLAT * np.maximum(same + other, 1)


def _filled_levels(index: list[np.ndarray], count: int) -> np.ndarray:
    """Which values have pixels with the same value all around; straight edges have none."""
    filled = np.zeros(count, np.int64)
    for plane in index:
        inner = plane[1:-1, 1:-1]
        same = (plane[:-2, 1:-1] == inner) & (plane[2:, 1:-1] == inner)
        same &= (plane[1:-1, :-2] == inner) & (plane[1:-1, 2:] == inner)
        filled += np.bincount(inner[same], minlength=count)
    return filled > 0


def _look_soft(levels: np.ndarray, index: list[np.ndarray], edges: np.ndarray) -> bool:
    """Whether the values without an area of their own are many and lie like edges: between their
    neighbours' values, or, as JPEG leaves them, close to nothing or to the highest value."""
    if edges.sum() < max(_LEVELS, _VALUES * (len(levels) - 1)):
        return False
    like_edges = total = 0
    counts = sum(np.bincount(plane.ravel(), minlength=len(levels)) for plane in index)
    white = counts[1:][levels[1:] > 0.9 * levels[-1]].sum() > counts[1:].sum() / 2
    is_jpeg = white and 200 <= levels[-1] <= 255
    for plane in index:
        inner = plane[1:-1, 1:-1]
        ours = edges[inner]
        found = _between(plane[:-2, 1:-1], inner, plane[2:, 1:-1])
        found |= _between(plane[1:-1, :-2], inner, plane[1:-1, 2:])
        if is_jpeg:
            share = levels[inner] / levels[-1]
            found |= (share < 0.1) | (share > 0.9)
        total += np.count_nonzero(ours)
        like_edges += np.count_nonzero(ours & found)
    return total >= _FEWEST and like_edges >= _VOXELS * total


def _between(one: np.ndarray, middle: np.ndarray, other: np.ndarray) -> np.ndarray:
    return ((one < middle) & (middle < other)) | ((one > middle) & (middle > other))


def _one_structure(cores: np.ndarray, highest: float) -> bool:
    """Whether all flat values are near nothing or near the highest (JPEG's ripples)."""
    share = np.asarray(cores, dtype=float) / highest
    return bool(((share < 0.1) | (share > 0.9)).all())
