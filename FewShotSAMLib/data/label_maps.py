"""Label maps of structures that may overlap: few that hold each whole, or one with its losses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from .errors import InputError
from .label_values import present_labels, whole_numbers
from .volume import Segment, Volume


def join_layers(layers: Iterable[np.ndarray]) -> list[np.ndarray]:
    """Layers (k, j, i) of labels that no other layer has, as few maps as this order gives:
    layers that share no voxel become one."""
    maps: list[np.ndarray] = []
    for layer in layers:
        home = next((one for one in maps if not np.any((one > 0) & (layer > 0))), None)
        if home is None:
            maps.append(layer.astype(np.uint16))
        else:
            np.maximum(home, layer, out=home)
    return maps


def split_maps(
    layers: Iterable[np.ndarray], grid: Volume, segments: Mapping[int, Segment]
) -> list[Volume]:
    """``join_layers`` as volumes on ``grid``, each with the segments of its labels. Segments
    without a voxel stay with the first."""
    maps = join_layers(layers) or [np.zeros(grid.shape, np.uint8)]
    present = [present_labels(one) for one in maps]
    elsewhere = {value for values in present[1:] for value in values}
    volumes = []
    for number, (one, values) in enumerate(zip(maps, present)):
        kept = {
            value: segment
            for value, segment in segments.items()
            if value in values or (number == 0 and value not in elsewhere)
        }
        voxels = whole_numbers(one, grid.name)
        volumes.append(grid.with_voxels(voxels, modality="other", segments=kept))
    return volumes


def lay_on_each_other(maps: Sequence[Volume]) -> Volume:
    """One map of several on one grid, later ones on top, with a note for each label that lost
    voxels."""
    bottom, *others = maps
    if not others:
        return bottom
    voxels = bottom.voxels.astype(np.uint16)
    lost: dict[tuple[int, int], int] = {}
    for upper in others:
        on_top = upper.voxels > 0
        pairs = np.stack((voxels[on_top], upper.voxels[on_top]))
        for (below, above), count in _count_pairs(pairs[:, pairs[0] > 0]):
            lost[below, above] = lost.get((below, above), 0) + count
        np.copyto(voxels, upper.voxels, where=on_top)
    segments = {value: one for part in maps for value, one in part.segments.items()}
    whole = {
        value: int(np.count_nonzero(part.voxels == value))
        for part in maps
        for value in present_labels(part.voxels)
    }
    notes = [_loss(pair, count, whole, segments) for pair, count in sorted(lost.items())]
    notes = dict.fromkeys((*(note for part in maps for note in part.notes), *notes))
    return replace(
        bottom, voxels=whole_numbers(voxels, bottom.name), segments=segments, notes=tuple(notes)
    )


def keep_values(maps: Sequence[Volume], wanted: Sequence[int] | None) -> list[Volume]:
    """The maps with these labels alone, those without any left out; all where None is wanted.

    Raises:
        InputError: a wanted label is in none of them.
    """
    if wanted is None:
        return list(maps)
    present = {value for one in maps for value in present_labels(one.voxels)}
    for value in wanted:
        if value not in present:
            held = ", ".join(map(str, sorted(present))) or "none"
            raise InputError(f"{maps[0].name or 'labels'}: has no label {value}; it holds {held}")
    kept = []
    for one in maps:
        voxels = np.where(np.isin(one.voxels, list(wanted)), one.voxels, 0)
        if voxels.any():
            kept.append(one.with_voxels(voxels.astype(one.voxels.dtype)))
    return kept


def label_name(value: int, segments: Mapping[int, Segment]) -> str:
    """The name of a label, for messages."""
    return segments[value].name if value in segments else f"label {value}"


def _count_pairs(pairs: np.ndarray) -> list[tuple[tuple[int, int], int]]:
    codes, counts = np.unique(pairs[0].astype(np.int64) << 16 | pairs[1], return_counts=True)
    return [((int(c) >> 16, int(c) & 0xFFFF), int(n)) for c, n in zip(codes, counts)]


def _loss(
    pair: tuple[int, int], count: int, whole: Mapping[int, int], segments: Mapping[int, Segment]
) -> str:
    below, above = (label_name(value, segments) for value in pair)
    total = whole[pair[0]]
    if count == total:
        return f"segments overlap: {below} is wholly covered by {above}"
    return (
        f"segments overlap: {count} voxels ({count / total:.0%}) of {below} are covered by {above}"
    )
