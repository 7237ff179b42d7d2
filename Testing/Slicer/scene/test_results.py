"""Results into the scene: who keeps which voxels, what is left after cancel and undo."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("slicer", reason="needs slicer-core (pip install slicer-core)")

from FewShotSAMModule.scene.results import ResultWriter
from FewShotSAMModule.scene.segments import SegmentInfo, read_segments
from scene_nodes import (
    add_segmentation,
    add_transform,
    add_volume,
    affine,
    centres,
    segment_mask,
    values_at,
    world_matrix,
)

from FewShotSAMLib import InputError

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


@pytest.fixture
def volume(scene):
    voxels = np.random.default_rng(0).integers(0, 99, SIZE).astype(np.int16)
    move = add_transform(scene, affine((1, 1, 1), (5, 6, 7), (0.3, 0, 0.2)))
    return add_volume(scene, voxels, PLACE, move, name="Bäuche")


def voxels_of(node, segment_id, volume):
    """A segment as Slicer finds it at the centres of the volume's voxels, bool (k, j, i)."""
    index = np.argwhere(np.ones(SIZE, bool))[:, ::-1]
    whole = world_matrix(volume) @ PLACE
    found = values_at(node, index @ whole[:3, :3].T + whole[:3, 3])
    return np.array([segment_id in here for here in found]).reshape(SIZE)


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


@pytest.mark.parametrize("overwrite", ["never", "unlocked", "all"])
def test_who_keeps_which_voxels(scene, volume, overwrite):
    node, painted = existing(scene, volume)
    writer = ResultWriter(
        volume, {1: LIVER, 2: SPLEEN}, output=node, into="existing", overwrite=overwrite
    )
    labels = blocks()
    assert writer.commit(labels) is node
    liver, neighbour, finished = painted == 1, painted == 2, painted == 3
    kept = {
        "never": liver | neighbour | finished,
        "unlocked": finished,
        "all": np.zeros(SIZE, bool),
    }[overwrite]
    expected = {
        "L": (labels == 1) & ~(kept & ~liver),
        writer.segment_ids[2]: (labels == 2) & ~kept,
        "N": neighbour & ((labels == 0) | kept),
        "K": finished & ((labels == 0) | kept),
    }
    if overwrite == "never":
        expected["L"] |= liver
    for segment_id, mask in expected.items():
        np.testing.assert_array_equal(voxels_of(node, segment_id, volume), mask, segment_id)
    lost = {
        1: np.count_nonzero((labels == 1) & kept & ~liver),
        2: np.count_nonzero((labels == 2) & kept),
    }
    assert writer.held_back == {label: count for label, count in lost.items() if count}
    assert [s.name for s in read_segments(node)] == ["Léber", "neighbour", "finished", "脾臓"]


def test_segments_that_overlap_keep_what_they_have(scene, volume):
    """Neighbours in layers of their own, one around everything."""
    body = np.ones(SIZE, np.uint8)
    inner = np.zeros(SIZE, np.uint8)
    inner[2, 3, 3] = 1
    move = volume.GetParentTransformNode()
    layers = [(body, PLACE, (0, 0, 0), {"B": (1, "body")})]
    layers += [(inner, PLACE, (0, 0, 0), {"I": (1, "inner")})]
    node = add_segmentation(scene, layers, move)
    writer = ResultWriter(volume, {1: LIVER}, output=node, into="existing")
    labels = np.where(blocks() == 1, 1, 0).astype(np.uint8)
    writer.commit(labels)
    assert writer.held_back == {1: np.count_nonzero(labels)}
    assert not voxels_of(node, "L", volume).any()
    writer.undo()
    writer = ResultWriter(volume, {1: LIVER}, output=node, into="existing", overwrite="all")
    writer.commit(labels)
    np.testing.assert_array_equal(voxels_of(node, "L", volume), labels == 1)
    np.testing.assert_array_equal(voxels_of(node, "B", volume), labels == 0)
    np.testing.assert_array_equal(voxels_of(node, "I", volume), (inner == 1) & (labels == 0))


def test_outside_of_the_slices_that_were_worked_on_a_segment_keeps_its_voxels(scene, volume):
    node, painted = existing(scene, volume)
    labels = np.zeros(SIZE, np.uint8)
    labels[3:5, 1:3, 1:3] = 1
    writer = ResultWriter(volume, {1: LIVER}, output=node, into="existing", overwrite="all")
    writer.commit(labels, region=(0, 3, 5))
    expected = (painted == 1) | (labels == 1)
    np.testing.assert_array_equal(voxels_of(node, "L", volume), expected)
    # Along another axis, and over what it held before.
    writer = ResultWriter(volume, {1: LIVER}, output=node, into="existing", overwrite="all")
    writer.commit(np.zeros(SIZE, np.uint8), region=(2, 0, 1))
    expected[:, :, :2] = False
    np.testing.assert_array_equal(voxels_of(node, "L", volume), expected)


