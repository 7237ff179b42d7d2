"""What a person painted in a segmentation node, as library supports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from FewShotSAMLib import InputError, Segment, Volume

from .segments import Layer, SegmentInfo, on_grid, read_layers, read_segments
from .volumes import read_volume_node

if TYPE_CHECKING:
    from FewShotSAMLib import Support


def read_supports(
    volume_node: Any,
    segmentation_node: Any,
    segment_ids: Sequence[str] | None = None,
    *,
    axis: str = "auto",
    slices: str | Sequence[int] = "all",
    item: int | None = None,
) -> tuple[tuple[Support, ...], dict[int, SegmentInfo]]:
    """The painted slices of a volume as supports.

    The segments may lie on any grid and under any linear transform: what counts is where they
    are seen. Segments that overlap are all kept whole, in several supports with labels of their
    own, since one support holds one label per voxel.

    Args:
        volume_node: the image that was painted on.
        segmentation_node: the painted segments.
        segment_ids: the structures; None for all. Those without a voxel are left out.
        axis: "auto" finds the axis that was painted on; "axial", "coronal" or "sagittal".
        slices: as in ``Support.from_labels``: "all", "middle", "largest", "thirds", or indices
            along the volume's own axis, from 0.
        item: of a volume sequence; see ``read_volume_node``.

    Returns:
        One or more supports, all of the same axis, to be given to the segmenter together; and
        label -> segment. Labels are numbered from 1 in the order of the segments.

    Raises:
        InputError: no such segment, none of them has a voxel within the volume, or a volume or
            transform that cannot be used.
    """
    volume = read_volume_node(volume_node, item)
    return volume_supports(volume, segmentation_node, segment_ids, axis=axis, slices=slices)


def volume_supports(
    volume: Volume,
    segmentation_node: Any,
    segment_ids: Sequence[str] | None = None,
    *,
    axis: str = "auto",
    slices: str | Sequence[int] = "all",
) -> tuple[tuple[Support, ...], dict[int, SegmentInfo]]:
    """``read_supports`` for a volume that has been read already."""
    painting = look_at_painting(volume, segmentation_node, segment_ids)
    return painted_supports(volume, painting, axis=axis, slices=slices)


@dataclass(frozen=True, eq=False)
class Painting:
    """A segmentation node as it was found.

    Attributes:
        name: of the node, for messages.
        infos: the segments that are asked for.
        layers: their label maps, as views of the node's memory.
    """

    name: str
    infos: tuple[SegmentInfo, ...]
    layers: tuple[Layer, ...]

    def copy(self) -> Painting:
        """With label maps of its own, and without the node's images."""
        layers = (
            Layer(one.labels.with_voxels(np.array(one.labels.voxels)), one.values, None)
            for one in self.layers
        )
        return replace(self, layers=tuple(layers))


def look_at_painting(
    grid: Volume, segmentation_node: Any, segment_ids: Sequence[str] | None = None
) -> Painting:
    """The quick part of ``volume_supports``; ``grid`` is the volume or its grid.

    Raises:
        InputError: no such segment, or a transform that cannot be used.
    """
    infos = read_segments(segmentation_node)
    if segment_ids is not None:
        infos = [info for info in infos if info.id in segment_ids]
    layers = read_layers(segmentation_node, segment_ids, grid)
    return Painting(segmentation_node.GetName(), tuple(infos), tuple(layers))


