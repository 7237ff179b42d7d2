"""Which of the marked slices a support uses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .errors import InputError
from .slicing import GRID_AXIS
from .volume import Orientation

SLICE_CHOICES = ("all", "middle", "largest", "thirds")


def choose_slices(
    stack: np.ndarray,
    values: Sequence[int],
    slices: str | Sequence[int],
    axis: str,
    orientation: Orientation,
    name: str,
) -> dict[int, tuple[int, ...]]:
    """For each label, the indices of the slices to use for it, rising.

    Args:
        stack: canonical labels as slices (S, H, W).
        values: the labels to choose for; each is drawn somewhere.
        slices: one of ``SLICE_CHOICES``, taken for each label by itself, or indices along the
            file's own axis (from 0); then labels that are on none of them are left out.
        axis: "axial", "coronal" or "sagittal".
        orientation: from the file's grid to the canonical one.
        name: of the labels, for messages.

    Raises:
        InputError: an unknown choice, or a slice on which nothing is drawn.
    """
    length = max(values) + 1
    table = np.array([np.bincount(one.ravel(), minlength=length)[list(values)] for one in stack])
    areas = dict(zip(values, table.T))
    if isinstance(slices, str):
        if slices not in SLICE_CHOICES:
            raise InputError(
                f"slices {slices!r} is unknown; use {', '.join(SLICE_CHOICES)} or slice numbers"
            )
        return {value: _pick(area, slices) for value, area in areas.items()}
    if not len(slices):
        raise InputError("no slice was chosen; name at least one slice number")
    grid_axis = GRID_AXIS[axis]
    carrying = set(np.flatnonzero(sum(areas.values())).tolist())
    kept = {orientation.canonical_index(grid_axis, int(number)) for number in slices}
    for index in sorted(kept - carrying):
        number = orientation.canonical_index(grid_axis, index)
        there = _spans(sorted(orientation.canonical_index(grid_axis, n) for n in carrying))
        raise InputError(
            f"{name}: nothing is drawn on {axis} slice {number}; drawn slices are {there}"
        )
    chosen = {v: tuple(n for n in sorted(kept) if area[n]) for v, area in areas.items()}
    return {value: indices for value, indices in chosen.items() if indices}


def _pick(area: np.ndarray, choice: str) -> tuple[int, ...]:
    carrying = np.flatnonzero(area)
    if choice == "largest":
        return (int(np.argmax(area)),)
    if choice == "middle":
        return (int(carrying[len(carrying) // 2]),)
    if choice == "thirds":
        # The papers' protocol: floor({1/6, 1/2, 5/6} * C) of the C slices with the organ.
        places = {len(carrying) * part // 6 for part in (1, 3, 5)}
        return tuple(int(carrying[place]) for place in sorted(places))
    return tuple(int(n) for n in carrying)


def _spans(numbers: Sequence[int]) -> str:
    """Rising numbers as "3-7, 9"."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in spans)
