"""What a person decides about slices, in the scene and in the review, and how both are kept."""

from __future__ import annotations

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core (pip install slicer-core)")

from FewShotSAMModule.runs.kept_review import ATTRIBUTE, KeptReview  # noqa: E402
from FewShotSAMModule.runs.review import Judged, Review  # noqa: E402
from FewShotSAMModule.scene.results import ResultWriter  # noqa: E402
from FewShotSAMModule.scene.segments import SegmentInfo  # noqa: E402
from FewShotSAMModule.scene.slice_edits import read_slice  # noqa: E402
from scene_nodes import add_volume, affine  # noqa: E402

from FewShotSAMLib import InputError  # noqa: E402
from FewShotSAMLib.segmentation.results import (  # noqa: E402
    SliceAnswer,
    SlicePreview,
    SliceResult,
)

SIZE = (6, 8, 10)
IDS = {1: "liver"}


@pytest.fixture
def volume(scene):
    return add_volume(scene, np.zeros(SIZE, np.int16), affine((1, 1.5, 4)))


@pytest.fixture
def result(volume):
    labels = np.zeros(SIZE, np.uint8)
    labels[1:5, 2:6, 3:8] = 1
    return ResultWriter(volume, {1: SegmentInfo("liver", "liver", (1.0, 0.0, 0.0))}).commit(labels)


@pytest.fixture
def kept(result):
    review = KeptReview()
    review.segment_ids = dict(IDS)
    entries = [Judged(k, 1, 0.9, 1 <= k < 5, "propagated") for k in range(SIZE[0])]
    review.show(result, Review(entries, {1: "liver"}, 0))
    return review


def drawn(volume, result, k):
    return read_slice(volume, result, IDS, 0, k)


def test_rejected_and_accepted_after_all(volume, result, kept):
    before, told = drawn(volume, result, 2), []
    kept.changed = lambda: told.append(kept.decision((0, 2, None)))
    saved = []
    change = kept.decide(volume, 2, "rejected", lambda: saved.append(1))
    assert not drawn(volume, result, 2).any() and drawn(volume, result, 3).any()
    assert kept.decide(volume, 2, "accepted", None) is not None
    assert np.array_equal(drawn(volume, result, 2), before)
    assert kept.decide(volume, 3, "accepted", None) is None, "nothing in the scene changed"
    assert (told[:2], saved) == (["rejected", "accepted"], [1])
    with pytest.raises(InputError, match="edited since"):
        change.undo()


def test_undo_takes_decision_and_voxels_back(volume, result, kept):
    before = drawn(volume, result, 2)
    kept.decide(volume, 2, "rejected", None).undo()
    assert np.array_equal(drawn(volume, result, 2), before)
    assert kept.decision((0, 2, None)) == ""
    assert kept.decide(volume, 2, "accepted", None) is None, "nothing is held that is not missing"


def test_what_cannot_be_changed_is_refused_and_nothing_is_decided(volume, result, kept):
    kept.decide(volume, 2, "rejected", None)
    segment = result.GetSegmentation().GetSegment("liver")
    segment.SetTag("Segmentation.Status", "completed")
    for decision, k in (("rejected", 3), ("accepted", 2)):
        before = kept.decision((0, k, None))
        with pytest.raises(InputError, match="completed"):
            kept.decide(volume, k, decision, None)
        assert kept.decision((0, k, None)) == before
    segment.SetTag("Segmentation.Status", "inprogress")
    kept.decide(volume, 2, "accepted", None)
    assert drawn(volume, result, 2).any(), "what was held is still there"


def test_the_scene_keeps_it(volume, result, kept):
    kept.decide(volume, 2, "accepted", None)
    again = KeptReview()
    again.find(volume)
    assert again.node is result and again.segment_ids == IDS
    assert again.decision((0, 2, None)) == "accepted"
    assert again.decision((1, 2, None)) == "", "of another direction"
    again.find(None)
    assert again.review is None and again.node is None


@pytest.mark.parametrize("text", ["{", "[]", '{"segment_ids": {}}', '{"segment_ids": {"a": "b"}}'])
def test_what_is_no_review_is_passed_over(volume, result, kept, text):
    result.SetAttribute(ATTRIBUTE, text)
    kept.find(volume)
    assert kept.review is None


def test_a_segmentation_that_left_the_scene(scene, volume, result, kept):
    assert not kept.gone
    scene.RemoveNode(result)
    assert kept.gone
    kept.find(volume)
    assert kept.review is None and not kept.gone


class SliceRun:
    """A run of one slice that found nothing there."""

    def __init__(self, volume, node, k):
        found = SliceResult(k, 1, None, 0.3, False, 0.0, "alone")
        preview = SlicePreview(0, k, np.zeros(SIZE[1:], np.uint8), (found,))
        self.answer = SliceAnswer(preview, {}, {})
        self.volume_node, self.node, self.segment_ids = volume, node, dict(IDS)
        self.segments = {1: SegmentInfo("liver", "liver", (1.0, 0.0, 0.0))}


def test_the_way_back_from_a_slice_is_the_review_of_the_volume(volume, result, kept):
    kept.decide(volume, 2, "accepted", None)
    kept.decide(volume, 4, "rejected", None)
    before = kept.review.to_json(), result.GetAttribute(ATTRIBUTE)
    back = kept.take_slice(0, SliceRun(volume, result, 2), 0.8)
    assert kept.decision((0, 2, None)) == "" and kept.review.slices == tuple(range(6))
    back()
    assert kept.node is result
    assert (kept.review.to_json(), result.GetAttribute(ATTRIBUTE)) == before
    assert kept.decide(volume, 4, "accepted", None) is not None, "what was held is still held"


def test_the_way_back_from_another_segmentation(scene, volume, result, kept):
    other = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "other")
    before = kept.review.to_json()
    back = kept.take_slice(0, SliceRun(volume, other, 2), 0.8)
    assert kept.node is other and kept.review.slices == (2,)
    back()
    assert kept.node is result and kept.review.to_json() == before
    assert other.GetAttribute(ATTRIBUTE) is None
    scene.RemoveNode(result)
    back()
    assert kept.node is None, "nothing of the volume is left to review"


def test_slices_between_those_that_came_keep_what_they_have(volume, result):
    """A run into a segmentation is stopped when it has worked on slices 1 and 4."""
    from types import SimpleNamespace

    from FewShotSAMModule.runs.partial import partial_result, write_part

    info = SegmentInfo("liver", "liver", (1.0, 0.0, 0.0))
    before = [drawn(volume, result, k) for k in range(SIZE[0])]
    writer = ResultWriter(
        volume, {1: info}, output=result, into="existing", overwrite="unlocked"
    )
    part = np.zeros(SIZE[1:], np.uint8)
    part[0, 0] = 1
    came = [
        SlicePreview(0, k, part, (SliceResult(k, 1, None, 0.9, True, 1.0, "alone"),))
        for k in (4, 1)
    ]
    source = SimpleNamespace(
        volume=SimpleNamespace(shape=SIZE), nodes=(volume,), segments={1: info},
        supports=[SimpleNamespace(axis="axial")],
    )  # fmt: skip
    known = partial_result(source, came)
    assert [one.index for one in known.slices] == [1, 4] and known.count == 2
    assert write_part(source, writer, result, came) is result
    for k in range(SIZE[0]):
        expected = part if k in (1, 4) else before[k]
        assert np.array_equal(drawn(volume, result, k), expected), k
    writer.undo()
    assert all(np.array_equal(drawn(volume, result, k), before[k]) for k in range(SIZE[0]))
