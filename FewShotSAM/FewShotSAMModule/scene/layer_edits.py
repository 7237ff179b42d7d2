"""Which voxels of a segmentation a result may take, worked out before anything is changed.

All of it is arithmetic on arrays: the layers of a segmentation go in, the edited ones come out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from FewShotSAMLib import Volume

from .segments import Layer, among, looked_up, on_grid, whole_offset

# (array axis of the volume node, first slice, last slice), both included.
Region = tuple[int, int, int]


@dataclass(eq=False)
class EditedLayer:
    """A layer on its way to its new voxels.

    Attributes:
        layer: as it is in the scene.
        labels: the new voxels on the layer's lattice; may have grown.
        first: (i, j, k) of its first voxel, counted from the layer's first one.
        values: segment id -> value, new segments included.
    """

    layer: Layer
    labels: Volume
    first: tuple[int, int, int]
    values: dict[str, int]

    @property
    def changed(self) -> bool:
        """Whether its voxels are others than in the scene."""
        return self.labels is not self.layer.labels


def start(layer: Layer) -> EditedLayer:
    """An edit that changes nothing yet."""
    return EditedLayer(layer, layer.labels, (0, 0, 0), dict(layer.values))


def free_part(
    labels: Volume,
    layers: list[Layer],
    owners: Mapping[int, str],
    protected: set[str],
) -> tuple[np.ndarray, dict[int, int]]:
    """The result without the voxels of protected segments.

    Args:
        labels: the result on the volume's grid.
        layers: of the segmentation that it is to go into.
        owners: label -> id of the segment that it goes into; that one's voxels do not stand in
            its way.
        protected: ids of segments that keep every voxel.

    Returns:
        Labels (k, j, i), and label -> number of voxels held back.
    """
    label_of = {owner: label for label, owner in owners.items()}
    free = np.array(labels.voxels)
    for layer in layers:
        kept = {i: value for i, value in layer.values.items() if i in protected}
        there = on_grid(layer.labels, labels, list(kept.values())) if kept else None
        if there is None:
            continue
        own = {value: label_of.get(segment_id, 0) for segment_id, value in kept.items()}
        free[among(there, list(own)) & (free != looked_up(there, own))] = 0
    lost = np.bincount(labels.voxels[labels.voxels != free], minlength=max(owners, default=0) + 1)
    return free, {label: int(lost[label]) for label in owners if lost[label]}


def take(
    edited: EditedLayer, result: Volume, owners: Mapping[int, str], protected: set[str]
) -> None:
    """Clears voxels of unprotected segments where the result says another structure."""
    label_of = {owner: label for label, owner in owners.items()}
    there = on_grid(result, edited.labels, list(owners))
    if there is None:
        return
    own = {v: label_of.get(i, 0) for i, v in edited.values.items() if i not in protected}
    old = edited.labels.voxels
    _lose(edited, among(old, list(own)) & (there != 0) & (there != looked_up(old, own)))


def clear(
    edited: EditedLayer, segment_ids: Sequence[str], grid: Volume, region: Region | None
) -> None:
    """Clears the voxels of segments on the slices that the result answers for."""
    inside = on_grid(grid.with_voxels(_region_mask(grid, region)), edited.labels, [1])
    if inside is not None:
        values = [edited.values[segment_id] for segment_id in segment_ids]
        _lose(edited, among(edited.labels.voxels, values) & (inside > 0))


def put(edited: EditedLayer, owners: Mapping[int, str], result: Volume) -> None:
    """Adds labels of the result to segments of the layer, which grows where it must. Voxels of
    the layer's other segments stay, also where rounding to the layer's lattice meets them."""
    kept = among(result.voxels, list(owners))
    if not kept.any():
        return
    source = result.with_voxels(np.where(kept, result.voxels, result.voxels.dtype.type(0)))
    _grow(edited, source)
    there = on_grid(source, edited.labels, list(owners))
    if there is None:
        return
    old = edited.labels.voxels
    value = looked_up(there, {label: edited.values[i] for label, i in owners.items()})
    takes = (value > 0) & ((old == value) | ~among(old, list(edited.values.values())))
    kind = np.promote_types(old.dtype, np.min_scalar_type(max(edited.values.values())))
    new = old.astype(kind, copy=True)
    new[takes] = value[takes]
    edited.labels = replace(edited.labels, voxels=new)


def add_segment(edited: EditedLayer, segment_id: str) -> None:
    """Gives a segment that has no voxels yet a value of its own in the layer."""
    used = max(edited.values.values(), default=0)
    edited.values[segment_id] = 1 + max(used, int(edited.labels.voxels.max(initial=0)))


def _lose(edited: EditedLayer, lost: np.ndarray) -> None:
    if lost.any():
        old = edited.labels.voxels
        edited.labels = replace(edited.labels, voxels=np.where(lost, old.dtype.type(0), old))


def _region_mask(grid: Volume, region: Region | None) -> np.ndarray:
    if region is None:
        return np.ones(grid.shape, np.uint8)
    axis, first, last = region
    mask = np.zeros(grid.shape, np.uint8)
    np.moveaxis(mask, axis, 0)[first : last + 1] = 1
    return mask


def _grow(edited: EditedLayer, source: Volume) -> None:
    """Makes room in the layer for every voxel of ``source`` (k, j, i) that is not zero."""
    box = [np.flatnonzero(source.voxels.any(axis=tuple({0, 1, 2} - {n}))) for n in (2, 1, 0)]
    low = np.array([indices[0] for indices in box])
    high = np.array([indices[-1] for indices in box])
    offset = whole_offset(source, edited.labels)
    if offset is not None:
        first, last = low + offset[::-1], high + offset[::-1]
    else:
        ends = np.stack(np.meshgrid(*zip(low - 0.5, high + 0.5), indexing="ij"), axis=-1)
        reached = edited.labels.world_to_index(source.index_to_world(ends.reshape(8, 3)))
        first, last = np.floor(reached.min(axis=0)), np.ceil(reached.max(axis=0))
    before = np.maximum(0, -first).astype(int)
    after = np.maximum(0, last - (np.asarray(edited.labels.size) - 1)).astype(int)
    if not before.any() and not after.any():
        return
    room = [(int(a), int(b)) for a, b in zip(before[::-1], after[::-1])]
    edited.labels = replace(
        edited.labels,
        voxels=np.pad(edited.labels.voxels, room),
        origin=tuple(edited.labels.index_to_world(-before)),
    )
    edited.first = tuple(int(a - b) for a, b in zip(edited.first, before))
