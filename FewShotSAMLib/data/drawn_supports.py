"""Supports of structures that may overlap: one for each label map, all along one axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .drawn_planes import drawn_axis, outlined_slices, spans
from .errors import InputError
from .label_maps import keep_values, label_name
from .label_values import present_labels
from .slicing import GRID_AXIS, check_axis
from .support import Support
from .volume import Volume


def draw_supports(
    volume: Volume,
    maps: Sequence[Volume],
    *,
    axis: str = "auto",
    slices: str | Sequence[int] = "all",
    window: tuple[float, float] | None = None,
    keep_labels: Sequence[int] | None = None,
) -> list[Support]:
    """``Support.from_labels`` of several label maps, to be given to the segmenter together.

    Args:
        volume: the image.
        maps: labels on its grid, no label in two of them, as ``read_label_maps`` gives them.
        axis: "auto" finds one axis from all that was drawn (``drawn_planes.drawn_axis``).
        slices: a choice by name goes for each label; slice numbers (of the file's own axis) for
            those maps that have something there.
        window, keep_labels: as for ``Support.from_labels``.

    Raises:
        InputError: as ``Support.from_labels``.
    """
    maps = keep_values(maps, keep_labels)
    drawn = [one for one in maps if np.any(one.voxels)]
    if not drawn:
        name = maps[0].name or "labels"
        raise InputError(f"{name}: the mask is empty; mark the structure on at least one slice")
    if axis == "auto":
        axis = common_axis(volume, drawn)
    chosen = _slices_of_maps(volume, drawn, axis, slices)
    supports = [
        Support.from_labels(volume, one, axis=axis, slices=numbers, window=window,
                            keep_labels=_kept_of(one, keep_labels))
        for one, numbers in zip(drawn, chosen)
        if numbers is not None
    ]  # fmt: skip
    note = _overlap_note(drawn)
    if note:
        first = supports[0]
        labels = replace(first.labels, notes=(*first.labels.notes, note))
        supports[0] = replace(first, labels=labels)
    return supports


def common_axis(volume: Volume, maps: Sequence[Volume]) -> str:
    """One axis for all maps, from all that was drawn in any of them.

    Args:
        volume: the image.
        maps: labels on its grid.
    """
    canonical, orientation = volume.canonical()
    drawn = np.any([np.asarray(one.voxels) > 0 for one in maps], axis=0)
    return drawn_axis(orientation.apply(drawn), canonical.spacing)


def _kept_of(one: Volume, keep_labels: Sequence[int] | None) -> list[int] | None:
    if keep_labels is None:
        return None
    present = present_labels(one.voxels)
    return [value for value in keep_labels if value in present]


def _slices_of_maps(
    volume: Volume, maps: Sequence[Volume], axis: str, slices: str | Sequence[int]
) -> list[str | list[int] | None]:
    """What to ask of each map; None leaves a map out."""
    if isinstance(slices, str) or len(maps) == 1:
        return [slices] * len(maps)
    _, orientation = volume.canonical()
    along = GRID_AXIS[check_axis(axis)]
    carrying = []
    for one in maps:
        outlined: set[int] = set()
        for value in present_labels(one.voxels):
            outlined |= set(outlined_slices(orientation.apply(one.voxels == value), axis))
        carrying.append({orientation.canonical_index(along, n) for n in outlined})
    wanted = sorted({int(number) for number in slices})
    empty = [number for number in wanted if not any(number in one for one in carrying)]
    if empty or not wanted:
        there = spans(sorted(set().union(*carrying)))
        what = f"nothing is drawn on {axis} slice {empty[0]}" if empty else "no slice was chosen"
        raise InputError(f"{maps[0].name or 'labels'}: {what}; drawn slices are {there}")
    return [[n for n in wanted if n in one] or None for one in carrying]


def _overlap_note(maps: Sequence[Volume]) -> str | None:
    """On structures of different maps that overlap; the result holds one of them per voxel."""
    pairs = []
    for number, lower in enumerate(maps):
        for upper in maps[number + 1 :]:
            both = (lower.voxels > 0) & (upper.voxels > 0)
            codes = np.unique(lower.voxels[both].astype(np.int64) << 16 | upper.voxels[both])
            pairs += [
                f"{label_name(int(code) >> 16, lower.segments)} and "
                f"{label_name(int(code) & 0xFFFF, upper.segments)}"
                for code in codes
            ]
    if not pairs:
        return None
    return (
        f"{', '.join(pairs)} overlap; each is used whole, and the result holds one of them in each "
        "voxel, the smaller one where both were drawn"
    )