def painted_supports(
    volume: Volume,
    painting: Painting,
    *,
    axis: str = "auto",
    slices: str | Sequence[int] = "all",
    overview: bool = True,
) -> tuple[tuple[Support, ...], dict[int, SegmentInfo]]:
    """The other part of ``volume_supports``. Touches no node, so any thread may call it.

    Args:
        overview: keep a thin copy of the volume, which other patients need.
    """
    from FewShotSAMLib import Support
    from FewShotSAMLib.data.label_values import present_labels

    name, infos = painting.name, painting.infos
    maps = _label_maps(volume, painting.layers, [info.id for info in infos])
    present = sorted({value for one in maps for value in present_labels(one)})
    if not present:
        what = "it has no segments" if not infos else "nothing is painted within the volume"
        raise InputError(f"{name}: {what} {volume.name}; paint the structure on at least one slice")
    kept, maps = _without_gaps(maps, present, infos)
    if axis == "auto":
        axis = _painted_axis(volume, maps)
    chosen = _slices_of_maps(volume, maps, axis, slices, name)
    segments = {v: Segment(s.name, s.colour, s.terminology) for v, s in kept.items()}
    supports = []
    for one, numbers in zip(maps, chosen):
        if numbers is not None:
            labels = volume.with_voxels(one, name=name, modality="other", segments=segments)
            supports.append(
                Support.from_labels(volume, labels, axis=axis, slices=numbers, overview=overview)
            )
    used = {label for support in supports for label in support.names}
    return tuple(supports), {label: info for label, info in kept.items() if label in used}


def _without_gaps(
    maps: Sequence[np.ndarray], present: Sequence[int], infos: Sequence[SegmentInfo]
) -> tuple[dict[int, SegmentInfo], list[np.ndarray]]:
    """Label -> segment, and the maps with these labels, which count the segments that have voxels.

    Args:
        maps: labels (k, j, i), the places in ``infos`` from 1.
        present: the labels that any of them has, rising.
    """
    renumber = np.zeros(len(infos) + 1, np.uint16)
    renumber[present] = np.arange(1, len(present) + 1)
    kept = {int(renumber[value]): infos[value - 1] for value in present}
    kind = np.uint8 if len(present) < 256 else np.uint16
    return kept, [renumber[one].astype(kind) for one in maps]


def _label_maps(volume: Volume, layers: Sequence[Layer], order: list[str]) -> list[np.ndarray]:
    """Label maps (k, j, i) on the volume's grid, as few as hold every layer whole. Labels are
    the places in ``order``, from 1."""
    maps: list[np.ndarray] = []
    for layer in layers:
        values = layer.values
        found = on_grid(layer.labels, volume, list(values.values()))
        if found is None:
            continue
        table = np.zeros(int(found.max()) + 1, np.uint16)
        for segment_id, value in values.items():
            if value < len(table):
                table[value] = 1 + order.index(segment_id)
        labels = table[found]
        free = (one for one in maps if not np.any((one > 0) & (labels > 0)))
        home = next(free, None)
        if home is None:
            maps.append(labels)
        else:
            np.maximum(home, labels, out=home)
    return maps


def _painted_axis(volume: Volume, maps: Sequence[np.ndarray]) -> str:
    """One axis for all maps, from all that was painted."""
    from FewShotSAMLib.data.drawn_planes import drawn_axis

    canonical, orientation = volume.canonical()
    painted = np.any([one > 0 for one in maps], axis=0)
    return drawn_axis(orientation.apply(painted), canonical.spacing)


def _slices_of_maps(
    volume: Volume,
    maps: Sequence[np.ndarray],
    axis: str,
    slices: str | Sequence[int],
    name: str,
) -> list[str | list[int] | None]:
    """What to ask of each map: a choice by name goes to all, slice numbers to those that have
    something there, and None leaves a map out."""
    if isinstance(slices, str):
        return [slices] * len(maps)
    from FewShotSAMLib.data.slicing import GRID_AXIS, check_axis

    _, orientation = volume.canonical()
    along = 2 - orientation.permutation[GRID_AXIS[check_axis(axis)]]
    others = tuple({0, 1, 2} - {along})
    carrying = [set(np.flatnonzero(one.any(axis=others)).tolist()) for one in maps]
    wanted = sorted({int(number) for number in slices})
    empty = [number for number in wanted if not any(number in one for one in carrying)]
    if empty or not wanted:
        there = ", ".join(str(number) for number in sorted(set().union(*carrying)))
        what = f"nothing is painted on {axis} slice {empty[0]}" if empty else "no slice was chosen"
        raise InputError(f"{name}: {what}; painted slices are {there}")
    return [[n for n in wanted if n in one] or None for one in carrying]
