"""Results into a new segmentation: names and place, previews, cancel and undo."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("slicer", reason="needs slicer-core (pip install slicer-core)")

from FewShotSAMModule.scene.results import ResultWriter
from FewShotSAMModule.scene.segments import SegmentInfo, read_segments
from result_scenes import LIVER, PLACE, SIZE, SPLEEN, blocks, existing, snapshot, voxels_of
from scene_nodes import (
    centres,
    segment_mask,
    world_matrix,
)

from FewShotSAMLib import InputError


def test_a_new_segmentation_carries_names_colours_and_place(scene, volume):
    hierarchy = scene.GetSubjectHierarchyNode()
    study = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "study")
    hierarchy.CreateItem(study, volume)
    writer = ResultWriter(volume, {1: LIVER, 2: SPLEEN})
    node = writer.commit(blocks())
    assert node.GetName() == "Bäuche FewShotSAM"
    assert read_segments(node)[0] == LIVER
    assert [s.name for s in read_segments(node)] == ["Léber", "脾臓"]
    assert writer.segment_ids == {1: "L", 2: "S"}
    assert node.GetParentTransformNode() is volume.GetParentTransformNode()
    role = node.GetReferenceImageGeometryReferenceRole()
    assert node.GetNodeReference(role) is volume
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study
    assert node.GetSegmentation().GetNumberOfLayers() == 1
    for label, segment_id in writer.segment_ids.items():
        np.testing.assert_array_equal(voxels_of(node, segment_id, volume), blocks() == label)
    assert ResultWriter(volume, {1: LIVER, 2: SPLEEN}).commit(blocks()).GetName() != node.GetName()


def test_a_structure_that_was_not_found_is_there_and_empty(scene, volume):
    labels = blocks()
    labels[labels == 2] = 0
    node = ResultWriter(volume, {1: LIVER, 2: SPLEEN}).commit(labels)
    assert [s.name for s in read_segments(node)] == ["Léber", "脾臓"]
    assert not voxels_of(node, "S", volume).any()
    nothing = ResultWriter(volume, {1: LIVER, 2: SPLEEN}).commit(np.zeros(SIZE, np.uint8))
    assert not voxels_of(nothing, "L", volume).any()


def test_the_preview_shows_slices_and_discard_leaves_no_trace(scene, volume):
    before = snapshot(scene)
    writer = ResultWriter(volume, {1: LIVER, 2: SPLEEN})
    labels = blocks()
    for axis, index in ((0, 2), (1, 5), (2, 4)):
        writer.preview(axis, index, np.take(labels, index, axis))
    (node,) = [n for n in nodes_of(scene, "vtkMRMLSegmentationNode") if "preview" in n.GetName()]
    assert not node.GetSaveWithScene() and not node.GetDisplayNode().GetSaveWithScene()
    shown = np.zeros(SIZE, np.uint8)
    shown[2], shown[:, 5], shown[:, :, 4] = labels[2], labels[:, 5], labels[:, :, 4]
    for label, segment_id in ((1, "L"), (2, "S")):
        np.testing.assert_array_equal(voxels_of(node, segment_id, volume), shown == label)
    writer.preview(0, 2, np.zeros(SIZE[1:], np.uint8))
    shown[2] = 0
    np.testing.assert_array_equal(voxels_of(node, "L", volume), shown == 1)
    writer.discard()
    writer.discard()
    assert snapshot(scene) == before


def test_the_display_is_there_before_the_segmentation(scene, volume):
    """The subject hierarchy complains of a displayable node that has none."""
    bare = []

    def look(*_):
        nodes = nodes_of(scene, "vtkMRMLSegmentationNode")
        bare.extend(node.GetName() for node in nodes if node.GetDisplayNode() is None)

    scene.AddObserver(scene.NodeAddedEvent, look)
    writer = ResultWriter(volume, {1: LIVER})
    writer.preview(0, 2, np.zeros(SIZE[1:], np.uint8))
    writer.commit((blocks() == 1).astype(np.uint8))
    assert bare == []


def nodes_of(scene, kind):
    return [scene.GetNthNodeByClass(n, kind) for n in range(scene.GetNumberOfNodesByClass(kind))]


def test_undo_of_a_new_segmentation(scene, volume):
    before = snapshot(scene)
    writer = ResultWriter(volume, {1: LIVER, 2: SPLEEN})
    writer.preview(0, 2, blocks()[2])
    writer.commit(blocks())
    writer.undo()
    assert snapshot(scene) == before
    with pytest.raises(InputError, match="no result"):
        writer.undo()


def test_the_scenes_own_undo_takes_a_new_segmentation_back(scene, volume):
    scene.SetUndoOn()
    before = snapshot(scene)
    writer = ResultWriter(volume, {1: LIVER, 2: SPLEEN})
    writer.preview(0, 2, blocks()[2])
    writer.commit(blocks())
    assert scene.GetNumberOfUndoLevels() == 1
    scene.Undo()
    assert snapshot(scene) == before


def test_more_than_255_structures(scene, volume):
    labels = np.zeros(SIZE, np.uint16)
    infos = {n: SegmentInfo(f"s{n}", f"part {n}", (0, 1, 0)) for n in range(1, 301)}
    labels.ravel()[:300] = np.arange(1, 301)
    whole = world_matrix(volume) @ PLACE
    node, painted = existing(scene, volume)
    for writer in (
        ResultWriter(volume, infos),
        ResultWriter(volume, infos, output=node, into="existing", overwrite="all"),
    ):
        written = writer.commit(labels)
        for n in (1, 128, 256, 300):
            found = centres(*segment_mask(written, writer.segment_ids[n]))
            np.testing.assert_allclose(found, centres(labels == n, whole), atol=1e-4)


def test_nodes_that_leave_the_scene_during_a_run(scene, volume):
    node, _ = existing(scene, volume)
    writer = ResultWriter(volume, {1: LIVER}, output=node, into="existing")
    other = ResultWriter(volume, {1: LIVER})
    labels = (blocks() == 1).astype(np.uint8)
    other.preview(0, 1, labels[1])
    writer.preview(0, 1, labels[1])
    scene.RemoveNode(node)
    with pytest.raises(InputError, match="left the scene"):
        writer.commit(labels)
    scene.RemoveNode(volume)
    other.preview(0, 2, labels[2])
    with pytest.raises(InputError, match="left the scene"):
        other.commit(labels)
    assert not nodes_of(scene, "vtkMRMLSegmentationNode")
    with pytest.raises(InputError, match="left the scene"):
        ResultWriter(volume, {1: LIVER})


def test_closing_the_scene_during_a_run(scene, volume):
    writer = ResultWriter(volume, {1: LIVER})
    writer.preview(0, 1, blocks()[1] % 2)
    scene.Clear(False)
    writer.preview(0, 2, blocks()[2] % 2)
    writer.discard()
    with pytest.raises(InputError, match="left the scene"):
        writer.commit(blocks() % 2)


def test_labels_that_do_not_fit_are_a_mistake_of_the_program(scene, volume):
    writer = ResultWriter(volume, {1: LIVER})
    with pytest.raises(ValueError, match="shape"):
        writer.commit(blocks()[:-1])
    with pytest.raises(ValueError, match="none of the segments"):
        writer.commit(blocks())
    from slicer.util import updateVolumeFromArray

    updateVolumeFromArray(volume, np.zeros((3, 4, 5), np.int16))
    with pytest.raises(InputError, match="changed its size"):
        writer.commit(blocks() % 2)
