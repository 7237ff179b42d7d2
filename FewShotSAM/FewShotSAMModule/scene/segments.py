"""Segments of a segmentation node: what they are called, and their voxels on a volume's grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from FewShotSAMLib import InputError, Volume

from .placement import (
    RAS_TO_LPS,
    image_affine,
    local_to_world,
    placed_volume,
    to_matrix,
)

LABELMAP = "Binary labelmap"
SURFACE = "Closed surface"
TERMINOLOGY_TAG = "TerminologyEntry"
STATUS_TAG = "Segmentation.Status"


@dataclass(frozen=True)
class SegmentInfo:
    """What a segment is.

    Attributes:
        id: unique within its segmentation.
        name: for people, any characters.
        colour: RGB in 0..1.
        terminology: Slicer's serialised terminology entry, "" where there is none.
    """

    id: str
    name: str
    colour: tuple[float, float, float]
    terminology: str = ""


@dataclass(frozen=True, eq=False)
class Layer:
    """One label map of a segmentation, which several segments may share.

    Attributes:
        labels: uint8 or uint16 with their place in the world.
        values: segment id -> its value in ``labels``; other values belong to nobody.
        image: the ``vtkOrientedImageData`` that holds them.
    """

    labels: Volume
    values: dict[str, int]
    image: Any


def read_segments(segmentation_node: Any) -> list[SegmentInfo]:
    """All segments, in the order in which they are listed."""
    segmentation = segmentation_node.GetSegmentation()
    return [
        _info(segment_id, segmentation.GetSegment(segment_id))
        for segment_id in segmentation.GetSegmentIDs()
    ]


def is_locked(segmentation_node: Any, segment_id: str) -> bool:
    """Whether a person has marked the segment's status as completed: it is not to be changed."""
    return _tag(segmentation_node.GetSegmentation().GetSegment(segment_id), STATUS_TAG) == (
        "completed"
    )


def read_layers(
    segmentation_node: Any, segment_ids: Sequence[str] | None, like: Volume
) -> list[Layer]:
    """The label maps of a segmentation, in its own order of layers.

    Nothing in the scene changes: segments that are surfaces are turned into label maps in a copy,
    on the grid of ``like``.

    Args:
        segment_ids: only these; None for all.
        like: a volume in the world.

    Returns:
        Layers with at least one voxel and one of the segments; voxels are views of the node's
        memory wherever they are stored as uint8 or uint16.

    Raises:
        InputError: no such segment, a transform that is not linear, or surfaces that cannot be
            turned into label maps.
    """
    name = segmentation_node.GetName()
    segmentation = segmentation_node.GetSegmentation()
    wanted = _known_ids(segmentation, segment_ids, name)
    to_world = local_to_world(segmentation_node)
    if segmentation.GetNumberOfSegments() and not segmentation.ContainsRepresentation(LABELMAP):
        segmentation = _with_label_maps(segmentation, to_world, like, name)
    layers = []
    for n in range(segmentation.GetNumberOfLayers(LABELMAP)):
        image = segmentation.GetLayerDataObject(n, LABELMAP)
        values = _layer_values(segmentation, n, wanted)
        if values and image is not None and (voxels := image_array(image)) is not None:
            if voxels.dtype not in (np.uint8, np.uint16):
                voxels = np.clip(voxels, 0, 65535).astype(np.uint16)
            labels = placed_volume(voxels, to_world @ image_affine(image), name)
            layers.append(Layer(labels, values, image))
    return layers


def _known_ids(segmentation: Any, segment_ids: Sequence[str] | None, name: str) -> list[str]:
    known = segmentation.GetSegmentIDs()
    wanted = list(known) if segment_ids is None else list(segment_ids)
    for segment_id in wanted:
        if segment_id not in known:
            raise InputError(f"{name}: has no segment {segment_id!r}; choose segments again")
    return wanted


def _layer_values(segmentation: Any, layer: int, wanted: Sequence[str]) -> dict[str, int]:
    return {
        segment_id: segmentation.GetSegment(segment_id).GetLabelValue()
        for segment_id in segmentation.GetSegmentIDsForLayer(layer, LABELMAP)
        if segment_id in wanted
    }


def image_array(image: Any) -> np.ndarray | None:
    """The voxels (k, j, i) of a ``vtkOrientedImageData``, a view; None where it has none."""
    scalars = image.GetPointData().GetScalars()
    if scalars is None or 0 in image.GetDimensions() or not scalars.GetNumberOfTuples():
        return None
    return vtk_to_numpy(scalars).reshape(image.GetDimensions()[::-1])


def label_image(
    voxels: np.ndarray, affine: np.ndarray, first: tuple[int, int, int] = (0, 0, 0)
) -> Any:
    """A ``vtkOrientedImageData`` with a copy of voxels (k, j, i), uint8 or uint16.

    Args:
        affine: 4x4, element (i, j, k, 1) -> RAS millimetres of the segmentation.
        first: (i, j, k) of the first voxel in that matrix's counting.
    """
    image = slicer.vtkOrientedImageData()
    set_label_image(image, voxels, first)
    image.SetImageToWorldMatrix(to_matrix(affine))
    return image


