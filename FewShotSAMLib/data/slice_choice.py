"""Which of the marked slices a support uses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .drawn_planes import outlined_slices, spans
from .errors import InputError
from .slicing import GRID_AXIS, put_slices
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
        InputError: an unknown choice, or a slice on which nothing is drawn. The trace of another
            plane's drawing is nothing.
    """
    areas = {value: _outline_areas(stack, value, axis) for value in values}
    if isinstance(slices, str):
        if slices not in SLICE_CHOICES:
            raise InputError(
                f"slices {slices!r} is unknown; use {', '.join(SLICE_CHOICES)} or slice numbers"
            )
        return {value: _pick(area, slices) for value, area in areas.items() if area.any()}
    if not len(slices):
        raise InputError("no slice was chosen; name at least one slice number")
    grid_axis = GRID_AXIS[axis]
    carrying = set(np.flatnonzero(sum(areas.values())).tolist())
    kept = {orientation.canonical_index(grid_axis, int(number)) for number in slices}
    for index in sorted(kept - carrying):
        number = orientation.canonical_index(grid_axis, index)
        there = spans(sorted(orientation.canonical_index(grid_axis, n) for n in carrying))
        raise InputError(
            f"{name}: nothing is drawn on {axis} slice {number}; drawn slices are {there}"
        )
    chosen = {v: tuple(n for n in sorted(kept) if area[n]) for v, area in areas.items()}
    return {value: indices for value, indices in chosen.items() if indices}


def _outline_areas(stack: np.ndarray, value: int, axis: str) -> np.ndarray:
    """Pixels of one label on each slice, 0 where it is only the trace of another plane."""
    mask = stack == value
    area = mask.sum(axis=(1, 2))
    outlined = list(outlined_slices(put_slices(mask, axis), axis))
    kept = np.zeros_like(area)
    kept[outlined] = area[outlined]
    return kept


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
