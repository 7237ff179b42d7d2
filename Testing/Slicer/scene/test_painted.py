"""The direction that was painted in, for any order of the volume's axes."""

from __future__ import annotations

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")

from FewShotSAMModule.scene.painted import painted_axis, painted_range  # noqa: E402
from FewShotSAMModule.scene.placement import to_matrix  # noqa: E402
from FewShotSAMModule.scene.results import ResultWriter  # noqa: E402
from FewShotSAMModule.scene.segments import SegmentInfo  # noqa: E402
from scene_nodes import add_segmentation, add_volume, affine  # noqa: E402

SHAPE = (9, 10, 11)  # k, j, i
ONE, TWO = (SegmentInfo(name, name, (1.0, 0.0, 0.0)) for name in ("one", "two"))
# Columns: where i, j and k go in RAS. The second stores coronal slices first.
AXIAL = np.diag([-1.0, -1.0, 2.0, 1.0])
CORONAL = np.array([[-1.0, 0, 0, 0], [0, 0, 3.0, 0], [0, 1.0, 0, 0], [0, 0, 0, 1]])


def painting(scene, place, axis, index=4):
    volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    slicer.util.updateVolumeFromArray(volume, np.zeros(SHAPE, np.int16))
    volume.SetIJKToRASMatrix(to_matrix(place))
    labels = np.zeros(SHAPE, np.uint8)
    drawn = np.moveaxis(labels, axis, 0)[index]
    drawn[2:7, 3:8] = 1
    drawn[2:4, 3:4] = 2
    return volume, ResultWriter(volume, {1: ONE, 2: TWO}).commit(labels)


@pytest.mark.parametrize(
    ("place", "words"),
    [(AXIAL, ("axial", "coronal", "sagittal")), (CORONAL, ("coronal", "axial", "sagittal"))],
    ids=["axial volume", "coronal volume"],
)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_painted_slice_tells_its_direction(scene, place, words, axis):
    volume, painted = painting(scene, place, axis)
    assert painted_axis(volume, painted) == words[axis]
    assert painted_axis(volume, painted, ["two"]) == words[axis]


def test_the_library_finds_the_same(scene):
    from FewShotSAMModule.scene.supports import read_supports

    random = np.random.default_rng(0)
    for axis in (0, 1, 2):
        volume, painted = painting(scene, CORONAL, axis)
        noise = random.integers(0, 100, SHAPE).astype(np.int16)
        slicer.util.updateVolumeFromArray(volume, noise)
        supports, _ = read_supports(volume, painted)
        assert supports[0].axis == painted_axis(volume, painted)


def test_of_outlines_in_two_views_the_largest_tell_the_direction(scene):
    """As people paint in Slicer's four views: the trace of one plane in another is no outline."""
    from FewShotSAMModule.scene.supports import read_supports

    volume, _ = painting(scene, AXIAL, 0)
    slicer.util.updateVolumeFromArray(
        volume, np.random.default_rng(0).integers(0, 99, (20, 24, 24)).astype(np.int16)
    )
    labels = np.zeros((20, 24, 24), np.uint8)
    labels[[5, 14], 3:21, 8:14] = 1  # axial
    labels[:, 10:14, 11] = 1  # sagittal, and smaller
    painted = ResultWriter(volume, {1: ONE}).commit(labels)
    assert painted_axis(volume, painted) == "axial"
    supports, _ = read_supports(volume, painted)
    assert {one.axis for one in supports} == {"axial"}
    assert supports[0].slices == (5, 14)


def test_nothing_painted_has_no_direction(scene):
    volume, _ = painting(scene, AXIAL, 0)
    empty = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "empty")
    assert painted_axis(volume, empty) is None
    empty.GetSegmentation().AddEmptySegment("nothing")
    assert painted_axis(volume, empty) is None


def test_the_first_and_the_last_painted_slice(scene):
    """On a mirrored volume and a lattice of its own, of two layers."""
    matrix = affine((1, 1.5, 4), (10, -20, 30), signs=(-1, 1, -1))
    volume = add_volume(scene, np.zeros((9, 8, 10), np.int16), matrix)
    first, second = np.zeros((3, 8, 10), np.uint8), np.zeros((9, 8, 10), np.uint8)
    first[1, 2:4, 2:4], second[6, 1, 1] = 1, 1
    node = add_segmentation(
        scene,
        [(first, matrix, (0, 0, 1), {"a": (1, "a")}), (second, matrix, (0, 0, 0), {"b": (1, "b")})],
    )
    assert painted_range(volume, node, None, 0) == (2, 6)
    assert painted_range(volume, node, ["a"], 0) == (2, 2)
    assert painted_range(volume, node, ["b"], 2) == (1, 1)
    empty = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    assert painted_range(volume, empty, None, 0) is None