@pytest.mark.parametrize("undo", ["writer", "scene"])
@pytest.mark.parametrize("overwrite", ["never", "all"])
def test_one_undo_restores_an_existing_segmentation(scene, volume, overwrite, undo):
    node, _ = existing(scene, volume)
    if undo == "scene":
        scene.SetUndoOn()
        node.SetUndoEnabled(True)
    before = snapshot(scene)
    saved = []
    writer = ResultWriter(
        volume,
        {1: LIVER, 2: SPLEEN},
        output=node,
        into="existing",
        overwrite=overwrite,
        before_change=lambda: saved.append(snapshot(scene)),
    )
    writer.preview(0, 2, blocks()[2])
    writer.commit(blocks())
    assert saved == [before]
    assert snapshot(scene) != before
    if undo == "scene":
        assert scene.GetNumberOfUndoLevels() == 1
        scene.Undo()
    else:
        writer.undo()
    assert snapshot(scene) == before


def test_undo_does_not_throw_away_what_was_painted_since(scene, volume):
    for into in ("existing", "new"):
        node, _ = existing(scene, volume)
        writer = ResultWriter(volume, {1: LIVER}, output=node, into=into)
        node = writer.commit((blocks() == 1).astype(np.uint8))
        image = node.GetSegmentation().GetSegment("L").GetRepresentation("Binary labelmap")
        image.Modified()
        with pytest.raises(InputError, match="edited since"):
            writer.undo()


