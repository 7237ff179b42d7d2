"""From slices at their own positions to one regular grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .errors import InputError

# A slice this far (of a step) from an even place is taken to be there.
_JITTER = 0.1
# Sideways, of a pixel: slices that lean less are upright, that stray more from a line are refused.
_SIDEWAYS = 0.5
# Neighbours further apart than so many usual steps are not mixed.
_USUAL = 1.5
# Slices closer than this share of the usual step do not set the step of a grid.
_CLOSEST = 0.25


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices on a regular grid.

    Attributes:
        voxels: (k, j, i[, 3]).
        spacing: mm along i, j, k.
        origin: LPS mm.
        direction: 3x3, its columns the directions of i, j, k.
        notes: what was done to make it regular.
    """

    voxels: np.ndarray
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: np.ndarray
    notes: tuple[str, ...]


def normal_of(orientation: np.ndarray) -> np.ndarray:
    """The unit normal of slices with these six cosines."""
    normal = np.cross(orientation[:3], orientation[3:])
    return normal / np.linalg.norm(normal)


def stack_slices(
    voxels: np.ndarray,
    positions: np.ndarray,
    orientation: np.ndarray,
    pixel: tuple[float, float],
    name: str,
) -> Stack:
    """Slices with their positions as one grid, every slice where it was taken.

    Where slices are missing the nearest one is repeated: a mixture of two far apart shows two
    outlines of everything. Where the steps have no common measure all are interpolated on a grid
    of the smallest one.

    Args:
        voxels: (k, j, i[, 3]), two or more slices.
        positions: (k, 3), LPS mm of each slice's first pixel, rising along the normal.
        orientation: six cosines, of the rows and of the columns.
        pixel: mm along i and j.
        name: for messages.

    Raises:
        InputError: more slices are missing than there are, or they are shifted sideways.
    """
    normal = normal_of(orientation)
    heights = (positions - positions[0]) @ normal
    lean = _lean(positions, heights, pixel, name)
    notes = []
    upright = np.linalg.norm(lean - normal) * heights[-1] <= _SIDEWAYS * min(pixel)
    if upright:
        lean = normal
    else:
        angle = np.degrees(np.arctan(np.linalg.norm(lean - normal)))
        notes.append(f"its slices are sheared: the gantry was tilted by {angle:.0f} degrees")
    step, filled, note = _regular(voxels, heights, name)
    notes += [note] if note else []
    third = lean / np.linalg.norm(lean)
    row = orientation[:3] / np.linalg.norm(orientation[:3])
    column = np.cross(normal, row)
    return Stack(
        filled,
        (*pixel, float(step * np.linalg.norm(lean))),
        tuple(positions[0]),
        np.stack((row, column, third), axis=1),
        tuple(notes),
    )


def _lean(
    positions: np.ndarray, heights: np.ndarray, pixel: tuple[float, float], name: str
) -> np.ndarray:
    """The way from slice to slice, per mm along the normal."""
    lean = (positions[-1] - positions[0]) / heights[-1]
    strays = np.linalg.norm(positions - positions[0] - heights[:, None] * lean, axis=1)
    if strays.max() > _SIDEWAYS * max(pixel):
        worst = int(strays.argmax())
        raise InputError(
            f"{name}: its slices are shifted sideways by up to {strays.max():.1f} mm (slice "
            f"{worst} of {len(heights)}), so they form no volume; resample them to one grid first"
        )
    return lean


def _regular(
    voxels: np.ndarray, heights: np.ndarray, name: str
) -> tuple[float, np.ndarray, str | None]:
    """(step in mm, slices at even heights, note)."""
    gaps = np.diff(heights)
    for usual in (float(np.median(gaps)), float(gaps.min())):
        step, places, even = _even_places(heights, usual)
        if even:
            break
    if even and len(places) == places[-1] + 1:
        return step, voxels, None
    if even:
        missing = places[-1] + 1 - len(places)
        if missing > len(places):
            raise InputError(
                f"{name}: its slices are {gaps.min():.2f} to {gaps.max():.2f} mm apart, more are "
                "missing than there are; keep one block of slices"
            )
        lost = sorted(set(range(places[-1] + 1)) - set(places.tolist()))
        note = (
            f"its slices are {gaps.min():.2f} to {gaps.max():.2f} mm apart: {missing} of "
            f"{places[-1] + 1} are missing (slice {', '.join(map(str, lost[:8]))}"
            f"{' ...' if len(lost) > 8 else ''}) and repeat their nearest neighbour"
        )
        return step, _fill(voxels, places.astype(float), places[-1] + 1, _USUAL), note
    usual = np.median(gaps)
    step = float(max(gaps.min(), _CLOSEST * usual))
    count = int(np.ceil(heights[-1] / step - 1e-6)) + 1
    step = heights[-1] / (count - 1)
    if count > 4 * len(heights):
        raise InputError(
            f"{name}: its slices are {gaps.min():.2f} to {gaps.max():.2f} mm apart, too unevenly "
            "for one volume; keep one block of slices"
        )
    note = (
        f"its slices are {gaps.min():.2f} to {gaps.max():.2f} mm apart; they are interpolated to "
        f"{count} slices {step:.2f} mm apart"
    )
    return step, _fill(voxels, heights / step, count, _USUAL * usual / step), note


def _even_places(heights: np.ndarray, step: float) -> tuple[float, np.ndarray, bool]:
    """(step that fits best, place of each slice in such steps, whether each has its own)."""
    places = np.rint(heights / step).astype(int)
    if places[-1] > 0:
        step = float(heights[-1] / places[-1])
        places = np.rint(heights / step).astype(int)
    strays = np.abs(heights / step - places).max()
    return step, places, bool((np.diff(places) > 0).all() and strays <= _JITTER)


def _fill(voxels: np.ndarray, places: np.ndarray, count: int, widest: float) -> np.ndarray:
    """Slices at 0, 1, ..., count - 1 out of ``voxels`` at rising ``places``: linear between
    neighbours up to ``widest`` apart, the nearer one between others."""
    filled = np.empty((count, *voxels.shape[1:]), voxels.dtype)
    for k in range(count):
        above = int(np.searchsorted(places, k - 1e-6))
        above = min(above, len(places) - 1)
        below = max(above - 1, 0)
        span = places[above] - places[below]
        share = 1.0 if span == 0 else float(np.clip((k - places[below]) / span, 0, 1))
        if span > widest:
            share = float(share > 0.5)
        if share > 1 - 1e-3 or abs(places[above] - k) <= _JITTER:
            filled[k] = voxels[above]
        elif share < 1e-3 or abs(places[below] - k) <= _JITTER:
            filled[k] = voxels[below]
        else:
            mixed = (1 - share) * voxels[below].astype(np.float64) + share * voxels[above]
            filled[k] = mixed if voxels.dtype.kind == "f" else np.rint(mixed)
    return filled
