"""One slice rejected, taken back, and marked as another support, in a real scene."""

from __future__ import annotations

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")

import vtk  # noqa: E402
from FewShotSAMModule.scene.placement import to_matrix, volume_affine  # noqa: E402
from FewShotSAMModule.scene.preview import new_segment  # noqa: E402
from FewShotSAMModule.scene.results import ResultWriter  # noqa: E402
from FewShotSAMModule.scene.segments import SegmentInfo, label_image, read_segments  # noqa: E402
from FewShotSAMModule.scene.slice_edits import (  # noqa: E402
    clear_slice,
    fill_slice,
    read_slice,
    segments_by_label,
)

from FewShotSAMLib import InputError  # noqa: E402

LIVER = SegmentInfo("Segment_1", "Leber – rechts", (0.8, 0.5, 0.4))
SPLEEN = SegmentInfo("Segment_2", "spleen", (0.2, 0.9, 0.1))
SHAPE = (6, 7, 8)  # k, j, i

# Oblique, mirrored, anisotropic.
PLACE = np.array(
    [[0.0, -1.4, 0.3, 12.0], [-0.7, 0.1, 0.0, 3.0], [0.1, 0.0, 4.0, -7.0], [0, 0, 0, 1]]
)


@pytest.fixture
def random():
    return np.random.default_rng(3)


@pytest.fixture
def volume(scene):
    image = vtk.vtkImageData()
    image.SetDimensions(*SHAPE[::-1])
    image.AllocateScalars(vtk.VTK_SHORT, 1)
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    node.SetAndObserveImageData(image)
    node.SetIJKToRASMatrix(to_matrix(PLACE))
    return node


@pytest.fixture
def labels(random):
    found = np.zeros(SHAPE, np.uint8)
    found[1:6, 1:6, 1:7] = random.integers(0, 3, (5, 5, 6))
    return found


@pytest.fixture
def written(volume, labels):
    """A committed result, and its segments by label."""
    writer = ResultWriter(volume, {1: LIVER, 2: SPLEEN})
    return writer.commit(labels), writer.segment_ids


def whole(volume, node, ids):
    return np.stack([read_slice(volume, node, ids, 0, k) for k in range(SHAPE[0])])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_reads_every_slice_of_every_axis(volume, labels, written, axis):
    for index in range(SHAPE[axis]):
        assert np.array_equal(read_slice(volume, *written, axis, index), labels.take(index, axis))


def test_reads_where_the_segmentation_lies_not_where_it_is_numbered(volume, labels, written):
    node, ids = written
    transform = volume.GetScene().AddNewNodeByClass("vtkMRMLLinearTransformNode")
    shift = np.eye(4)
    shift[:3, 3] = PLACE[:3, 2]  # by one slice
    transform.SetMatrixTransformToParent(to_matrix(shift))
    node.SetAndObserveTransformNodeID(transform.GetID())
    for k in range(1, SHAPE[0]):
        assert np.array_equal(read_slice(volume, node, ids, 0, k), labels[k - 1])
    assert not read_slice(volume, node, ids, 0, 0).any()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_rejecting_clears_one_slice_and_accepting_brings_it_back(volume, labels, written, axis):
    node, ids = written
    held, _ = clear_slice(volume, node, ids, axis, 3)
    cleared = labels.copy()
    np.moveaxis(cleared, axis, 0)[3] = 0
    assert np.array_equal(whole(volume, node, ids), cleared)
    assert np.array_equal(held, labels.take(3, axis))
    again = fill_slice(volume, node, segments_by_label(node, ids), axis, 3, held)
    assert again.segment_ids == ids
    assert np.array_equal(whole(volume, node, ids), labels)
    assert [info.name for info in read_segments(node)] == [LIVER.name, SPLEEN.name]


