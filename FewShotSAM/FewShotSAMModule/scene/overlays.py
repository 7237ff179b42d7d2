"""A confidence map of one slice, to be laid over the volume in the slice views."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
from slicer.util import updateVolumeFromArray

from FewShotSAMLib import InputError

from .colour_scale import add_colour_node
from .placement import to_matrix, volume_affine

# A pixel is no more than doubtful up to this many standard deviations above the mean of its slice:
# where SynPo's interval of negative points ends (beta, between the paper's values for CT and MR).
# What is doubtful is left clear, so that the picture under it can be seen.
_DOUBTFUL_SDS = 1.0


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
    _see_through(node.GetDisplayNode(), *shown_range(confidence))
    _add_legend(node)
    return node


def shown_range(confidence: np.ndarray) -> tuple[float, float]:
    """The values that are coloured: from the doubtful level of a map to its highest value."""
    values = np.asarray(confidence, float)
    highest = float(values.max())
    level = float(values.mean() + _DOUBTFUL_SDS * values.std())
    return min(max(level, 0.0), highest), highest


def _add_legend(node: Any) -> None:
    """The scale with its numbers, where this Slicer draws them."""
    legend = slicer.vtkSlicerColorLogic.AddDefaultColorLegendDisplayNode(node)
    if legend is not None:
        legend.SetTitleText("Similarity")
        legend.SetSaveWithScene(False)
        legend.SetUndoEnabled(False)


def _check_slice(volume_node: Any, axis: int, index: int, confidence: np.ndarray) -> None:
    if volume_node.GetScene() is None:
        raise InputError(f"{volume_node.GetName()}: has left the scene; choose another volume")
    shape = volume_node.GetImageData().GetDimensions()[::-1]
    if not 0 <= index < shape[axis]:
        raise InputError(f"{volume_node.GetName()}: has no slice {index} along this axis")
    if np.shape(confidence) != tuple(n for a, n in enumerate(shape) if a != axis):
        raise ValueError(f"a map of shape {np.shape(confidence)} does not fit the slice")


def _see_through(display: Any, lowest: float, highest: float) -> None:
    """Colours from ``lowest`` to ``highest``; what is below is clear."""
    display.SetSaveWithScene(False)
    display.SetUndoEnabled(False)
    display.SetAndObserveColorNodeID(add_colour_node(display.GetScene()).GetID())
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(lowest, highest)
    display.AutoThresholdOff()
    display.SetThreshold(lowest, highest)
    display.ApplyThresholdOn()


def remove(node: Any) -> None:
    """Takes a map that ``show_confidence`` made out of the scene. A second call is fine."""
    scene = node.GetScene() if node is not None else None
    if scene is None:
        return
    display = node.GetDisplayNode()
    parts = [node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())]
    parts.append(display.GetColorNode() if display is not None else None)
    scene.RemoveNode(node)
    for part in parts:
        if part is not None and part.GetScene() is scene:
            scene.RemoveNode(part)
