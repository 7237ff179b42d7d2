"""Runs from the panel: where results go, undo, cancel, sudden ends."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from FewShotSAMModule.runs.kept_review import KeptReview
from FewShotSAMModule.scene.segments import read_segments
from FewShotSAMModule.scene.slice_edits import fill_slice
from panel_driver import (
    bare_context,
    choices,
    drawn,
    finish,
    found,
    fullest,
    logic,
    parameters,
    part,
    segmentations,
    settle,
    show,
)

pytestmark = pytest.mark.slow


def test_one_undo_takes_a_result_back(panel):
    ui, before = panel.ui, len(segmentations())
    panel.parameters.firstSlice, panel.parameters.lastSlice = 7, 9
    ui.segmentVolumeButton.click()
    assert finish(panel).startswith("Done:")
    assert len(segmentations()) == before + 1
    ui.undoResultButton.click()
    assert len(segmentations()) == before
    assert panel.review.review is None
    assert not ui.undoResultButton.enabled


def test_what_the_result_covers_is_not_drawn_twice(panel):
    ui, painted = panel.ui, panel.parameters.supportSegmentation
    display, ids = painted.GetDisplayNode(), painted.GetSegmentation().GetSegmentIDs()

    def drawn():
        return [display.GetSegmentVisibility2DFill(one) for one in ids]

    display.SetSegmentVisibility2DFill(ids[1], False)
    k = fullest(panel.parameters.volume, painted)
    panel.parameters.firstSlice, panel.parameters.lastSlice = k, k + 1
    ui.segmentVolumeButton.click()
    assert finish(panel).startswith("Done:")
    assert drawn() == [False] * 2
    assert not display.GetSegmentVisibility2DOutline(ids[1])
    assert all(display.GetSegmentVisibility(one) for one in ids), "in lists and in 3-D it stays"
    ui.undoResultButton.click()
    assert drawn() == [True, False]
    assert display.GetSegmentVisibility2DOutline(ids[1])
    panel.parameters.firstSlice, panel.parameters.lastSlice = k + 1, k + 1
    ui.segmentVolumeButton.click()
    assert finish(panel).startswith("Done:")
    assert drawn() == [True, False], "the marked slice was not segmented"
    panel.parameters.firstSlice = k
    ui.segmentVolumeButton.click()
    assert finish(panel).startswith("Done:")
    assert drawn() == [False] * 2
    painted.GetSegmentation().GetSegment(ids[0]).SetName("Leber")  # somebody works on it
    settle()
    assert drawn() == [True, False]


def test_only_the_slices_around_the_one_shown_or_between_two_marked(panel):
    ui, p = panel.ui, panel.parameters
    k = fullest(p.volume, p.supportSegmentation)
    show(panel, k)
    p.extent = choices.Extent.between
    settle()
    assert "Mark a second slice" in ui.statusText.text and not ui.segmentVolumeButton.enabled
    p.extent, p.aroundSlices = choices.Extent.around, 1
    settle()
    assert not ui.aroundSlicesBox.isHidden()
    ui.segmentVolumeButton.click()
    assert finish(panel).startswith("Done:"), ui.statusText.text
    assert panel.review.review.slices == (k - 1, k, k + 1)
    segments = dict(enumerate(read_segments(p.supportSegmentation), 1))
    fill_slice(p.volume, p.supportSegmentation, segments, 0, k - 3, drawn(panel, k))
    settle(lambda: panel.shown.marked == (k - 3, k))
    p.extent = choices.Extent.between
    settle()
    ui.segmentVolumeButton.click()
    assert finish(panel).startswith("Done:"), ui.statusText.text
    assert panel.review.review.slices == (k - 3, k - 2, k - 1, k)


def test_stop_keeps_what_has_come(panel):
    ui, before = panel.ui, len(segmentations())
    panel.parameters.strategy = choices.Strategy.slices
    ui.segmentVolumeButton.click()
    run = panel.runs.watch._run
    settle(lambda: len(run._came) >= 2 or run.over)
    assert not run.over and not ui.stopButton.isHidden()
    ui.stopButton.click()
    said = finish(panel)
    assert said.startswith("Stopped: "), said
    assert ui.stopButton.isHidden()
    came = {index: one.labels for (_, index), one in run._came.items()}
    assert panel.review.review.slices == tuple(sorted(came))
    labels = found(panel)
    for index, one in came.items():
        assert np.array_equal(labels[index], one)
    assert not np.delete(labels, list(came), axis=0).any()
    ui.undoResultButton.click()
    assert len(segmentations()) == before and panel.review.review is None


def test_cancel_leaves_the_scene_and_the_panel_as_they_were(panel):
    ui, before = panel.ui, len(segmentations())
    ui.segmentVolumeButton.click()
    settle(lambda: panel.runs.watch.busy)
    ui.cancelButton.click()
    assert "scene is as it was" in finish(panel)
    assert len(segmentations()) == before
    assert ui.segmentVolumeButton.enabled
    assert ui.cancelButton.isHidden()


def test_result_goes_into_the_chosen_segmentation(panel, scene):
    ui = panel.ui
    organs = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "organs")
    panel.parameters.into = choices.Into.existing
    panel.parameters.output = panel.parameters.supportSegmentation
    settle()
    assert "holds the marked slices" in ui.statusText.text
    panel.parameters.output = organs
    panel.parameters.firstSlice, panel.parameters.lastSlice = 6, 8
    settle()
    before = len(segmentations())
    ui.segmentVolumeButton.click()
    assert "Done:" in finish(panel), ui.statusText.text
    assert len(segmentations()) == before
    assert organs.GetSegmentation().GetNumberOfSegments() == 2
    ui.undoResultButton.click()
    assert organs.GetSegmentation().GetNumberOfSegments() == 0
    assert panel.review.review is None


def test_sudden_death_of_the_process_is_told_and_the_next_run_works(panel):
    ui, before = panel.ui, len(segmentations())
    panel.parameters.firstSlice, panel.parameters.lastSlice = 6, 8
    ui.segmentVolumeButton.click()
    settle(lambda: logic.shared_worker().pid is not None)
    psutil.Process(logic.shared_worker().pid).kill()
    said = finish(panel)
    assert "ended unexpectedly" in said
    assert len(segmentations()) == before
    ui.segmentVolumeButton.click()
    assert "Done:" in finish(panel)


def test_pressing_twice_runs_once(panel):
    panel.parameters.firstSlice, panel.parameters.lastSlice = 6, 8
    before = len(segmentations())
    panel.ui.segmentVolumeButton.click()
    panel.runs.segment_volume()
    panel.runs.segment_slice()
    finish(panel)
    assert len(segmentations()) == before + 1


def test_closing_the_scene_during_a_run(panel, scene):
    panel.ui.segmentVolumeButton.click()
    settle(lambda: panel.runs.watch.busy)
    panel.set_parameters(None)
    scene.Clear(False)
    settle(lambda: not panel.runs.watch.busy)
    assert not segmentations()
    assert panel.review.review is None


def test_another_scene_during_a_run_can_be_worked_in_once_the_run_has_ended(panel, scene):
    panel.ui.segmentVolumeButton.click()
    settle(lambda: panel.runs.watch.busy)
    panel.set_parameters(None)
    scene.Clear(False)
    panel.set_parameters(parameters())
    assert panel.runs.watch.busy
    settle(lambda: not panel.runs.watch.busy)
    settle()
    assert panel.ui.volumeSelector.enabled and panel.ui.presetBox.enabled
    assert panel.ui.cancelButton.isHidden()
    assert panel.ui.statusText.text.startswith("Choose a volume")


def test_undo_of_a_slice_gives_the_review_of_the_volume_back(panel):
    ui = panel.ui
    panel.parameters.firstSlice, panel.parameters.lastSlice = 5, 9
    ui.segmentVolumeButton.click()
    assert finish(panel).startswith("Done:")
    show(panel, 7)
    ui.acceptSliceButton.click()
    before, labels = panel.review.review.to_json(), found(panel)
    node = panel.review.node
    show(panel, 6)
    ui.segmentSliceButton.click()
    assert finish(panel).startswith("Slice 6")
    ui.segmentSliceButton.click()
    assert finish(panel).startswith("Slice 6")
    ui.undoResultButton.click()
    assert "taken back" in ui.statusText.text
    assert panel.review.node is node
    assert panel.review.review.to_json() == before
    assert np.array_equal(found(panel), labels)
    assert ui.reviewStrip.columnCount == 5


def test_the_line_on_a_volume_that_went_away_can_still_be_read(panel, scene):
    panel.ui.segmentVolumeButton.click()
    settle(lambda: panel.runs.watch.busy)
    volume = panel.parameters.volume
    panel.parameters.volume = None
    scene.RemoveNode(volume)
    finish(panel)
    settle()
    said = panel.ui.statusText.text
    assert "was removed while it was in use" in said and "Choose a volume" in said


def test_a_range_into_an_existing_result_keeps_the_rest_of_its_review(panel, scene):
    ui, p = panel.ui, panel.parameters
    p.into, p.output = choices.Into.existing, scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    p.overwrite = choices.Overwrite.unlocked
    p.firstSlice, p.lastSlice = 5, 9
    settle()
    ui.segmentVolumeButton.click()
    assert finish(panel).startswith("Done:"), ui.statusText.text
    for k in (6, 9):
        show(panel, k)
        ui.acceptSliceButton.click()
    assert "Slice 9 is accepted; " in ui.statusText.text
    before = panel.review.review.entries(6)
    p.firstSlice, p.lastSlice = 8, 10
    settle()
    ui.segmentVolumeButton.click()
    assert finish(panel).startswith("Done:"), ui.statusText.text
    review = panel.review.review
    assert review.slices == (5, 6, 7, 8, 9, 10)
    assert (review.decision(6), review.decision(9)) == ("accepted", "")
    assert review.entries(6) == before


def test_closing_the_panel_during_a_run_leaves_nothing_behind(panel):
    before = [node.GetID() for node in segmentations()]
    panel.ui.segmentVolumeButton.click()
    settle(lambda: not panel.runs.watch.busy or len(segmentations()) > len(before))
    assert panel.runs.watch.busy, "slices are shown while it runs"
    panel.close()
    assert [node.GetID() for node in segmentations()] == before
    assert not panel.runs.watch.busy
    panel.set_parameters(parameters())  # so that the fixture can close it once more
    panel.enter()


@pytest.fixture
def bare(widgets, abdomen):
    """A run section without a panel. Returns it, the context, what is said, what is asked to be
    installed, and how often all widgets were refreshed."""
    volume, painted = abdomen
    asked, refreshed = [], []
    context, said = bare_context(widgets, refresh=lambda: refreshed.append(1))
    context.parameters = parameters(
        volume=volume, supportSegmentation=painted, firstSlice=6, lastSlice=8
    )
    review = KeptReview()
    shown = part("shown_slices").ShownSlices(lambda: context.parameters, review)
    shown.painted = "axial"
    structures = part("structures_list").StructuresList(widgets, lambda skipped: None)
    structures.show(read_segments(painted), [])
    request = part("request").Request(context, structures, shown)

    def ensure(wanted, then):
        asked.append(wanted)
        then()

    section = part("run_section").RunSection(context, request, review, ensure)
    return SimpleNamespace(
        section=section, context=context, said=said, asked=asked, refreshed=refreshed,
        review=review,
    )  # fmt: skip


def test_it_needs_a_context_a_request_and_a_review(widgets, bare):
    context, review = bare.context, bare.review
    widgets.segmentVolumeButton.click()
    assert bare.section.watch.busy
    settle(lambda: not bare.section.watch.busy)
    assert bare.asked == [{"model": "embedded", "method": "synpo", "fob": None}]
    assert bare.said[0] == "Starting..." and "Done: liver" in bare.said[-1]
    assert review.node is context.last.node
    assert review.review.slices == (6, 7, 8)
    assert len(bare.refreshed) == 2, "when it began and when it was over"
    node = review.node
    widgets.undoResultButton.click()
    assert node.GetScene() is None and review.review is None and context.last is None


def test_the_end_of_a_dropped_run_is_shown(widgets, bare):
    """Whoever is there by then could do nothing otherwise."""
    widgets.segmentVolumeButton.click()
    bare.section.drop()
    before = len(bare.refreshed)
    settle(lambda: not bare.section.watch.busy)
    assert len(bare.refreshed) == before + 1
    assert bare.said[-1] == ""
    assert bare.review.review is None


def test_unusable_input_is_said_in_one_line(widgets, abdomen):
    volume, _painted = abdomen
    context, said = bare_context(widgets, parameters=parameters(volume=volume))
    review = KeptReview()
    shown = part("shown_slices").ShownSlices(lambda: context.parameters, review)
    structures = part("structures_list").StructuresList(widgets, lambda skipped: None)
    request = part("request").Request(context, structures, shown)
    section = part("run_section").RunSection(
        context, request, review, lambda wanted, then: then()
    )
    section.segment_volume()
    assert not section.watch.busy
    assert said == ["nothing is painted; choose a segmentation with a painted slice"]