def test_clearing_leaves_other_segments_alone(volume, labels, written):
    node, ids = written
    held, _ = clear_slice(volume, node, {1: ids[1]}, 0, 2)
    assert set(np.unique(held)) <= {0, 1}
    assert np.array_equal(read_slice(volume, node, {2: ids[2]}, 0, 2) == 2, labels[2] == 2)
    assert not read_slice(volume, node, {1: ids[1]}, 0, 2).any()


def test_rejecting_can_be_undone(volume, labels, written):
    _, writer = clear_slice(volume, *written, 0, 2)
    assert not read_slice(volume, *written, 0, 2).any()
    writer.undo()
    assert np.array_equal(whole(volume, *written), labels)


def test_the_only_structure_of_a_segmentation_comes_back_too(volume, labels):
    writer = ResultWriter(volume, {1: LIVER})
    node = writer.commit(np.minimum(labels, 1))
    before = whole(volume, node, writer.segment_ids)
    _, change = clear_slice(volume, node, writer.segment_ids, 0, 2)
    assert not read_slice(volume, node, writer.segment_ids, 0, 2).any()
    change.undo()
    assert np.array_equal(whole(volume, node, writer.segment_ids), before)


def test_one_change_is_told_beforehand(volume, written):
    told = []
    clear_slice(volume, *written, 0, 2, before_change=lambda: told.append(1))
    assert told == [1]


def test_a_completed_segment_is_not_cleared(volume, labels, written):
    node, ids = written
    node.GetSegmentation().GetSegment(ids[1]).SetTag("Segmentation.Status", "completed")
    with pytest.raises(InputError, match="completed"):
        clear_slice(volume, node, ids, 0, 2)
    assert np.array_equal(whole(volume, node, ids), labels)


def test_a_removed_segment_is_left_out(volume, labels, written):
    node, ids = written
    node.GetSegmentation().RemoveSegment(ids[1])
    assert set(segments_by_label(node, ids)) == {2}
    assert np.array_equal(read_slice(volume, node, ids, 0, 2), np.where(labels[2] == 2, 2, 0))
    clear_slice(volume, node, ids, 0, 2)
    assert len(read_segments(node)) == 1


def test_marks_a_slice_as_another_support(volume, labels, written):
    """The support has the liver alone, painted on slice 1; slice 4 of the result joins it."""
    drawn = np.zeros(SHAPE, np.uint8)
    drawn[1] = labels[1] == 1
    support = volume.GetScene().AddNewNodeByClass("vtkMRMLSegmentationNode", "support")
    image = label_image(drawn, volume_affine(volume))
    support.GetSegmentation().AddSegment(new_segment(LIVER, 1, image), "Segment_9")
    node, ids = written
    now = read_slice(volume, node, ids, 0, 4)
    taken = fill_slice(
        volume, support, segments_by_label(node, ids), 0, 4, now, overwrite="unlocked"
    ).segment_ids
    assert taken[1] == "Segment_9"
    assert len(read_segments(support)) == 2
    both = whole(volume, support, taken)
    assert np.array_equal(both[1], drawn[1])
    assert np.array_equal(both[4], labels[4])
    assert not both[[0, 2, 3, 5]].any()


def test_a_segmentation_with_a_grid_of_its_own(volume):
    """A coarse block around voxel (j, i) = (3, 4) of slice 2, drawn on a grid of half a voxel."""
    fine = PLACE @ np.diag([0.5, 0.5, 0.5, 1.0])
    drawn = np.zeros((12, 14, 16), np.uint8)
    drawn[4, 6, 8] = 1
    support = volume.GetScene().AddNewNodeByClass("vtkMRMLSegmentationNode", "fine")
    support.GetSegmentation().AddSegment(new_segment(LIVER, 1, label_image(drawn, fine)), "s")
    found = read_slice(volume, support, {1: "s"}, 0, 2)
    assert found.shape == SHAPE[1:]
    assert found[3, 4] == 1
    assert found.sum() == 1
    assert not read_slice(volume, support, {1: "s"}, 0, 3).any()
