"""Which planes were drawn in. An outline in one plane leaves a cut line in every slice that it
crosses of the two other planes, and such a line is no outline of its slice."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .slicing import AXES, GRID_AXIS, find_axis

# A voxel belongs to an outline of a plane where the drawing reaches this many times further along
# the plane's two directions than across it.
_FLAT = 2
# And at least so many voxels: a speck of 2 x 2 x 1 voxels is flat by chance, not an outline.
_LEAST = 4
# A slice is a trace where so much of it belongs to outlines of other planes.
_TRACE = 0.7
# Smallest outline, of the largest one, where traces are told from outlines.
_SMALLEST = 0.05
# A drawing is one of another axis where that needs so few planes, of the slices along this one.
_FEW = 0.25
# What goes through more neighbouring slices is a body, not some planes.
_THICKEST = 3
# A drawing of so many voxels that fills so much of the box around it is a body, not some planes.
_BODY_VOXELS, _BODY_SHARE = 1_000_000, 0.3


@dataclass(frozen=True)
class Outlines:
    """Along one axis of a drawing.

    Attributes:
        occupied: slices with any drawn voxel, rising, in canonical order.
        outlined: those that carry more than the trace of another plane.
        area: voxels of the outlined slices that belong to no other plane's outline.
        planes: how many planes explain the drawing: the outlined slices and those of other axes
            that explain the traces.
        thickness: how many neighbouring slices the outlines of other axes go through, usually.
    """

    occupied: tuple[int, ...]
    outlined: tuple[int, ...]
    area: int
    planes: int
    thickness: float


def find_outlines(mask: np.ndarray) -> dict[str, Outlines]:
    """Outlines and traces along each axis.

    Args:
        mask: canonical (k, j, i), nonzero where drawn; not empty.
    """
    box = _box(mask)
    corner = np.array([part.start for part in box])
    places = corner + np.argwhere(np.asarray(mask)[box])
    runs = np.stack([_run_lengths(places, n) for n in range(3)], axis=1)
    thin = np.stack(
        [
            np.maximum(_FLAT * runs[:, n], _LEAST) <= np.delete(runs, n, axis=1).min(axis=1)
            for n in range(3)
        ],
        axis=1,
    )
    own = {axis: _own_area(places, thin, 2 - GRID_AXIS[axis]) for axis in AXES}
    least = _SMALLEST * max(area.max() for area in own.values())
    thickness = runs.min(axis=1)
    return {
        axis: _along(places, thin, thickness, 2 - GRID_AXIS[axis], own[axis], least)
        for axis in AXES
    }


def _own_area(places: np.ndarray, thin: np.ndarray, axis: int) -> np.ndarray:
    """Voxels of each slice that belong to no outline of another axis."""
    foreign = np.delete(thin, axis, axis=1).any(axis=1)
    return np.bincount(places[~foreign, axis], minlength=int(places[:, axis].max()) + 1)


def _along(
    places: np.ndarray,
    thin: np.ndarray,
    thickness: np.ndarray,
    axis: int,
    own: np.ndarray,
    least: float,
) -> Outlines:
    index = places[:, axis]
    foreign = np.delete(thin, axis, axis=1).any(axis=1)
    total = np.bincount(index)
    occupied = np.flatnonzero(total)
    outlined = occupied[own[occupied] > (1 - _TRACE) * total[occupied]]
    if len(outlined) < len(occupied):
        outlined = outlined[own[outlined] >= least]
    traces = foreign & ~np.isin(index, outlined)
    others = [n for n in range(3) if n != axis]
    elsewhere = sum(len(np.unique(places[traces & thin[:, n], n])) for n in others)
    return Outlines(
        tuple(occupied.tolist()),
        tuple(outlined.tolist()),
        int(own[outlined].sum()),
        len(outlined) + elsewhere,
        float(np.median(thickness[foreign])) if foreign.any() else 0.0,
    )


def _run_lengths(places: np.ndarray, axis: int) -> np.ndarray:
    """For each voxel of (N, 3) how many drawn ones follow each other along ``axis`` through it."""
    others = [n for n in range(3) if n != axis]
    order = np.lexsort((places[:, axis], places[:, others[0]], places[:, others[1]]))
    line = places[order]
    joined = (np.diff(line[:, others], axis=0) == 0).all(axis=1) & (np.diff(line[:, axis]) == 1)
    group = np.concatenate(([0], np.cumsum(~joined)))
    lengths = np.empty(len(places), np.int64)
    lengths[order] = np.bincount(group)[group]
    return lengths


def outlined_slices(mask: np.ndarray, axis: str) -> tuple[int, ...]:
    """The canonical slices along ``axis`` that carry an outline, rising: all with a drawn voxel
    but the traces of other planes; none where all was drawn in planes of another axis."""
    if is_body(mask):
        across = tuple({0, 1, 2} - {2 - GRID_AXIS[axis]})
        return tuple(np.flatnonzero(np.asarray(mask).any(axis=across)).tolist())
    found = find_outlines(mask)
    here = found[axis]
    if not here.outlined:
        few = here.planes <= max(1, _FEW * len(here.occupied)) and here.thickness <= _THICKEST
        return () if few and len(here.occupied) > 1 else here.occupied
    return here.outlined if axis in _mixed(found) else here.occupied


def drawn_axis(mask: np.ndarray, spacing: tuple[float, float, float]) -> str:
    """The axis whose slices carry the drawing; where planes of several axes were drawn in, the
    one with the largest outlines.

    Args:
        mask: canonical (k, j, i), nonzero where drawn.
        spacing: mm along i, j, k.

    Raises:
        InputError: the mask is empty.
    """
    by_shape = find_axis(mask, spacing)
    if is_body(mask):
        return by_shape
    found = find_outlines(mask)
    if found[by_shape].outlined == found[by_shape].occupied:
        return by_shape
    return max(_mixed(found), key=lambda axis: found[axis].area, default=by_shape)


def planes_note(mask: np.ndarray, axis: str) -> str | None:
    """What a person should know who drew in planes of several axes; None where one was used."""
    if is_body(mask):
        return None
    found = find_outlines(mask)
    mixed = _mixed(found)
    others = [f"{len(found[a].outlined)} {a}" for a in mixed if a != axis]
    if axis not in mixed or not others:
        return None
    return (
        f"was drawn on {len(found[axis].outlined)} {axis} and {' and '.join(others)} slices; the "
        f"{axis} ones are used, axis= chooses others"
    )


def is_body(mask: np.ndarray) -> bool:
    """Whether the mask is too large and too full to be some planes."""
    inside = np.asarray(mask)[_box(mask)]
    drawn = np.count_nonzero(inside)
    return drawn >= _BODY_VOXELS and drawn > _BODY_SHARE * inside.size


def _box(mask: np.ndarray) -> tuple[slice, slice, slice]:
    """The smallest box around what is drawn."""
    planes = np.asarray(mask).any(axis=2)
    k, j = planes.any(axis=1).nonzero()[0], planes.any(axis=0).nonzero()[0]
    part = np.asarray(mask)[k[0] : k[-1] + 1, j[0] : j[-1] + 1]
    i = part.any(axis=(0, 1)).nonzero()[0]
    return slice(k[0], k[-1] + 1), slice(j[0], j[-1] + 1), slice(i[0], i[-1] + 1)


def _mixed(found: dict[str, Outlines]) -> list[str]:
    """The axes with outlines and traces, where planes explain the drawing better than slices
    along any one axis do."""
    fewest = min(len(one.occupied) for one in found.values())
    return [
        axis
        for axis, one in found.items()
        if 0 < len(one.outlined) < len(one.occupied) and one.planes <= fewest
    ]


def spans(numbers: tuple[int, ...] | list[int]) -> str:
    """Rising numbers as "3-7, 9"."""
    if not numbers:
        return "none"
    starts = [numbers[0], *(b for a, b in pairwise(numbers) if b != a + 1)]
    ends = [*(a for a, b in pairwise(numbers) if b != a + 1), numbers[-1]]
    return ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in zip(starts, ends))
