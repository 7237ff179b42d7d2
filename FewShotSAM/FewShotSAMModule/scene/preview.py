"""A segmentation that shows a result while it grows, and leaves no trace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import slicer

from .placement import volume_affine
from .segments import LABELMAP, SegmentInfo, image_array, label_image

PREVIEW_ATTRIBUTE = "FewShotSAM.Preview"


def new_segment(info: SegmentInfo, value: int, image: Any) -> Any:
    """A ``vtkSegment`` with a name, colour and terminology, and its value in a label map."""
    segment = slicer.vtkSegment()
    segment.SetName(info.name)
    segment.SetColor(*info.colour)
    if info.terminology:
        segment.SetTag("TerminologyEntry", info.terminology)
    segment.SetLabelValue(value)
    segment.AddRepresentation(LABELMAP, image)
    return segment


def add_display(scene: Any, node: Any) -> Any:
    """Gives a segmentation node a display node before it joins the scene itself: the subject
    hierarchy looks for one as soon as the segmentation is there."""
    display = scene.AddNewNodeByClass("vtkMRMLSegmentationDisplayNode")
    node.SetAndObserveDisplayNodeID(display.GetID())
    return display


def remove_with_parts(node: Any) -> None:
    """Removes a segmentation node from its scene together with its display and storage nodes."""
    scene = node.GetScene()
    if scene is None:
        return
    parts = [node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())]
    parts += [node.GetNthStorageNode(n) for n in range(node.GetNumberOfStorageNodes())]
    scene.RemoveNode(node)
    for part in parts:
        if part is not None and part.GetScene() is scene:
            scene.RemoveNode(part)


class Preview:
    """A temporary segmentation over a volume: not listed, not saved, not undone.

    Args:
        volume_node: whose grid it has and under whose transform it lies.
        segments: label -> what it is.
    """

    def __init__(self, volume_node: Any, segments: Mapping[int, SegmentInfo]) -> None:
        shape = volume_node.GetImageData().GetDimensions()[::-1]
        kind = np.uint8 if max(segments, default=0) < 256 else np.uint16
        self._image = label_image(np.zeros(shape, kind), volume_affine(volume_node))
        self._labels = image_array(self._image)
        node = slicer.vtkMRMLSegmentationNode()
        node.SetName(f"{volume_node.GetName()} preview")
        node.SetHideFromEditors(True)
        node.SetSaveWithScene(False)
        node.SetUndoEnabled(False)
        node.SetAttribute(PREVIEW_ATTRIBUTE, "1")
        # Before the scene hears of it, so that it comes in as one change.
        for label, info in segments.items():
            node.GetSegmentation().AddSegment(new_segment(info, label, self._image), info.id)
        scene = volume_node.GetScene()
        display = add_display(scene, node)
        display.SetSaveWithScene(False)
        display.SetUndoEnabled(False)
        self.node = scene.AddNode(node)
        self.node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())

    def fill(self, axis: int, index: int, labels: np.ndarray) -> None:
        """Shows the labels of one slice.

        Args:
            axis: array axis of the volume node's voxels (k, j, i = 0, 1, 2) that counts slices.
            index: of the slice along it.
            labels: 2-D, the two other axes in array order.
        """
        np.moveaxis(self._labels, axis, 0)[index] = labels
        self._image.GetPointData().GetScalars().Modified()
        self._image.Modified()
        # The views do not hear of the image, only of the node.
        self.node.Modified()

    def clear(self) -> None:
        """Shows nothing until slices are filled again."""
        self._labels[:] = 0

    def remove(self) -> None:
        """Takes it out of the scene. A second call, or one after the scene was closed, is fine."""
        remove_with_parts(self.node)
