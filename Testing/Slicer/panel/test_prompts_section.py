"""Points of the slice shown and its confidence map."""

from __future__ import annotations

import numpy as np
from FewShotSAMModule.runs.kept_review import KeptReview
from FewShotSAMModule.scene.slice_edits import read_slice
from panel_driver import (
    bare_context,
    finish,
    found,
    fullest,
    logic,
    parameters,
    part,
    red_view,
    segmentations,
    settle,
    show,
    slicer,
)


def test_points_are_shown_and_a_moved_one_segments_the_slice_again(panel, scene):
    ui = panel.ui
    marked = panel.parameters.supportSegmentation
    k = int(np.argmax([
        read_slice(panel.parameters.volume, marked, {1: "Segment_1"}, 0, k).sum()
        for k in range(16)
    ]))  # fmt: skip
    show(panel, k + 1)
    ui.showPromptsBox.click()
    finish(panel)
    settle()
    lists = slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode")
    assert len(lists) == 2
    assert sum(node.GetNumberOfControlPoints() for node in lists) > 0
    assert ui.promptStructureBox.count >= 1
    inside = next(node for node in lists if node.GetName().endswith("inside"))
    place = [0.0, 0.0, 0.0]
    inside.GetNthControlPointPositionWorld(0, place)
    inside.SetNthControlPointPositionWorld(0, place[0] + 3.0, place[1], place[2])
    before = len(segmentations())
    settle(lambda: panel.context.last is not None)
    said = finish(panel)
    assert said.startswith(f"Slice {k + 1}:"), said
    assert len(segmentations()) == before + 1
    labels = found(panel)
    assert labels[k + 1].any()
    assert not np.delete(labels, k + 1, axis=0).any()

    # Undo takes the point back as well; a mouse that only passes by asks for nothing.
    ui.undoResultButton.click()
    back = [0.0, 0.0, 0.0]
    inside.GetNthControlPointPositionWorld(0, back)
    np.testing.assert_allclose(back, place, atol=1e-3)
    assert len(segmentations()) == before
    number = inside.GetNumberOfControlPoints()
    inside.AddControlPointWorld([place[0], place[1] + 3.0, place[2]])
    for step in (1.0, 2.0):
        here = [place[0] + step, place[1] + 3.0, place[2]]
        inside.SetNthControlPointPositionWorld(number, here, inside.PositionPreview)
    settle()
    assert panel.idle and panel.context.last is None
    assert len(segmentations()) == before
    inside.RemoveNthControlPoint(number)

    ui.showConfidenceBox.click()
    settle()
    composite = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    overlay = scene.GetNodeByID(composite.GetForegroundVolumeID())
    assert overlay.GetName().endswith("confidence")

    # Another module: everything is put away.
    panel.exit()
    assert not slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode")
    assert composite.GetForegroundVolumeID() is None
    assert not ui.showPromptsBox.checked
    panel.enter()


def test_a_moved_point_is_there_again_after_a_look_elsewhere(panel):
    k = fullest(panel.parameters.volume, panel.parameters.supportSegmentation)

    def first_point() -> np.ndarray:
        lists = slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode")
        inside = next(node for node in lists if node.GetName().endswith("inside"))
        return np.array(inside.GetNthControlPointPositionWorld(0)), inside

    def look(index: int) -> None:
        show(panel, index)
        settle(lambda: panel.prompts.shown and panel.idle)

    show(panel, k + 1)
    panel.ui.showPromptsBox.click()
    settle(lambda: panel.prompts.shown and panel.idle)
    place, inside = first_point()
    moved = place + (3.0, 0.0, 0.0)
    inside.SetNthControlPointPositionWorld(0, *moved)
    settle(lambda: panel.context.last is not None)
    finish(panel)
    look(k + 2)
    look(k + 1)
    np.testing.assert_allclose(first_point()[0], moved, atol=1e-3)
    panel.ui.undoResultButton.click()
    np.testing.assert_allclose(first_point()[0], place, atol=1e-3)


def test_scrolling_while_points_are_looked_up_shows_those_of_the_slice_at_rest(panel):
    show(panel, 5)
    panel.ui.showPromptsBox.click()
    assert panel.runs.watch.busy
    show(panel, 7)
    settle(lambda: panel.prompts.shown)
    settle()
    inside = [
        node for node in slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode")
        if node.GetName().endswith("inside")
    ]  # fmt: skip
    assert len(inside) == 1
    assert panel.prompts._place == (0, 7)


def test_it_needs_a_context_and_a_way_to_segment_a_slice(widgets, abdomen):
    volume, painted = abdomen
    k = fullest(volume, painted) + 1
    context, _said = bare_context(
        widgets, place=lambda: (0, k, red_view()), parameters=parameters(volume=volume)
    )
    asked = []

    def segment(prompts=None, *, commit=True, done=None):
        asked.append((prompts, commit))
        run = logic.segment_slice(
            volume, painted, k, prompts=prompts, commit=commit, device="cpu", wait=False
        )
        run.wait()
        done(run.check())

    section = part("prompts_section").PromptsSection(context, segment, KeptReview())
    widgets.showPromptsBox.click()
    assert asked == [(None, False)]
    assert section.shown
    lists = slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode")
    assert sum(node.GetNumberOfControlPoints() for node in lists) > 0
    section.hide()
    assert not section.shown
    assert not widgets.showPromptsBox.checked
    assert not slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode")
