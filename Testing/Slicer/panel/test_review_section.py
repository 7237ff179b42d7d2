"""The review section: strip, decisions, undo."""

from __future__ import annotations

import numpy as np
from FewShotSAMModule.runs.kept_review import KeptReview
from FewShotSAMModule.runs.review import Judged, Review
from FewShotSAMModule.scene.slice_edits import read_slice
from FewShotSAMModule.scene.viewing import slice_shown
from panel_driver import (
    bare_context,
    finish,
    found,
    fullest,
    parameters,
    part,
    red_view,
    segmentations,
    settle,
    show,
)


def test_segment_review_reject_accept_and_undo(panel):
    ui, before = panel.ui, len(segmentations())
    assert ui.segmentVolumeButton.enabled
    assert ui.structuresList.count == 2
    ui.segmentVolumeButton.click()
    assert not ui.segmentVolumeButton.enabled
    assert not ui.cancelButton.isHidden()
    said = finish(panel)
    assert said.startswith("Done: liver"), said
    assert len(segmentations()) == before + 1
    assert ui.reviewStrip.columnCount == 16
    labels = found(panel)
    assert len(np.unique(labels)) == 3

    k = int(np.argmax((labels > 0).sum(axis=(1, 2))))
    show(panel, k)
    assert f"Slice {k}:" in ui.reviewText.text
    ui.rejectSliceButton.click()
    rejected = labels.copy()
    rejected[k] = 0
    assert np.array_equal(found(panel), rejected), ui.statusText.text
    assert not ui.rejectSliceButton.enabled
    ui.acceptSliceButton.click()
    assert np.array_equal(found(panel), labels)
    assert "(accepted)" in ui.reviewText.text
    assert "is accepted; " in ui.statusText.text

    # A review is kept with its segmentation.
    node = panel.review.node
    panel.review.show(None, None)
    panel.review.find(panel.parameters.volume)
    assert panel.review.node is node
    assert panel.review.review.decision(k) == "accepted"

    # A click on the strip, or an arrow key, goes to the slice.
    ui.reviewStrip.real.cellClicked.emit(0, 3)
    settle()
    assert panel.shown.place()[1] == 3
    ui.reviewStrip.setCurrentCell(0, 4)
    settle()
    assert panel.shown.place()[1] == 4
    ui.rejectSliceButton.click()
    ui.undoResultButton.click()
    assert np.array_equal(found(panel), labels), ui.statusText.text
    assert panel.review.review.decision(4) == ""
    assert not ui.undoResultButton.enabled


def test_it_needs_a_context_and_a_review(widgets, abdomen):
    volume, painted = abdomen
    ids = {1: painted.GetSegmentation().GetNthSegmentID(0)}
    k = fullest(volume, painted)
    view, kept = red_view(), KeptReview()
    context, said = bare_context(
        widgets, place=lambda: (0, k, view), parameters=parameters(volume=volume)
    )
    section = part("review_section").ReviewSection(context, kept)
    section.follow(None)
    assert widgets.reviewText.text == "Nothing to review yet"
    entries = [Judged(n, 1, 0.9 if n != 3 else 0.1, True, "propagated", 80.0) for n in range(16)]
    kept.segment_ids = ids
    kept.show(painted, Review(entries, {1: "liver"}, 0))
    assert widgets.reviewStrip.columnCount == 16
    section.follow(context.place())
    assert colours_of(widgets.reviewStrip.real, k) == ("#000000", "#3f7fbf"), "a frame"
    assert colours_of(widgets.reviewStrip.real, 3) == ("#f08030", "#f08030")
    assert widgets.reviewText.text.startswith(f"Slice {k}:")

    before = read_slice(volume, painted, ids, 0, k)
    widgets.rejectSliceButton.click()
    assert before.any() and not read_slice(volume, painted, ids, 0, k).any()
    assert kept.decision(context.place()) == "rejected"
    context.last.undo()
    assert np.array_equal(read_slice(volume, painted, ids, 0, k), before)
    assert kept.decision(context.place()) == ""

    widgets.nextDoubtfulButton.click()
    assert said == [
        f"Slice {k} is rejected; 1 slice is still in doubt.",
        "No slice view shows this direction.",
    ]
    context.view = {0: view}.get
    widgets.nextDoubtfulButton.click()
    assert slice_shown(volume, 0, view) == 3
    widgets.nextMarkButton.click()
    target = kept.review.next_to_mark
    assert slice_shown(volume, 0, view) == target and target not in (None, k)
    assert said[-1].startswith(f"Slice {target} promises most: ")


def colours_of(strip, column):
    """At the edge of a cell of the strip, and in its middle."""
    strip.resize(800, 28)
    picture = strip.grab().toImage()
    place = strip.visualItemRect(strip.item(0, column)).translated(strip.viewport().pos())
    middle = place.center()
    return tuple(
        picture.pixelColor(x, middle.y()).name() for x in (place.left() + 1, middle.x())
    )