def around_the_volume(matrix, shape):
    """The matrix moved so that the lattice's middle lies in the middle of the volume."""
    move = affine((1, 1, 1), (5, 6, 7), (0.3, 0, 0.2))
    middle = move @ PLACE @ [*(np.array(SIZE[::-1]) / 2), 1]
    matrix[:3, 3] += (middle - matrix @ [*(np.array(shape[::-1]) // 2), 1])[:3]
    return matrix, shape


GRIDS = {
    "finer, turned": around_the_volume(
        affine((0.7, 0.8, 1.1), turned=(0.5, 0.1, 0.1)), (12, 14, 16)
    ),
    "coarser, mirrored": around_the_volume(affine((2.1, 2.3, 5), signs=(-1, 1, 1)), (4, 5, 8)),
}


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("overwrite", ["never", "all"])
def test_an_existing_segmentation_on_another_grid(scene, volume, grid, overwrite):
    matrix, shape = GRIDS[grid]
    # Under no transform, so the volume's transform must be taken into account.
    shift = affine(origin=(-3, 2, -1))  # the array begins at (3, -2, 1)
    node, painted = existing(scene, volume, matrix @ shift, (3, -2, 1), shape, transform=None)
    old = {i: segment_mask(node, i) for i in ("L", "N", "K")}
    before = {i: centres(*old[i]) for i in old}
    labels = np.zeros(SIZE, np.uint8)
    labels[1:5, 1:7, 1:9] = 1
    writer = ResultWriter(volume, {1: LIVER}, output=node, into="existing", overwrite=overwrite)
    writer.commit(labels)
    inside = np.linalg.inv(world_matrix(volume) @ PLACE)

    def label_under(points):
        """The result at RAS points, -1 outside of the volume."""
        index = np.rint((np.c_[points, np.ones(len(points))] @ inside.T)[:, :3]).astype(int)
        within = np.all((index >= 0) & (index < SIZE[::-1]), axis=1)
        found = np.full(len(points), -1)
        i, j, k = index[within].T
        found[within] = labels[k, j, i]
        return found

    for name in ("N", "K"):
        now = centres(*segment_mask(node, name))
        keep = (label_under(before[name]) != 1) | (overwrite == "never")
        np.testing.assert_allclose(now, before[name][keep], atol=1e-4)
    # The liver stays on its own lattice: each of its voxels whose centre lies in the result is
    # set, and outside of the volume it keeps what it had.
    mask, lattice = segment_mask(node, "L")
    index = np.argwhere(np.ones(mask.shape, bool))[:, ::-1]
    points = index @ lattice[:3, :3].T + lattice[:3, 3]
    under = label_under(points)
    was = {tuple(p) for p in np.round(before["L"], 2)}
    was = np.array([tuple(p) in was for p in np.round(points, 2)])
    others = np.array([bool(here & {"N", "K"}) for here in values_at(node, points)])
    expected = was | (under == 1) if overwrite == "never" else (under == 1) | (was & (under < 0))
    wrong = (expected & ~others) != mask.ravel()
    if overwrite == "all":
        assert not wrong.any()
    else:
        # A voxel that a neighbour holds back on the volume's lattice takes a little more or less
        # of this one, along the neighbour only.
        assert np.count_nonzero(wrong) <= 0.1 * np.count_nonzero(expected)
        held_back = mask.ravel() & others
        assert not held_back.any()
    whole = voxels_of(node, "L", volume) | voxels_of(node, "N", volume)
    whole |= voxels_of(node, "K", volume)
    agree = np.count_nonzero(whole & (labels == 1)) / np.count_nonzero(labels == 1)
    assert agree > 0.8


def test_a_segment_without_voxels_takes_the_result_without_rounding(scene, volume):
    """Its layer has another grid, but it has nothing there that could be lost."""
    matrix, shape = GRIDS["coarser, mirrored"]
    node, painted = existing(scene, volume, matrix, (0, 0, 0), shape, transform=None)
    node.GetSegmentation().AddEmptySegment("S", SPLEEN.name)
    writer = ResultWriter(volume, {1: SPLEEN}, output=node, into="existing", overwrite="all")
    writer.commit((blocks() == 1).astype(np.uint8))
    assert writer.segment_ids == {1: "S"}
    np.testing.assert_array_equal(voxels_of(node, "S", volume), blocks() == 1)


def test_segments_are_found_by_name_and_ids_do_not_clash(scene, volume):
    node = add_segmentation(scene, [])
    segmentation = node.GetSegmentation()
    segmentation.AddEmptySegment("Segment_1", "something else")
    segmentation.AddEmptySegment("Segment_7", "Léber")
    infos = {
        1: SegmentInfo("Segment_1", "Léber", (1, 0, 0)),
        2: SegmentInfo("Segment_7", "spleen", (0, 1, 0)),
    }
    writer = ResultWriter(volume, infos, output=node, into="existing")
    writer.commit(blocks())
    assert writer.segment_ids[1] == "Segment_7"
    assert segmentation.GetSegment(writer.segment_ids[2]).GetName() == "spleen"
    assert not voxels_of(node, "Segment_1", volume).any()
    np.testing.assert_array_equal(voxels_of(node, "Segment_7", volume), blocks() == 1)
    np.testing.assert_array_equal(voxels_of(node, writer.segment_ids[2], volume), blocks() == 2)


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


@pytest.mark.parametrize("kind", [np.int16, np.uint16, np.int32, np.float32])
def test_label_maps_of_other_number_types(scene, volume, kind):
    """As other tools write them; -1 belongs to nobody."""
    painted = np.zeros(SIZE, kind)
    painted[1, 1:5, 1:4], painted[2, 2:4, 4:8] = 1, 260
    painted[4] = 0 if kind == np.uint16 else -1
    ids = {"L": (1, "Léber"), "N": (260, "neighbour")}
    move = volume.GetParentTransformNode()
    node = add_segmentation(scene, [(painted, PLACE, (0, 0, 0), ids)], move)
    labels = blocks() * (blocks() == 1)
    labels[4, 2:5, 2:6] = 1
    ResultWriter(volume, {1: LIVER}, output=node, into="existing").commit(labels)
    neighbour = painted == 260
    expected = ((labels == 1) & ~neighbour) | (painted == 1)
    np.testing.assert_array_equal(voxels_of(node, "L", volume), expected)
    np.testing.assert_array_equal(voxels_of(node, "N", volume), neighbour)


def test_the_surface_follows_the_voxels(scene, volume):
    node, painted = existing(scene, volume)
    assert node.CreateClosedSurfaceRepresentation()
    before = node.GetSegmentation().GetSegment("L").GetRepresentation("Closed surface").GetBounds()
    labels = np.zeros(SIZE, np.uint8)
    labels[:, :, 9] = 1
    ResultWriter(volume, {1: LIVER}, output=node, into="existing").commit(labels)
    surface = node.GetSegmentation().GetSegment("L").GetRepresentation("Closed surface")
    assert surface is not None
    assert surface.GetBounds() != before


def test_what_cannot_be_written_into_is_refused_before_anything_changes(scene, volume):
    with pytest.raises(InputError, match="overwrite 'some'"):
        ResultWriter(volume, {1: LIVER}, overwrite="some")
    with pytest.raises(InputError, match="choose one"):
        ResultWriter(volume, {1: LIVER}, into="existing")
    node, _ = existing(scene, volume)
    finished = SegmentInfo("K", "finished", (1, 1, 0))
    for overwrite in ("never", "unlocked"):
        with pytest.raises(InputError, match="'finished' is marked as completed"):
            ResultWriter(volume, {1: finished}, output=node, into="existing", overwrite=overwrite)
    ResultWriter(volume, {1: finished}, output=node, into="existing", overwrite="all")
    node.CreateClosedSurfaceRepresentation()
    node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    with pytest.raises(InputError, match="surfaces"):
        ResultWriter(volume, {1: LIVER}, output=node, into="existing")


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
