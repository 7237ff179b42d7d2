"""Slices around the painted one follow the brush, and nothing of it is kept."""

from __future__ import annotations

import numpy as np
import pytest
from panel_driver import finish, fullest, segmentations, settle, show, slicer


@pytest.fixture
def live(panel):
    """The painted slice is shown, and the box is ticked."""
    painted = panel.parameters.supportSegmentation
    show(panel, fullest(panel.parameters.volume, painted))
    panel.ui.liveBox.checked = True
    settle(lambda: previews() and not panel.live.busy)
    return panel


def previews() -> list:
    return [one for one in segmentations() if one.GetAttribute("FewShotSAM.Preview")]


def drawn_slices(node, volume) -> set[int]:
    """Slices on which any segment has voxels."""
    found = set()
    for segment in node.GetSegmentation().GetSegmentIDs():
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, segment, volume)
        found |= set(np.flatnonzero(mask.any(axis=(1, 2))).tolist())
    return found


def stroke(panel, columns: int) -> None:
    """The first structure loses what lies left of a column."""
    volume, node = panel.parameters.volume, panel.parameters.supportSegmentation
    segment = node.GetSegmentation().GetNthSegmentID(0)
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, segment, volume).copy()
    mask[:, :, :columns] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, segment, volume)


def test_neighbours_are_shown_while_the_panel_stays_free(live):
    volume = live.parameters.volume
    k = fullest(volume, live.parameters.supportSegmentation)
    (node,) = previews()
    shown = drawn_slices(node, volume)
    assert {k - 1, k, k + 1} <= shown <= set(range(k - 3, k + 4))
    assert live.idle and live.ui.segmentVolumeButton.enabled and live.context.last is None


def test_a_newer_stroke_takes_the_place_of_the_one_that_waits(live):
    volume, (node,) = live.parameters.volume, previews()
    segment = node.GetSegmentation().GetNthSegmentID(0)
    before = slicer.util.arrayFromSegmentBinaryLabelmap(node, segment, volume).sum()
    stroke(live, 20)
    settle(lambda: live.live.busy)
    stroke(live, 40)
    assert live.idle, "a person goes on painting"
    settle(lambda: not live.live.busy)
    assert previews() == [node], "without a gap"
    k = fullest(volume, live.parameters.supportSegmentation)
    after = slicer.util.arrayFromSegmentBinaryLabelmap(node, segment, volume)
    assert after.sum() < before and not after[k, :, :40].any(), "of the second stroke"


def test_nothing_stays_when_it_is_switched_off_or_a_run_begins(live):
    ui, count = live.ui, len(segmentations()) - 1
    ui.liveBox.checked = False
    settle()
    assert not previews() and len(segmentations()) == count
    stroke(live, 20)
    settle()
    assert not previews() and not live.live.busy, "off"
    ui.liveBox.checked = True
    settle(lambda: previews())
    live.parameters.firstSlice, live.parameters.lastSlice = 6, 8
    ui.segmentVolumeButton.click()
    assert not live.live.busy
    assert "Done: liver" in finish(live)
    assert not previews() and len(segmentations()) == count + 1
