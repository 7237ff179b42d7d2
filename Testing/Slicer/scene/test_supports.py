"""Painted segments as the scene holds them: overlaps, grids, surfaces, bad input."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("slicer", reason="needs slicer-core (pip install slicer-core)")

from FewShotSAMModule.scene.segments import (
    SegmentInfo,
    is_locked,
    read_layers,
    read_segments,
    whole_offset,
)
from FewShotSAMModule.scene.supports import read_supports
from FewShotSAMModule.scene.volumes import grid_of, read_volume_node
from scene_nodes import (
    add_bend,
    add_segmentation,
    add_transform,
    add_volume,
    affine,
    centres,
    put_under,
    world_matrix,
)
from small_volumes import LPS, PLACE, SIZE, voxels

from FewShotSAMLib import InputError


def drawn_at(supports, label):
    """RAS millimetres of all voxels drawn with a label, sorted, whatever support they are in."""
    points = []
    for support in supports:
        if label not in support.names:
            continue
        along = {"axial": 0, "coronal": 1, "sagittal": 2}[support.axis]
        mask = support.labels.voxels == label
        step = np.zeros(3)
        step[2 - along] = 1
        for position in range(mask.shape[along]):
            where = np.zeros_like(mask)
            one = np.moveaxis(where, along, 0)
            one[position] = np.moveaxis(mask, along, 0)[position]
            # Between kept slices there may be gaps: place each by its own number.
            gap = support.slices[position] - support.slices[0] - position
            index = np.argwhere(where)[:, ::-1] + gap * step
            points.append(support.labels.index_to_world(index) * LPS)
    points = np.concatenate(points)
    return points[np.lexsort(np.round(points, 3).T)]


def test_segments_keep_name_colour_and_terminology(scene):
    painted = np.zeros(SIZE, np.uint8)
    painted[2, 1:4, 2:5], painted[2, 5:7, 2:5] = 4, 9
    node = add_segmentation(scene, [(painted, PLACE, (0, 0, 0), {"x": (4, "肝臓"), "y": (9, "ß")})])
    node.GetSegmentation().GetSegment("x").SetTag("TerminologyEntry", "liver~SCT")
    node.GetSegmentation().GetSegment("y").SetTag("Segmentation.Status", "completed")
    first, second = read_segments(node)
    assert first == SegmentInfo("x", "肝臓", (0.4, 0.5, 0.25), "liver~SCT")
    assert second.name == "ß"
    assert [is_locked(node, i) for i in "xy"] == [False, True]
    volume = add_volume(scene, voxels(), PLACE)
    (support,), infos = read_supports(volume, node)
    assert infos == {1: first, 2: second}
    assert support.names == {1: "肝臓", 2: "ß"}
    assert support.labels.segments[1].colour == (0.4, 0.5, 0.25)
    assert support.labels.segments[1].terminology == "liver~SCT"
    assert support.axis == "axial" and support.slices == (2,)
    (support,), infos = read_supports(volume, node, ["y"])
    assert infos == {1: second} and support.names == {1: "ß"}


def test_overlapping_segments_are_all_kept_whole(scene):
    body, organ, other = (np.zeros(SIZE, np.uint8) for _ in range(3))
    body[2, 1:7, 1:9] = 1
    organ[2, 2:4, 2:6] = 1
    other[2, 5:7, 2:6] = 1
    node = add_segmentation(
        scene,
        [
            (body, PLACE, (0, 0, 0), {"b": (1, "body")}),
            (organ, PLACE, (0, 0, 0), {"o": (1, "organ")}),
            (other, PLACE, (0, 0, 0), {"p": (1, "other")}),
        ],
    )
    supports, infos = read_supports(add_volume(scene, voxels(), PLACE), node)
    # The two that do not overlap share a support.
    assert [sorted(s.names.values()) for s in supports] == [["body"], ["organ", "other"]]
    assert {label: info.name for label, info in infos.items()} == {
        1: "body",
        2: "organ",
        3: "other",
    }
    assert {s.axis for s in supports} == {"axial"}
    for label, mask in ((1, body), (2, organ), (3, other)):
        np.testing.assert_allclose(drawn_at(supports, label), centres(mask > 0, PLACE), atol=1e-6)


def test_overlapping_segments_are_segmented_together(scene):
    """The supports that overlapping segments become are one set for the library."""
    from FewShotSAMLib import load_segmenter
    from FewShotSAMLib.phantom.abdomen import abdomen

    phantom = abdomen((12, 64, 64), (5.0, 5.0, 16.0))
    place = affine((5, 5, 16), np.array(phantom.image.origin) * LPS, signs=(-1, -1, 1))
    index = phantom.marked_slice()
    liver, halo = np.zeros((2, 12, 64, 64), np.uint8)
    liver[index] = phantom.truth.voxels[index] == 1
    halo[index] = phantom.truth.voxels[index] > 0
    layers = [(liver, place, (0, 0, 0), {"l": (1, "liver")})]
    layers += [(halo, place, (0, 0, 0), {"o": (1, "organs")})]
    node = add_volume(scene, phantom.image.voxels, place)
    supports, infos = read_supports(node, add_segmentation(scene, layers))
    assert len(supports) == 2
    volume = read_volume_node(node)
    np.testing.assert_allclose(volume.affine, phantom.image.affine, atol=1e-9)
    result = load_segmenter().segment(volume, supports, range=(index, index + 1))
    assert result.names == {1: "liver", 2: "organs"} == {n: i.name for n, i in infos.items()}
    found = result.labels.voxels
    assert found.shape == (12, 64, 64)
    # What was drawn stays: where both are drawn, one of them is kept, and nothing beside them.
    np.testing.assert_array_equal(found[index] > 0, halo[index] > 0)


def test_drawings_on_several_slices_and_the_choice_among_them(scene):
    painted, over = np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint8)
    painted[1, 1:4, 1:4] = painted[4, 1:7, 1:7] = 1
    over[4, 2:4, 2:4] = 1
    layers = [(painted, PLACE, (0, 0, 0), {"a": (1, "a")})]
    layers += [(over, PLACE, (0, 0, 0), {"b": (1, "b")})]
    node, volume = add_segmentation(scene, layers), add_volume(scene, voxels(), PLACE)
    supports, _ = read_supports(volume, node, axis="axial")
    assert [s.slices for s in supports] == [(1, 4), (4,)]
    supports, infos = read_supports(volume, node, axis="axial", slices=[1])
    assert [s.slices for s in supports] == [(1,)]
    assert [info.name for info in infos.values()] == ["a"]
    supports, _ = read_supports(volume, node, axis="axial", slices="largest")
    assert [s.slices for s in supports] == [(4,), (4,)]
    with pytest.raises(InputError, match="slice 2; painted slices are 1, 4"):
        read_supports(volume, node, axis="axial", slices=[2])


@pytest.mark.parametrize("signs", [(-1, -1, -1), (1, -1, 1)])
def test_slice_numbers_count_along_the_volumes_own_axis(scene, signs):
    place = affine((1, 1.5, 4), (10, -20, 30), order=(2, 0, 1), signs=signs)
    painted = np.zeros(SIZE, np.uint8)
    painted[:, 1, 2:5] = painted[:, 6, 2:5] = 1
    node = add_segmentation(scene, [(painted, place, (0, 0, 0), {"a": (1, "a")})])
    volume = add_volume(scene, voxels(), place)
    whole = painted.copy()
    whole[:, 1] = 0
    axis = read_supports(volume, node)[0][0].axis
    supports, _ = read_supports(volume, node, axis=axis, slices=[6])
    np.testing.assert_allclose(drawn_at(supports, 1), centres(whole > 0, place), atol=1e-6)


def test_segments_of_another_geometry_are_read_where_they_are_seen(scene):
    """Painted at twice the resolution, turned by a quarter, under another transform."""
    move_v = add_transform(scene, affine((1, 1, 1), (7, 8, 9), (0, 0, 0.4)))
    move_s = add_transform(scene, affine((1, 1, 1), (-5, 3, 2), (0.2, 0.1, 0)))
    volume = add_volume(scene, voxels(), PLACE, move_v)
    whole = world_matrix(volume) @ PLACE
    # Voxel (a, b, c) of the fine lattice lies at voxel finer @ (a, b, c, 1) of the volume: two of
    # them along each of its axes, in another order.
    finer = np.eye(4)
    finer[:3, :3] = np.eye(3)[:, [1, 2, 0]] / 2
    finer[:3, 3] = -0.25
    painted = np.zeros(SIZE, bool)
    painted[3, 2:6, 3:8] = True
    i, j, k = SIZE[::-1]
    fine = np.zeros((2 * i, 2 * k, 2 * j), np.uint8)  # c along i, b along k, a along j
    index = np.argwhere(np.ones(fine.shape, bool))[:, ::-1]
    i, j, k = np.rint(index @ finer[:3, :3].T + finer[:3, 3]).astype(int).T
    fine.ravel()[painted[k, j, i]] = 5
    local = np.linalg.inv(affine((1, 1, 1), (-5, 3, 2), (0.2, 0.1, 0))) @ whole @ finer
    node = add_segmentation(scene, [(fine, local, (0, 0, 0), {"a": (5, "a")})], move_s)
    supports, _ = read_supports(volume, node)
    np.testing.assert_allclose(drawn_at(supports, 1), centres(painted, whole), atol=1e-6)


def test_a_lattice_shifted_by_less_than_a_voxel_is_not_taken_for_the_same(scene):
    volume = add_volume(scene, voxels(), PLACE)
    shifted = PLACE.copy()
    shifted[0, 3] -= 0.4
    painted = np.zeros(SIZE, np.uint8)
    painted[2, 3, 4] = 1
    grid = grid_of(volume)
    for matrix, same in ((shifted, False), (PLACE @ affine(origin=(2, -1, 3)), True)):
        node = add_segmentation(scene, [(painted, matrix, (0, 0, 0), {"a": (1, "a")})])
        (layer,) = read_layers(node, None, grid)
        assert (whole_offset(layer.labels, grid) is not None) == same


def test_a_slice_painted_between_the_volumes_slices_is_not_lost(scene):
    """On a lattice with slices of 0.5 mm, in a volume with slices of 4 mm."""
    thin = affine((1, 1.5, 0.5), (10, -20, 31.4), signs=(-1, -1, 1))
    painted = np.zeros((1, 8, 10), np.uint8)
    painted[0, 2:5, 3:6] = 1
    node = add_segmentation(scene, [(painted, thin, (0, 0, 0), {"a": (1, "a")})])
    (support,), _ = read_supports(add_volume(scene, voxels(), PLACE), node)
    assert support.slices == (0,)
    np.testing.assert_array_equal(support.masks(1)[0], painted[0] > 0)


def test_surfaces_are_read_and_stay_surfaces(scene):
    volume = add_volume(scene, voxels(), PLACE)
    painted = np.zeros(SIZE, np.uint8)
    painted[1:5, 2:6, 3:8] = 1
    node = add_segmentation(scene, [(painted, PLACE, (0, 0, 0), {"a": (1, "a")})])
    segmentation = node.GetSegmentation()
    segmentation.SetConversionParameter("Smoothing factor", "0")
    assert node.CreateClosedSurfaceRepresentation()
    segmentation.SetSourceRepresentationName("Closed surface")
    segmentation.RemoveRepresentation("Binary labelmap")
    put_under(node, add_transform(scene, affine(origin=(3, 0, 0))))
    volume.SetAndObserveTransformNodeID(node.GetTransformNodeID())
    supports, _ = read_supports(volume, node, axis="axial")
    found = drawn_at(supports, 1)
    expected = centres(painted > 0, affine(origin=(3, 0, 0)) @ PLACE)
    assert abs(len(found) - len(expected)) <= 0.15 * len(expected)
    np.testing.assert_allclose(found.mean(axis=0), expected.mean(axis=0), atol=0.3)
    assert not segmentation.ContainsRepresentation("Binary labelmap")


def test_empty_segments_are_left_out(scene):
    painted = np.zeros(SIZE, np.uint8)
    painted[2, 1:4, 2:5] = 2
    layer = (painted, PLACE, (0, 0, 0), {"e": (1, "empty"), "a": (2, "a")})
    node, volume = add_segmentation(scene, [layer]), add_volume(scene, voxels(), PLACE)
    node.GetSegmentation().AddEmptySegment("n", "new")
    supports, infos = read_supports(volume, node)
    assert {label: info.name for label, info in infos.items()} == {1: "a"}
    for ids in (["e"], ["n"], ["e", "n"]):
        with pytest.raises(InputError, match="nothing is painted"):
            read_supports(volume, node, ids)
    with pytest.raises(InputError, match="it has no segments"):
        read_supports(volume, scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "none"))


def test_bad_input_is_one_line(scene):
    volume = add_volume(scene, voxels(), PLACE, name="volume")
    painted = np.ones((1, 4, 4), np.uint8)
    away = (painted, affine(origin=(900, 0, 0)), (0, 0, 0), {"a": (1, "a")})
    node = add_segmentation(scene, [away], name="drawing")
    with pytest.raises(InputError, match="drawing: nothing is painted within the volume volume"):
        read_supports(volume, node)
    with pytest.raises(InputError, match="has no segment 'z'"):
        read_supports(volume, node, ["z"])
    put_under(node, add_bend(scene))
    with pytest.raises(InputError, match="drawing: lies under a transform that bends"):
        read_supports(volume, node)


def test_reading_changes_nothing_in_the_scene(scene):
    volume = add_volume(scene, voxels(), PLACE)
    painted = np.zeros(SIZE, np.uint8)
    painted[2, 1:4, 2:5] = 1
    node = add_segmentation(scene, [(painted, PLACE, (0, 0, 0), {"a": (1, "a")})])
    ids = [scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())]
    image = node.GetSegmentation().GetSegment("a").GetRepresentation("Binary labelmap")
    times = (
        volume.GetMTime(),
        node.GetMTime(),
        node.GetSegmentation().GetMTime(),
        image.GetMTime(),
    )
    read_supports(volume, node)
    now = (volume.GetMTime(), node.GetMTime(), node.GetSegmentation().GetMTime(), image.GetMTime())
    assert now == times
    assert [scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())] == ids
