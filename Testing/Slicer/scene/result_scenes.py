"""A small oblique volume, two structures, and what a person could see of the scene around them."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("slicer", reason="needs slicer-core (pip install slicer-core)")

from FewShotSAMModule.scene.segments import SegmentInfo, read_segments
from scene_nodes import (
    add_segmentation,
    affine,
    centres,
    segment_mask,
    values_at,
    world_matrix,
)

SIZE = (6, 8, 10)
PLACE = affine((1, 1.5, 4), (10, -20, 30), (0.1, 0.2, -0.3), signs=(-1, 1, 1))
LIVER = SegmentInfo("L", "Léber", (0.8, 0.4, 0.2), "cat~SCT^1^Organ~SCT^2^Liver~^^~list~^^~^^")
SPLEEN = SegmentInfo("S", "脾臓", (0.2, 0.6, 0.3))


def blocks():
    labels = np.zeros(SIZE, np.uint8)
    labels[1:4, 2:5, 2:6] = 1
    labels[1:4, 5:7, 2:6] = 2
    return labels


def snapshot(scene):
    """Everything a person could see of a scene, without times of modification."""
    nodes = {}
    for n in range(scene.GetNumberOfNodes()):
        node = scene.GetNthNode(n)
        seen = [node.GetName(), node.GetClassName()]
        if node.IsA("vtkMRMLDisplayableNode"):
            seen.append(
                [node.GetNthDisplayNodeID(m) for m in range(node.GetNumberOfDisplayNodes())]
            )
        if node.IsA("vtkMRMLSegmentationNode"):
            seen += [read_segments(node), node.GetSegmentation().GetNumberOfLayers()]
            for info in read_segments(node):
                mask, matrix = segment_mask(node, info.id)
                seen.append(np.round(centres(mask, matrix), 4).tolist())
        if node.IsA("vtkMRMLSubjectHierarchyNode"):
            import vtk

            items = vtk.vtkIdList()
            node.GetItemChildren(node.GetSceneItemID(), items, True)
            seen.append([node.GetItemName(items.GetId(m)) for m in range(items.GetNumberOfIds())])
        nodes[node.GetID()] = seen
    return nodes


def voxels_of(node, segment_id, volume):
    """A segment as Slicer finds it at the centres of the volume's voxels, bool (k, j, i)."""
    index = np.argwhere(np.ones(SIZE, bool))[:, ::-1]
    whole = world_matrix(volume) @ PLACE
    found = values_at(node, index @ whole[:3, :3].T + whole[:3, 3])
    return np.array([segment_id in here for here in found]).reshape(SIZE)


def existing(scene, volume, grid=PLACE, first=(0, 0, 0), shape=SIZE, transform="same"):
    """A segmentation with a liver painted on slice 1, a neighbour, and one that is locked."""
    painted = np.zeros(shape, np.uint8)
    painted[1, 1:5, 1:4] = 1
    painted[2, 2:4, 4:8] = 2
    painted[3, 4:7, 4:8] = 3
    if shape != SIZE:  # the same on a lattice of its own, in the middle of it
        k, j, i = (n // 2 for n in shape)
        painted[:] = 0
        painted[k - 1 : k + 1, j - 2 : j + 2, i - 3 : i] = 1
        painted[k - 1 : k + 1, j - 2 : j, i : i + 3] = 2
        painted[k - 1 : k + 1, j : j + 2, i : i + 3] = 3
    move = volume.GetParentTransformNode() if transform == "same" else transform
    ids = {"L": (1, "Léber"), "N": (2, "neighbour"), "K": (3, "finished")}
    node = add_segmentation(scene, [(painted, grid, first, ids)], move)
    node.GetSegmentation().GetSegment("K").SetTag("Segmentation.Status", "completed")
    return node, painted
