"""Runs from the panel: where results go, undo, cancel, sudden ends."""

from __future__ import annotations

import psutil
from FewShotSAMModule.runs.kept_review import KeptReview
from panel_driver import (
    bare_context,
    choices,
    finish,
    logic,
    parameters,
    part,
    segmentations,
    settle,
)


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
    assert finish(panel).startswith("Done:"), ui.statusText.text
    assert len(segmentations()) == before
    assert organs.GetSegmentation().GetNumberOfSegments() == 4
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
    assert finish(panel).startswith("Done:")


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


def test_it_needs_a_context_a_request_and_a_review(widgets, abdomen):
    volume, painted = abdomen
    asked, said_over = [], []
    context, said = bare_context(widgets, refresh=lambda: said_over.append(1))
    context.parameters = parameters(
        volume=volume, supportSegmentation=painted, firstSlice=6, lastSlice=8
    )
    review = KeptReview()
    shown = part("shown_slices").ShownSlices(lambda: context.parameters, review)
    shown.painted = "axial"
    structures = part("structures_list").StructuresList(widgets, lambda skipped: None)
    structures.show(painted, [])
    request = part("request").Request(context, structures, shown)

    def ensure(wanted, then):
        asked.append(wanted)
        then()

    section = part("run_section").RunSection(context, request, review, ensure)
    widgets.segmentVolumeButton.click()
    assert section.watch.busy
    settle(lambda: not section.watch.busy)
    assert asked == [{"model": "embedded", "method": "synpo", "fob": None}]
    assert said[0] == "Starting..." and said[-1].startswith("Done: liver")
    assert review.node is context.last.node
    assert review.review.slices == (6, 7, 8)
    assert len(said_over) == 2, "when it began and when it was over"
    node = review.node
    widgets.undoResultButton.click()
    assert node.GetScene() is None and review.review is None and context.last is None


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
