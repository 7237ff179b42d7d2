"""One slice of a segmentation read, cleared, or filled: rejecting a slice, taking it back, and
marking it as another support.

Slices are counted along an axis of the volume's array (k, j, i = 0, 1, 2) from 0. Every change is
one change with one undo, made by `ExistingOutput`, which also says when it may not be made. It is
given a grid of one slice, so that a large volume costs no more than a small one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from FewShotSAMLib import InputError, Volume

from .existing_results import ExistingOutput, Written
from .segments import SegmentInfo, on_grid, read_layers, read_segments, whole_offset
from .volumes import grid_of


def segments_by_label(
    segmentation_node: Any, segment_ids: Mapping[int, str]
) -> dict[int, SegmentInfo]:
    """Label -> what its segment is now called and looks like; without those that were removed."""
    known = {info.id: info for info in read_segments(segmentation_node)}
    return {label: known[i] for label, i in segment_ids.items() if i in known}


def read_slice(
    volume_node: Any, segmentation_node: Any, segment_ids: Mapping[int, str], axis: int, index: int
) -> np.ndarray:
    """The labels of a slice as the segments are now, with a person's corrections.

    Args:
        segment_ids: label -> segment; where segments overlap the higher label is seen.

    Returns:
        2-D, the two other axes of the volume's array in their order; uint8, or uint16 for many
        labels.

    Raises:
        InputError: a transform that is not linear.
    """
    place = _slice_grid(grid_of(volume_node), axis, index)
    known = segments_by_label(segmentation_node, segment_ids)
    label_of = {info.id: label for label, info in known.items()}
    kind = np.uint8 if max(segment_ids, default=0) < 256 else np.uint16
    labels = np.zeros(place.shape, kind)
    for layer in read_layers(segmentation_node, list(label_of), place):
        near = _near_part(layer.labels, place, axis)
        found = on_grid(near, place, list(layer.values.values())) if near is not None else None
        if found is None:
            continue
        for segment_id, value in layer.values.items():
            label = kind(label_of[segment_id])
            labels[found == value] = np.maximum(labels[found == value], label)
    return labels.take(0, axis)


def clear_slice(
    volume_node: Any,
    segmentation_node: Any,
    segment_ids: Mapping[int, str],
    axis: int,
    index: int,
    before_change: Callable[[], None] | None = None,
) -> tuple[np.ndarray, Written]:
    """Removes the segments' voxels on one slice; other segments keep theirs.

    Returns:
        What was there, for `fill_slice`, and the change, whose `undo` takes it back.

    Raises:
        InputError: one of the segments is marked as completed, or a node has left the scene.
    """
    held = read_slice(volume_node, segmentation_node, segment_ids, axis, index)
    change = fill_slice(
        volume_node, segmentation_node, segments_by_label(segmentation_node, segment_ids),
        axis, index, np.zeros_like(held), overwrite="unlocked", before_change=before_change,
    )  # fmt: skip
    return held, change


def fill_slice(
    volume_node: Any,
    segmentation_node: Any,
    segments: Mapping[int, SegmentInfo],
    axis: int,
    index: int,
    labels: np.ndarray,
    *,
    overwrite: str = "never",
    before_change: Callable[[], None] | None = None,
) -> Written:
    """Writes labels into the segments of the same names on one slice.

    Args:
        segments: label -> segment; one of a new name is added.
        labels: as `read_slice` gives them.
        overwrite: as for `ResultWriter`; with "unlocked", what the segments held on the slice
            makes way.

    Returns:
        The change: its `segment_ids` say which segment took which label, its `undo` takes it back.

    Raises:
        InputError: as for `clear_slice`.
    """
    if volume_node.GetScene() is None:
        raise InputError(f"{volume_node.GetName()}: has left the scene; choose another volume")
    place = _slice_grid(grid_of(volume_node), axis, index)
    output = ExistingOutput(segmentation_node, segments, overwrite)
    one = place.with_voxels(np.expand_dims(labels, axis))
    return output.write(one, None, before_change)


def _slice_grid(grid: Volume, axis: int, index: int) -> Volume:
    """One slice of a grid as a grid of its own, without voxels of its own."""
    shape = list(grid.shape)
    shape[axis] = 1
    first = np.zeros(3)
    first[2 - axis] = index
    origin = tuple(grid.index_to_world(first))
    return replace(grid, voxels=np.broadcast_to(np.uint8(0), shape), origin=origin)


def _near_part(labels: Volume, place: Volume, axis: int) -> Volume | None:
    """The slice of labels that lies on ``place`` where both are parts of one grid (a large label
    map is not searched for one slice), else all; None where they do not reach there."""
    offset = whole_offset(labels, place)
    if offset is None:
        return labels
    index = -offset[axis]
    if not 0 <= index < labels.shape[axis]:
        return None
    first = np.zeros(3)
    first[2 - axis] = index
    cut = [slice(None)] * 3
    cut[axis] = slice(index, index + 1)
    return replace(
        labels, voxels=labels.voxels[tuple(cut)], origin=tuple(labels.index_to_world(first))
    )
