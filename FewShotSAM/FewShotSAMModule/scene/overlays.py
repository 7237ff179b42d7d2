"""A confidence map of one slice, to be laid over the volume in the slice views."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
from slicer.util import updateVolumeFromArray

from FewShotSAMLib import InputError

from .placement import to_matrix, volume_affine

# Red over yellow to white, which every Slicer has. What is below the threshold is left clear, so
# that the picture under it can be seen.
_COLOURS = "vtkMRMLColorTableNodeIron"
_CLEAR_BELOW = 0.25


def show_confidence(volume_node: Any, axis: int, index: int, confidence: np.ndarray) -> Any:
    """A volume of one slice with the confidence of each pixel, exactly on the volume's slice.

    It is listed nowhere, not saved and not undone; lay it over the views with
    ``slicer.util.setSliceViewerLayers(foreground=node, foregroundOpacity=0.5)``.

    Args:
        volume_node: the volume that the map belongs to.
        axis: array axis of the volume node's voxels (k, j, i = 0, 1, 2) that counts slices.
        index: of the slice along it.
        confidence: 2-D, 0 to 1, the two other axes in array order.

    Returns:
        The new ``vtkMRMLScalarVolumeNode``; ``remove`` takes it away.

    Raises:
        InputError: the volume has no such slice, or has left the scene.
    """
    _check_slice(volume_node, axis, index, confidence)
    first = np.eye(4)
    first[2 - axis, 3] = index
    node = slicer.vtkMRMLScalarVolumeNode()
    node.SetName(f"{volume_node.GetName()} confidence")
    node.SetHideFromEditors(True)
    node.SetSaveWithScene(False)
    node.SetUndoEnabled(False)
    node.SetIJKToRASMatrix(to_matrix(volume_affine(volume_node) @ first))
    updateVolumeFromArray(node, np.expand_dims(np.asarray(confidence, np.float32), axis))
    node = volume_node.GetScene().AddNode(node)
    node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
    node.CreateDefaultDisplayNodes()
    _see_through(node.GetDisplayNode())
    return node


def _check_slice(volume_node: Any, axis: int, index: int, confidence: np.ndarray) -> None:
    if volume_node.GetScene() is None:
        raise InputError(f"{volume_node.GetName()}: has left the scene; choose another volume")
    shape = volume_node.GetImageData().GetDimensions()[::-1]
    if not 0 <= index < shape[axis]:
        raise InputError(f"{volume_node.GetName()}: has no slice {index} along this axis")
    if np.shape(confidence) != tuple(n for a, n in enumerate(shape) if a != axis):
        raise ValueError(f"a map of shape {np.shape(confidence)} does not fit the slice")


def _see_through(display: Any) -> None:
    """Colours of 0 to 1; low values are clear."""
    display.SetSaveWithScene(False)
    display.SetUndoEnabled(False)
    if display.GetScene().GetNodeByID(_COLOURS) is not None:
        display.SetAndObserveColorNodeID(_COLOURS)
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(0.0, 1.0)
    display.AutoThresholdOff()
    display.SetThreshold(_CLEAR_BELOW, 1.0)
    display.ApplyThresholdOn()


def remove(node: Any) -> None:
    """Takes a map that ``show_confidence`` made out of the scene. A second call is fine."""
    scene = node.GetScene() if node is not None else None
    if scene is None:
        return
    display = node.GetDisplayNode()
    scene.RemoveNode(node)
    if display is not None and display.GetScene() is scene:
        scene.RemoveNode(display)