def set_label_image(image: Any, voxels: np.ndarray, first: Sequence[int]) -> None:
    """Gives an image other voxels (k, j, i), copied, the first one at (i, j, k) ``first``. Its
    matrix stays, and the segments that share the image go on sharing it."""
    last = [a + n - 1 for a, n in zip(first, voxels.shape[::-1])]
    image.SetExtent(first[0], last[0], first[1], last[1], first[2], last[2])
    values = numpy_to_vtk(np.ascontiguousarray(voxels).ravel(), deep=True)
    values.SetName("ImageScalars")
    image.GetPointData().SetScalars(values)
    image.Modified()


def on_grid(labels: Volume, grid: Volume, values: Sequence[int]) -> np.ndarray | None:
    """Labels on another grid by their place in the world, each voxel taking the nearest.

    Args:
        values: the ones that are asked for.

    Returns:
        (k, j, i) on ``grid``, or None where none of ``values`` lies within it.
    """
    wanted = among(labels.voxels, values)
    if not wanted.any():
        return None
    offset = whole_offset(labels, grid)
    if offset is None:
        from FewShotSAMLib.data.resampling import resample_labels

        kept = np.where(wanted, labels.voxels, 0)
        try:
            return resample_labels(labels.with_voxels(kept), grid).voxels
        except InputError:  # nothing of it lies within the grid
            return None
    # The usual case, a part of the same grid, is copied: quick, and no rounding can move it.
    return _moved(labels, grid, offset)


def _moved(labels: Volume, grid: Volume, offset: tuple[int, int, int]) -> np.ndarray | None:
    """Labels that begin at an offset (k, j, i) of the grid; None where all of them lie outside."""
    found = np.zeros(grid.shape, labels.voxels.dtype)
    target, source = [], []
    for first, size, whole in zip(offset, labels.shape, grid.shape):
        low, high = max(first, 0), min(first + size, whole)
        if low >= high:
            return None
        target.append(slice(low, high))
        source.append(slice(low - first, high - first))
    found[tuple(target)] = labels.voxels[tuple(source)]
    return found


# Up to this many values, comparing with each is quicker than looking up every voxel in a table.
_FEW = 16


def among(labels: np.ndarray, values: Sequence[int]) -> np.ndarray:
    """Where labels, uint8 or uint16, have one of some values, bool."""
    if len(values) > _FEW:
        return looked_up(labels, dict.fromkeys(values, 1)) > 0
    found = np.zeros(labels.shape, bool)
    for value in values:
        found |= labels == value
    return found


def looked_up(labels: np.ndarray, meaning: Mapping[int, int]) -> np.ndarray:
    """Labels, uint8 or uint16, each replaced by what it means, 0 where it means nothing; uint8
    where that fits, else uint16."""
    kind = np.min_scalar_type(max(meaning.values(), default=0))
    if len(meaning) <= _FEW:
        found = np.zeros(labels.shape, kind)
        for value, means in meaning.items():
            found |= (labels == value) * kind.type(means)
        return found
    table = np.zeros(np.iinfo(labels.dtype).max + 1, kind)
    for value, means in meaning.items():
        if value < len(table):
            table[value] = means
    return table[labels]


def whole_offset(labels: Volume, grid: Volume) -> tuple[int, int, int] | None:
    """Where the array of ``labels`` begins in the array (k, j, i) of ``grid``, if both are parts
    of one and the same grid; else None."""
    to_grid = np.linalg.inv(grid.affine) @ labels.affine
    first = np.rint(to_grid[:3, 3])
    # No corner may be further off than the share of a voxel that the library takes as equal.
    last = np.asarray(labels.size) - 1
    drift = np.abs(to_grid[:3, :3] - np.eye(3)) @ last + np.abs(to_grid[:3, 3] - first)
    if np.abs(to_grid[:3, :3] - np.eye(3)).max() > 0.05 or drift.max() > 0.05:
        return None
    i, j, k = (int(value) for value in first)
    return k, j, i


def _with_label_maps(segmentation: Any, to_world: np.ndarray, like: Volume, name: str) -> Any:
    """A copy of a segmentation of surfaces that holds label maps on the grid of ``like``."""
    image = slicer.vtkOrientedImageData()
    image.SetExtent(0, like.size[0] - 1, 0, like.size[1] - 1, 0, like.size[2] - 1)
    local = np.linalg.inv(to_world) @ RAS_TO_LPS @ like.affine
    image.SetImageToWorldMatrix(to_matrix(local))
    copy = slicer.vtkSegmentation()
    copy.DeepCopy(segmentation)
    copy.SetConversionParameter(
        slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName(),
        slicer.vtkSegmentationConverter.SerializeImageGeometry(image),
    )
    if not copy.CreateRepresentation(LABELMAP):
        raise InputError(
            f"{name}: its segments cannot be turned into voxels; convert it to a binary label map "
            "first (Segmentations module, Representations)"
        )
    return copy


def _info(segment_id: str, segment: Any) -> SegmentInfo:
    return SegmentInfo(
        segment_id, segment.GetName(), tuple(segment.GetColor()), _tag(segment, TERMINOLOGY_TAG)
    )


def _tag(segment: Any, tag: str) -> str:
    value = vtk.reference("")
    return str(value) if segment.GetTag(tag, value) else ""
