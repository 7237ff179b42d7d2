"""The slice to mark next: where most is wrong, far from what was marked, and never where nothing
is known to be."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from small_abdomens import LIVER, RIGHT_KIDNEY, marked

import FewShotSAMLib as fss
from FewShotSAMLib.segmentation.next_mark import next_to_mark
from FewShotSAMLib.segmentation.results import SliceResult


def slices(areas: list[float], scores: list[float], drawn: set[int], label=1, first=0):
    return [
        SliceResult(
            first + k, label, None, score, area > 0, area, "support" if k in drawn else "propagated"
        )
        for k, (area, score) in enumerate(zip(areas, scores, strict=True))
    ]


def test_halfway_to_the_far_end_where_all_is_alike():
    """Marked at one end: nearer than halfway leaves much beyond, farther leaves much behind."""
    place = next_to_mark(slices([100.0] * 21, [0.8] * 21, {0}))
    assert 8 <= place <= 14


def test_where_the_scores_are_low():
    scores = [0.9] * 10 + [0.3] * 3 + [0.9] * 8
    assert next_to_mark(slices([100.0] * 21, scores, {0, 20})) in (10, 11, 12)


def test_where_it_is_large():
    areas = [30.0] * 9 + [400.0] * 4 + [30.0] * 8
    assert 8 < next_to_mark(slices(areas, [0.8] * 21, {0, 20})) < 14


def test_without_marks_in_the_volume_the_middle():
    assert 7 <= next_to_mark(slices([100.0] * 21, [0.8] * 21, set())) <= 13


def test_all_structures_together_and_one_alone():
    one = slices([100.0] * 10 + [0.0] * 10, [0.6] * 20, {2}, label=1)
    other = slices([0.0] * 10 + [100.0] * 10, [0.95] * 20, {15}, label=2)
    assert next_to_mark(one + other) < 10
    assert next_to_mark(one + other, 2) >= 10


def test_nothing_to_say():
    assert next_to_mark([]) is None
    assert next_to_mark(slices([0.0] * 5, [0.0] * 5, set())) is None
    assert next_to_mark(slices([9.0] * 5, [1.0] * 5, set(range(5)))) is None
    assert next_to_mark(slices([9.0] * 5, [0.5] * 5, {1}), label=7) is None


@given(
    areas=st.lists(st.one_of(st.just(0.0), st.floats(1, 1e4)), min_size=1, max_size=40),
    first=st.integers(0, 300),
    data=st.data(),
)
def test_it_is_found_and_not_marked(areas, first, data):
    count = len(areas)
    scores = data.draw(st.lists(st.floats(0, 0.99), min_size=count, max_size=count))
    drawn = data.draw(st.sets(st.integers(0, count - 1)))
    all_of_them = slices(areas, scores, drawn, first=first)
    place = next_to_mark(all_of_them)
    free = {s.index for s in all_of_them if s.present and s.source != "support"}
    assert place in free if free else place is None
    backwards = next_to_mark(all_of_them[::-1])
    assert place == backwards


def test_of_a_real_result(segmenter, patient):
    support = marked(patient, LIVER, RIGHT_KIDNEY)
    result = segmenter.segment(patient.image, support)
    place = fss.next_to_mark(result.slices)
    (own,) = support.slices_of(LIVER)
    assert place != own and np.isin(result.labels.voxels[place], (LIVER, RIGHT_KIDNEY)).any()
