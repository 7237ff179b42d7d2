"""Supports that are saved, and that results become."""

from __future__ import annotations

import numpy as np
from FewShotSAMModule.runs.kept_review import KeptReview
from FewShotSAMModule.scene.segments import read_segments
from FewShotSAMModule.scene.slice_edits import clear_slice, read_slice
from panel_driver import (
    application,
    bare_context,
    choices,
    drawn,
    finish,
    found,
    fullest,
    parameters,
    part,
    red_view,
    segmentations,
    settle,
    show,
    slicer,
)

from FewShotSAMLib import Support


def test_a_slice_of_the_result_becomes_a_support_and_runs_again(panel):
    ui = panel.ui
    panel.parameters.firstSlice, panel.parameters.lastSlice = 5, 10
    ui.segmentVolumeButton.click()
    finish(panel)
    labels = found(panel)
    painted = panel.parameters.supportSegmentation
    k = next(k for k in (6, 7, 9, 10) if labels[k].any() and not drawn(panel, k).any())
    show(panel, k)
    ui.addSupportButton.click()
    said = finish(panel)
    assert said.startswith("Done:"), said
    assert drawn(panel, k).any()
    assert ui.segmentEditor.real.undo_states == 1
    assert panel.parameters.supportSegmentation is painted
    assert len(segmentations()) == 3


def test_a_saved_support_segments_without_a_painted_segmentation(panel, tmp_path, monkeypatch):
    ui, path = panel.ui, tmp_path / "Süd support.nrrd"
    ui.saveSupportButton.click()
    assert not list(tmp_path.iterdir()), "the dialog was cancelled"
    monkeypatch.setattr(application.FileDialog, "answer", str(path))
    ui.saveSupportButton.click()
    assert path.is_file(), ui.statusText.text
    panel.parameters.supportSource = choices.SupportSource.file
    panel.parameters.supportSegmentation = None
    settle()
    assert "Choose a support file" in ui.statusText.text
    ui.supportFileEdit.currentPath = str(path)
    panel.parameters.firstSlice, panel.parameters.lastSlice = 6, 8
    settle()
    assert panel.shown.axis() == "axial"
    ui.segmentVolumeButton.click()
    assert "Done: liver" in finish(panel), ui.statusText.text
    assert len(np.unique(found(panel))) > 2
    ui.copyPythonButton.click()
    assert f"supports=[{str(path)!r}]" in application.clipboard()


def test_it_needs_a_context_structures_and_a_review(widgets, abdomen, tmp_path):
    volume, painted = abdomen
    k = fullest(volume, painted)
    context, said = bare_context(widgets, place=lambda: (0, k, red_view()))
    context.parameters = parameters(volume=volume, supportSegmentation=painted)
    structures = part("structures_list").StructuresList(widgets, lambda skipped: None)
    structures.show(read_segments(painted), [])
    review, runs = KeptReview(), []
    section = part("support_section").SupportSection(
        context, structures, review, lambda: runs.append("again")
    )
    written = section.save(tmp_path / "Süd.txt")
    assert written == tmp_path / "Süd.nrrd"
    assert sorted(Support.load(written).names) == [1, 2]

    result = add_copy(painted)
    ids = {n + 1: info.id for n, info in enumerate(structures.segments)}
    review.segment_ids = ids
    review.show(result, None)
    before = read_slice(volume, painted, ids, 0, k)
    clear_slice(volume, painted, ids, 0, k)
    widgets.addSupportButton.click()
    assert runs == ["again"] and said == []
    assert np.array_equal(read_slice(volume, painted, ids, 0, k), before)
    context.last.undo()
    assert not read_slice(volume, painted, ids, 0, k).any()
    context.place = lambda: (0, 0, red_view())
    widgets.addSupportButton.click()
    assert said == ["Slice 0 holds nothing to mark."] and runs == ["again"]


def add_copy(segmentation):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "result")
    node.GetSegmentation().DeepCopy(segmentation.GetSegmentation())
    return node
