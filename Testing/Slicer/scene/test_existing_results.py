"""Results into a segmentation that is there: who keeps which voxels, and what undo brings back."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("slicer", reason="needs slicer-core (pip install slicer-core)")

from FewShotSAMModule.scene.results import ResultWriter
from FewShotSAMModule.scene.segments import SegmentInfo, read_segments
from result_scenes import LIVER, PLACE, SIZE, SPLEEN, blocks, existing, snapshot, voxels_of
from scene_nodes import (
    add_segmentation,
    affine,
    centres,
    segment_mask,
    values_at,
    world_matrix,
)

from FewShotSAMLib import InputError


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
