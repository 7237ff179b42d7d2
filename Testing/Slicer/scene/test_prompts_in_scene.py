"""Prompts and confidence maps lie in the world on the voxels that they are meant for."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("slicer", reason="needs slicer-core (pip install slicer-core)")

from FewShotSAMModule.scene import overlays
from FewShotSAMModule.scene.placement import to_array
from FewShotSAMModule.scene.point_lists import PromptPoints
from FewShotSAMModule.scene.slice_plane import SlicePlane
from FewShotSAMModule.scene.volumes import read_volume_node
from scene_nodes import add_bend, add_transform, add_volume, affine, to_vtk, world_matrix

from FewShotSAMLib import InputError
from FewShotSAMLib.data.slicing import AXES, GRID_AXIS, extract_slices
from FewShotSAMLib.prompting.point_prompts import PointPrompts

SIZE = (5, 6, 7)
PLACES = {
    "as the scanner": affine((0.8, 0.9, 3), (10, -20, 30), signs=(-1, -1, 1)),
    "flipped": affine((2, 1, 3), (10, -20, 30), signs=(1, -1, -1)),
    "sagittal, left-handed": affine((2, 1, 3), (1, 2, 3), order=(1, 2, 0), signs=(-1, -1, 1)),
    "oblique": affine((2, 1, 3), (1, 2, 3), (0.4, -0.3, 0.5), (2, 0, 1), (1, -1, 1)),
}


def scene_ids(scene):
    return [scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())]


def voxel_under(volume_node, point):
    """The value of the voxel under a RAS point of the world, by matrices alone."""
    import vtk
    from slicer.util import arrayFromVolume

    matrix = vtk.vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(matrix)
    whole = world_matrix(volume_node) @ to_array(matrix)
    i, j, k = np.rint(np.linalg.solve(whole, [*point, 1])[:3]).astype(int)
    return arrayFromVolume(volume_node)[k, j, i]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("axis", AXES)
def test_a_point_of_a_slice_as_shown_lies_on_its_voxel_in_the_world(scene, place, axis):
    voxels = np.arange(np.prod(SIZE), dtype=np.int16).reshape(SIZE)
    move = add_transform(scene, affine((1, 1, 1), (50, 60, 70), (0.2, 0.1, -0.3)))
    node = add_volume(scene, voxels, PLACES[place], move)
    canonical, orientation = read_volume_node(node).canonical()
    stack = extract_slices(canonical.voxels, axis)
    shown_index = 1
    file_index = orientation.canonical_index(GRID_AXIS[axis], shown_index)
    array_axis = 2 - orientation.permutation[GRID_AXIS[axis]]
    plane = SlicePlane(node, array_axis, file_index)
    assert plane.shape == stack[shown_index].shape
    for y, x in np.ndindex(*plane.shape):
        (point,) = plane.to_world([[x, y]])
        assert voxel_under(node, point) == stack[shown_index, y, x]
        pixels, distance = plane.to_pixels([point])
        np.testing.assert_allclose([*pixels[0], *distance], [x, y, 0], atol=1e-6)


@pytest.mark.parametrize("place", PLACES)
def test_points_shown_are_read_back_and_lie_on_the_organ(scene, place):
    organ = np.zeros(SIZE, np.int16)
    organ[2, 1:4, 2:6] = 1
    organ[0, 0, 0] = 7
    node = add_volume(scene, organ, PLACES[place], add_transform(scene, affine(origin=(9, 8, 7))))
    canonical, orientation = read_volume_node(node).canonical()
    # Slice 2 along the node's own first axis, as it is shown.
    along = orientation.permutation.index(2)
    axis = {2: "axial", 1: "coronal", 0: "sagittal"}[along]
    shown = extract_slices(canonical.voxels, axis)[orientation.canonical_index(along, 2)]
    inside, outside = np.argwhere(shown == 1)[:, ::-1], np.argwhere(shown == 0)[::3, ::-1]
    given = PointPrompts.of(inside, outside)
    lists = PromptPoints(node)
    lists.show(0, 2, given)
    from slicer.util import arrayFromMarkupsControlPoints

    for point in arrayFromMarkupsControlPoints(lists.positive_node, world=True):
        assert voxel_under(node, point) == 1
    for point in arrayFromMarkupsControlPoints(lists.negative_node, world=True):
        assert voxel_under(node, point) == 0
    back = lists.prompts()
    np.testing.assert_allclose(back.points, given.points, atol=1e-4)
    np.testing.assert_array_equal(back.labels, given.labels)
    assert lists.off_slice == 0
    lists.show(0, 2, PointPrompts.of(inside[:1]))
    assert len(lists.prompts()) == 1


def test_moving_adding_and_deleting_calls_back_and_showing_does_not(scene):
    node = add_volume(scene, np.arange(210, dtype=np.int16).reshape(SIZE), PLACES["flipped"])
    lists = PromptPoints(node)
    calls = []
    lists.observe(lambda: calls.append(len(lists.prompts())))
    lists.show(0, 2, PointPrompts.of([[1, 2], [3, 3]], [[5, 0]]))
    assert calls == []
    plane = SlicePlane(node, 0, 2)
    lists.positive_node.SetNthControlPointPositionWorld(0, *plane.to_world([[2.5, 1.25]])[0])
    assert calls and calls[-1] == 3
    np.testing.assert_allclose(lists.prompts().positives, [[2.5, 1.25], [3, 3]], atol=1e-5)
    seen = len(calls)
    lists.negative_node.AddControlPointWorld(*plane.to_world([[0, 4]])[0])
    assert len(calls) > seen and calls[-1] == 4
    seen = len(calls)
    lists.positive_node.RemoveNthControlPoint(1)
    assert len(calls) > seen and calls[-1] == 3
    lists.observe(None)
    seen = len(calls)
    lists.positive_node.RemoveAllControlPoints()
    assert len(calls) == seen


def test_the_mouse_in_place_mode_changes_nothing(scene):
    """There a point follows it that is not placed yet, and tells of each move."""
    node = add_volume(scene, np.arange(210, dtype=np.int16).reshape(SIZE), PLACES["flipped"])
    lists = PromptPoints(node)
    told = []
    lists.observe(lambda: told.append(lists.changed))
    lists.show(0, 2, PointPrompts.of([[1, 2]]))
    plane, points = SlicePlane(node, 0, 2), lists.positive_node
    preview = points.AddControlPointWorld(plane.to_world([[2, 2]])[0].tolist())
    told.clear()
    for x in (2.5, 3.0):
        place = plane.to_world([[x, 2]])[0].tolist()
        points.SetNthControlPointPositionWorld(preview, place, points.PositionPreview)
    assert told and not any(told)
    points.SetNthControlPointPositionWorld(preview, place, points.PositionDefined)
    assert lists.changed
    assert len(lists.prompts()) == 2
    assert not lists.changed, "what was asked for is known"
    points.RemoveNthControlPoint(0)
    assert lists.changed


def test_the_list_that_new_points_go_to_stays_the_users(scene, application):
    node = add_volume(scene, np.arange(210, dtype=np.int16).reshape(SIZE), PLACES["flipped"])
    selection = application.GetSelectionNode()
    line = scene.AddNewNodeByClass("vtkMRMLMarkupsLineNode", "a person's")
    selection.SetReferenceActivePlaceNodeClassName("vtkMRMLMarkupsLineNode")
    selection.SetActivePlaceNodeID(line.GetID())
    lists = PromptPoints(node)
    lists.show(0, 2, PointPrompts.of([[1, 2]]))
    assert selection.GetActivePlaceNodeID() == line.GetID()
    assert selection.GetActivePlaceNodeClassName() == "vtkMRMLMarkupsLineNode"
    lists.remove()
    assert selection.GetActivePlaceNodeID() == line.GetID()


def test_points_off_the_slice_are_counted_and_left_out(scene):
    node = add_volume(scene, np.arange(210, dtype=np.int16).reshape(SIZE), PLACES["oblique"])
    lists = PromptPoints(node)
    lists.show(0, 2, PointPrompts.of([[1, 2]]))
    plane = SlicePlane(node, 0, 3)
    lists.positive_node.AddControlPointWorld(*plane.to_world([[1, 1]])[0])
    lists.positive_node.AddControlPointWorld(*SlicePlane(node, 0, 2).to_world([[-3, 1]])[0])
    assert lists.off_slice == 2
    np.testing.assert_allclose(lists.prompts().points, [[1, 2]], atol=1e-5)


def test_removed_points_leave_nothing_behind(scene):
    node = add_volume(scene, np.arange(210, dtype=np.int16).reshape(SIZE))
    before = scene_ids(scene)
    lists = PromptPoints(node)
    assert len(lists.prompts()) == 0
    lists.show(0, 2, PointPrompts.of([[1, 2]]))
    assert not lists.positive_node.GetSaveWithScene()
    assert not lists.positive_node.GetDisplayNode().GetSaveWithScene()
    lists.remove()
    lists.remove()
    assert scene_ids(scene) == before
    # Deleted by hand: the next ones are whole again.
    lists.show(0, 2, PointPrompts.of([[1, 2]], [[3, 3]]))
    scene.RemoveNode(lists.negative_node)
    lists.show(0, 1, PointPrompts.of([[1, 2]], [[3, 3]]))
    assert len(lists.prompts()) == 2


def test_what_has_no_slice_is_refused_in_one_line(scene):
    node = add_volume(scene, np.arange(210, dtype=np.int16).reshape(SIZE))
    with pytest.raises(InputError, match="has no slice 5; it has 5"):
        PromptPoints(node).show(0, 5, PointPrompts.of([[1, 2]]))
    node.SetAndObserveTransformNodeID(add_bend(scene).GetID())
    with pytest.raises(InputError, match="bends"):
        PromptPoints(node).show(0, 1, PointPrompts.of([[1, 2]]))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("place", PLACES)
def test_a_confidence_map_lies_on_its_slice(scene, place, axis):
    voxels = np.arange(np.prod(SIZE), dtype=np.int16).reshape(SIZE)
    move = add_transform(scene, affine((1, 1, 1), (50, 60, 70), (0.2, 0.1, -0.3)))
    volume = add_volume(scene, voxels, PLACES[place], move)
    before = scene_ids(scene)
    index = 3
    plane = np.take(voxels, index, axis) / 210
    node = overlays.show_confidence(volume, axis, index, plane)
    from slicer.util import arrayFromVolume

    found = arrayFromVolume(node)
    matrix = to_vtk(np.eye(4))
    node.GetIJKToRASMatrix(matrix)
    whole = world_matrix(node) @ to_array(matrix)
    for k, j, i in np.ndindex(*found.shape):
        point = (whole @ [i, j, k, 1])[:3]
        assert voxel_under(volume, point) == round(found[k, j, i] * 210)
    assert not node.GetSaveWithScene()
    display = node.GetDisplayNode()
    level, highest = plane.mean() + plane.std(), plane.max()
    np.testing.assert_allclose(
        [display.GetWindowLevelMin(), display.GetWindowLevelMax()], [level, highest]
    )
    assert display.GetApplyThreshold()
    assert display.GetLowerThreshold() == display.GetWindowLevelMin()
    assert display.GetColorNode().GetNumberOfColors() == 256
    from slicer import vtkSlicerColorLogic

    legend = vtkSlicerColorLogic.GetColorLegendDisplayNode(node)
    assert legend.GetTitleText() == "Similarity" and not legend.GetSaveWithScene()
    overlays.remove(node)
    overlays.remove(node)
    assert scene_ids(scene) == before
    with pytest.raises(InputError, match="no slice"):
        overlays.show_confidence(volume, axis, SIZE[axis], plane)


# Linear sRGB to CIE XYZ (IEC 61966-2-1).
TO_XYZ = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
)


def test_equal_steps_of_confidence_are_equal_steps_of_lightness():
    from FewShotSAMModule.scene.colour_scale import perceptual_colours

    rgb = perceptual_colours(64)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    lightness = 116 * np.cbrt(linear @ [0.2126, 0.7152, 0.0722]) - 16
    steps = np.diff(lightness)
    assert steps.min() > 0.8 * steps.mean() and steps.max() < 1.2 * steps.mean()
    assert lightness[0] < 30 and lightness[-1] > 88
    x, y, z = np.cbrt((linear @ TO_XYZ.T / TO_XYZ.sum(axis=1)).T)
    colour = np.stack([500 * (x - y), 200 * (y - z)])
    apart = np.hypot(np.hypot(*np.diff(colour)), steps)
    assert apart.max() < 2 * apart.mean(), "no edge that is not in the numbers"


def test_most_of_a_body_stays_clear():
    """Half of it is somewhat similar, a tenth very much so."""
    plane = np.zeros((40, 50))
    plane[:, :25] = np.random.default_rng(0).uniform(0.3, 0.5, (40, 25))
    plane[10:20, 5:25] = 0.9
    lowest, highest = overlays.shown_range(plane)
    assert highest == 0.9
    assert np.count_nonzero(plane >= lowest) == 200
    assert overlays.shown_range(np.full((4, 4), 0.5)) == (0.5, 0.5)
