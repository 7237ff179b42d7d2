"""What Slicer's own slice views draw: the result covers the bright organ, prompts lie on it.

Volume and segmentation reach the picture through Slicer's code alone, so a mask in the wrong
place would be seen here whatever the module's own arithmetic believes.
"""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("slicer", reason="needs slicer-core (pip install slicer-core)")

from FewShotSAMModule.scene.overlays import show_confidence
from FewShotSAMModule.scene.point_lists import INSIDE_COLOUR, PromptPoints
from FewShotSAMModule.scene.results import ResultWriter
from FewShotSAMModule.scene.segments import SegmentInfo
from FewShotSAMModule.scene.slice_plane import SlicePlane
from scene_nodes import add_segmentation, add_transform, add_volume, affine
from slice_view import SliceView

from FewShotSAMLib.prompting.point_prompts import PointPrompts

SIZE = (14, 24, 30)
MOVE = affine((1, 1, 1), (50, 60, 70), (0.2, 0.1, -0.3))
QUARTER = affine((1, 1, 1), (50, 60, 70), (0, np.pi / 2, 0))
PLACES = {
    "as the scanner": (affine((2, 2, 4), (10, -20, 30), signs=(-1, -1, 1)), None),
    "flipped and moved": (affine((2, 1.5, 4), (10, -20, 30), signs=(1, -1, -1)), QUARTER),
    "sagittal, left-handed": (
        affine((2, 1.5, 4), (1, 2, 3), order=(1, 2, 0), signs=(-1, -1, 1)),
        QUARTER,
    ),
    "oblique": (affine((2, 1.5, 4), (1, 2, 3), (0.4, -0.3, 0.5), (2, 0, 1), (1, -1, 1)), None),
    "mirrored": (affine((2, 2, 4), (1, 2, 3)), affine(origin=(5, 5, 5), signs=(1, -1, 1))),
}


def organ():
    """In all three views through voxel (9, 9, 6) it is an L."""
    mask = np.zeros(SIZE, bool)
    mask[2:8, 4:20, 5:12] = True
    mask[2:8, 4:10, 12:26] = True
    mask[8:11, 4:12, 5:10] = True
    return mask


@pytest.fixture
def bright(scene, request):
    """A volume in which the organ is white and all else black, and a point in it."""
    matrix, move = PLACES[request.param]
    transform = None if move is None else add_transform(scene, move)
    node = add_volume(scene, np.where(organ(), 1000, 0).astype(np.int16), matrix, transform)
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(0, 1000)
    display.SetInterpolate(False)
    whole = (np.eye(4) if move is None else move) @ matrix
    return node, (whole @ [9, 9, 6, 1])[:3]


def coloured(picture):
    return picture.max(axis=2).astype(int) - picture.min(axis=2) > 60


def agreement(one, other):
    """Dice."""
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


VIEWS = {"Axial": 2, "Coronal": 1, "Sagittal": 0}


@pytest.mark.parametrize("bright", PLACES, indirect=True)
@pytest.mark.parametrize("into", ["new", "existing"])
def test_the_result_covers_the_organ_in_every_view(scene, application, bright, into):
    node, middle = bright
    # The existing one lies under no transform, or under one that the volume is not under.
    output = add_segmentation(scene, [], add_transform(scene, MOVE))
    writer = ResultWriter(node, {1: SegmentInfo("a", "organ", (1, 0, 0))}, output=output, into=into)
    for orientation in VIEWS:
        view = SliceView(scene, application, orientation, (300, 300))
        view.show(node, middle)
        white = view.picture().min(axis=2) > 200
        assert np.count_nonzero(white) > 1000
        result = writer.commit(organ().astype(np.uint8))
        display = result.GetDisplayNode()
        display.SetOpacity2DFill(1.0)
        display.SetOpacity2DOutline(1.0)
        red = coloured(view.picture())
        assert agreement(red, white) > 0.97
        # A mirrored one would not pass.
        assert max(agreement(red[::-1], white), agreement(red[:, ::-1], white)) < 0.95
        writer.undo()
        assert not coloured(view.picture()).any()


# No straight view shows a whole slice of an oblique volume.
STRAIGHT = [place for place in PLACES if place != "oblique"]


@pytest.mark.parametrize("bright", STRAIGHT, indirect=True)
def test_the_preview_and_the_prompts_lie_on_the_organ(scene, application, bright):
    node, _ = bright
    index = 6
    plane = SlicePlane(node, 0, index)
    rows, columns = np.indices(plane.shape)
    every = np.stack([columns.ravel(), rows.ravel()], axis=1)
    # The organ on that slice as shown, by the display's own picture of it.
    orientation, centre = facing_view(plane)
    view = SliceView(scene, application, orientation, (300, 300))
    view.show(node, centre)
    white = view.picture().min(axis=2) > 200
    world = plane.to_world(every)
    inside = np.array([white[view.pixel_of(point)] for point in world])
    assert np.count_nonzero(inside) == np.count_nonzero(organ()[index])
    points = PromptPoints(node)
    points.show(0, index, PointPrompts.of(every[inside][::40], every[~inside][::80]))
    picture = view.picture()
    green = np.array(INSIDE_COLOUR) * 255
    for point in plane.to_world(every[inside][::40]):
        assert np.abs(picture[view.pixel_of(point)] - green).max() < 60
        assert white[view.pixel_of(point)]
    points.remove()
    writer = ResultWriter(node, {1: SegmentInfo("a", "organ", (1, 0, 0))})
    writer.preview(0, index, organ()[index].astype(np.uint8))
    (shown,) = scene.GetNodesByClass("vtkMRMLSegmentationNode")
    shown.GetDisplayNode().SetOpacity2DFill(1.0)
    assert agreement(coloured(view.picture()), white) > 0.97
    writer.discard()
    overlay = show_confidence(node, 0, index, organ()[index].astype(float))
    overlay.GetDisplayNode().SetInterpolate(False)
    overlay.GetDisplayNode().SetAndObserveColorNodeID("vtkMRMLColorTableNodeRed")
    view.show(node, centre, overlay, 1.0)
    assert agreement(coloured(view.picture()), white) > 0.97


@pytest.mark.parametrize("bright", ["as the scanner"], indirect=True)
def test_a_preview_asks_the_views_to_draw_every_slice_that_comes(scene, application, bright):
    """The application draws when a displayable manager asks for it, and not before."""
    node, middle = bright
    view = SliceView(scene, application, "Axial", (300, 300))
    view.show(node, middle)
    white = view.picture().min(axis=2) > 200
    writer = ResultWriter(node, {1: SegmentInfo("a", "organ", (1, 0, 0))})
    writer.preview(0, 2, organ()[2].astype(np.uint8))
    (shown,) = scene.GetNodesByClass("vtkMRMLSegmentationNode")
    shown.GetDisplayNode().SetOpacity2DFill(1.0)
    assert not coloured(view.picture()).any(), "another slice"
    for labels in (organ()[6], np.zeros(SIZE[1:])):
        before = view.asked
        writer.preview(0, 6, labels.astype(np.uint8))
        assert view.asked > before
        assert coloured(view.picture()).any() == labels.any()
        assert not labels.any() or agreement(coloured(view.picture()), white) > 0.97
    writer.discard()


def facing_view(plane):
    """The view that shows the whole slice, and a point of the slice."""
    corners = plane.to_world([[0, 0], [plane.shape[1] - 1, 0], [0, plane.shape[0] - 1]])
    (facing,) = [view for view, axis in VIEWS.items() if np.ptp(corners[:, axis]) < 1e-3]
    return facing, corners[0]
