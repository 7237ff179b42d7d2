"""A generated patient in the scene, and what a run leaves there."""

from __future__ import annotations

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core (pip install slicer-core)")
pytest.importorskip("slicer.util", reason="needs slicer-core (pip install slicer-core)")

from FewShotSAMModule.runs.source import Choice, Preparation  # noqa: E402

from FewShotSAMLib import Volume  # noqa: E402

SMALL = {"shape": (8, 64, 64), "spacing": (5.2, 5.2, 25.0)}
LIVER, RIGHT_KIDNEY, LEFT_KIDNEY, SPLEEN = 1, 2, 3, 4
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
LIMIT = 120


def add_volume(volume: Volume) -> object:
    kind = "vtkMRMLVectorVolumeNode" if volume.is_rgb else "vtkMRMLScalarVolumeNode"
    node = slicer.mrmlScene.AddNewNodeByClass(kind, volume.name)
    slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(volume.voxels))
    matrix = slicer.util.vtkMatrixFromArray(LPS_TO_RAS @ volume.affine)
    node.SetIJKToRASMatrix(matrix)
    return node


def paint(volume_node, labels: Volume, *wanted: int, name: str = "painted") -> object:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
    for label in wanted or sorted(labels.segments):
        info = labels.segments[label]
        segment = node.GetSegmentation().AddEmptySegment("", info.name, info.colour)
        mask = (labels.voxels == label).astype(np.uint8)
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, segment, volume_node)
    return node


def read_back(node, volume_node, segment_ids: dict[int, str]) -> np.ndarray:
    """Labels (k, j, i) on the volume's grid, by Slicer's own means."""
    shape = slicer.util.arrayFromVolume(volume_node).shape[:3]
    labels = np.zeros(shape, np.uint8)
    for label, segment in segment_ids.items():
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, segment, volume_node)
        labels[mask > 0] = label
    return labels


def contents() -> dict[str, tuple]:
    """What is in the scene: nodes by id, with the voxels of the segmentations. `read_back` leaves
    display nodes behind, which do not count."""
    found = {}
    for n in range(slicer.mrmlScene.GetNumberOfNodes()):
        node = slicer.mrmlScene.GetNthNode(n)
        if node.IsA("vtkMRMLLabelMapVolumeDisplayNode"):
            continue
        inside = ()
        if node.IsA("vtkMRMLSegmentationNode"):
            segmentation = node.GetSegmentation()
            inside = tuple(
                (i, segmentation.GetSegment(i).GetName(), voxels(segmentation, i))
                for i in segmentation.GetSegmentIDs()
            )
        found[node.GetID()] = (node.GetName(), node.GetClassName(), inside)
    return found


def voxels(segmentation, segment_id: str) -> bytes:
    from vtk.util.numpy_support import vtk_to_numpy

    segment = segmentation.GetSegment(segment_id)
    image = segment.GetRepresentation("Binary labelmap")
    if image is None or image.GetPointData().GetScalars() is None:
        return b""
    mine = vtk_to_numpy(image.GetPointData().GetScalars()) == segment.GetLabelValue()
    return str(image.GetExtent()).encode() + mine.tobytes()


def read_source(volume_node, segmentation_node):
    preparation = Preparation(volume_node, segmentation_node, Choice())
    return preparation.poll(LIMIT)


def read_source_into(volume_node, segmentation_node, output, overwrite):
    """What a run into an existing segmentation works on."""
    preparation = Preparation(volume_node, segmentation_node, Choice(), output, overwrite)
    return preparation.poll(LIMIT)


def until(run, happened) -> None:
    while not happened(run):
        run.poll()
        assert not run.over, (run.state, run.message)


def previews() -> list:
    count = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")
    nodes = [slicer.mrmlScene.GetNthNodeByClass(n, "vtkMRMLSegmentationNode") for n in range(count)]
    return [node for node in nodes if node.GetName().endswith("preview")]
