"""Which slice is best marked next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

_DRAWN = "support"
_BEYOND = 0.25  # of a structure's extent: so far it may go on where it was not found
_MISSED = 0.5  # share of its last slice's area that is missed there, falling to none


class JudgedSlice(Protocol):
    """What is asked of a `SliceResult`."""

    index: int
    label: int
    score: float
    present: bool
    area_mm2: float
    source: str


def next_to_mark(slices: Sequence[JudgedSlice], label: int | None = None) -> int | None:
    """The slice whose marking promises most, counted along the file's axis from 0; None where
    nothing was found, or all of it was marked.

    What is wrong in a slice is taken to be its area times what its score lacks of 1; beyond the
    ends something may be missed. One more marked slice takes the more of a slice's errors the
    nearer it is, beside the nearest slice that was marked already.

    Args:
        slices: of a result.
        label: the structure to mark; None for all of them together.
    """
    if not slices:
        return None
    first = min(one.index for one in slices)
    gains = np.zeros(max(one.index for one in slices) - first + 1)
    for value in {one.label for one in slices} if label is None else {label}:
        gains += _gains([one for one in slices if one.label == value], first, len(gains))
    return first + int(gains.argmax()) if gains.any() else None


def _gains(slices: Sequence[JudgedSlice], first: int, count: int) -> np.ndarray:
    """What marking each of some slices takes of one structure's errors, mm2."""
    areas, lacks, marked = np.zeros(count), np.zeros(count), np.zeros(count, bool)
    for one in slices:
        place = one.index - first
        marked[place] = one.source == _DRAWN
        areas[place] = one.area_mm2 if one.present else 0.0
        lacks[place] = 0.0 if marked[place] else 1.0 - one.score
    found = areas * lacks
    errors = found + _missed(areas)
    places = np.arange(count)
    apart = np.abs(places[:, None] - places)  # of a slice, and one that would be marked
    nearest = apart[:, marked].min(axis=1) if marked.any() else np.full(count, count)
    taken = 1 - np.minimum(apart, nearest[:, None]) / np.maximum(nearest, 1)[:, None]
    gains = errors @ taken
    gains[found == 0] = 0  # nothing to outline is known to be there
    return gains


def _missed(areas: np.ndarray) -> np.ndarray:
    """Area (S,) that may be missed beyond the ends of a structure."""
    missed = np.zeros(len(areas))
    if not areas.any():
        return missed
    low, high = np.flatnonzero(areas)[[0, -1]]
    reach = max(1, round((high - low + 1) * _BEYOND))
    for step in range(1, reach + 1):
        share = _MISSED * (1 - step / (reach + 1))
        for end, place in ((low, low - step), (high, high + step)):
            if 0 <= place < len(areas):
                missed[place] = share * (areas[end] + 0.2 * areas.max())
    return missed
