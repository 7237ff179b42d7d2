"""What finished labels say of themselves."""

from __future__ import annotations

from dataclasses import asdict, astuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from FewShotSAMLib.data.support import Support
from FewShotSAMLib.phantom.abdomen import abdomen
from FewShotSAMLib.segmentation.borders import border, closed, roundness
from FewShotSAMLib.segmentation.evidence import UNPLANNED, ways

SIZE = {"shape": (10, 96, 96), "spacing": (3.4, 3.4, 16.0)}


def disc(row: float, column: float, radius: float = 9) -> np.ndarray:
    rows, columns = np.mgrid[:48, :48]
    return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2


@given(st.floats(14, 33), st.floats(14, 33), st.floats(0.2, 0.9), st.integers(5, 14))
def test_a_mask_on_its_border_is_better_than_one_beside_it(row, column, contrast, beside):
    truth = disc(row, column)
    grey = (0.05 + contrast * truth + 0.02 * np.sin(np.arange(48))).astype(np.float32)
    displaced = np.roll(truth, beside, axis=1)
    assert 0 <= border(grey, displaced) < border(grey, truth) < 1
    assert border(1 - grey, truth) == pytest.approx(border(grey, truth), abs=1e-4)


@given(st.floats(16, 31), st.floats(16, 31), st.integers(3, 5))
def test_what_stops_short_of_the_end_or_runs_over_it_is_less_closed(row, column, off):
    truth, random = disc(row, column), np.random.default_rng(0)
    grey = (0.2 + 0.5 * truth + 0.02 * random.normal(size=truth.shape)).astype(np.float32)
    assert closed(grey, truth) > 0.95
    assert closed(grey, disc(row, column, 9 - off)) < 0.6
    assert closed(grey, disc(row, column, 9 + off)) < 0.6
    half = truth & (np.arange(48) < column)  # open on one side
    assert closed(grey, half) < closed(grey, truth) - 0.1
    assert closed(1 - grey, truth) == pytest.approx(closed(grey, truth), abs=0.02)
    assert closed(grey, np.ones_like(truth)) == 0


@given(st.integers(2, 8))
def test_a_ragged_mask_is_less_round_than_a_disc(teeth):
    round_one, rows = disc(24, 24, 16), np.mgrid[:48, :48][0]
    ragged = round_one & (rows % (2 * teeth) < teeth)
    assert 0 < roundness(ragged) < roundness(round_one) <= 1
    assert roundness(np.ones((1, 1), bool)) == 1


def test_a_mask_that_has_no_border_says_nothing():
    grey = np.random.default_rng(0).random((9, 9)).astype(np.float32)
    assert border(grey, np.ones((9, 9), bool)) == 0
    corner = np.zeros((9, 9), bool)
    corner[0, 0] = True
    assert 0 <= border(grey, corner) < 1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.data())
def test_the_way_to_a_slice_is_as_sure_as_its_least_sure_slice(values, data):
    certainty = {index + 3: value for index, value in enumerate(values)}
    starts = data.draw(st.lists(st.sampled_from(sorted(certainty)), max_size=3, unique=True))
    found = ways(certainty, starts)
    for index, least in found.items():
        surest = max(
            (min(certainty[i] for i in range(min(index, s), max(index, s) + 1)) for s in starts),
            default=certainty[index],
        )
        assert least == surest
    assert found.keys() == certainty.keys()


def test_beyond_a_gap_nothing_was_followed():
    assert ways({1: 0.9, 2: 0.4, 3: 0.8, 5: 0.7}, [1]) == {1: 0.9, 2: 0.4, 3: 0.4, 5: 0.7}


@pytest.mark.parametrize("other", [False, True])
def test_every_drawn_slice_has_its_evidence(segmenter, other):
    marked, query = abdomen(**SIZE), abdomen(**SIZE, seed=5 if other else 0)
    support = Support.from_labels(marked.image, marked.truth, axis="axial", slices="middle")
    result = segmenter.segment(query.image, [support])
    judged = [one for one in result.slices if one.present and one.signals is not None]
    assert judged and all(0 <= v <= 1 for one in judged for v in astuple(one.signals))
    for label in {one.label for one in judged}:
        own = [one for one in judged if one.label == label]
        assert len({(one.signals.whole, one.signals.plan) for one in own}) == 1
        assert (own[0].signals.plan < 1) is other
        widest = [one for one in result.slices if one.label == label and one.present]
        largest = max(widest, key=lambda one: one.area_mm2)
        assert largest.signals is None or largest.signals.extent == 1


def test_without_a_plan_nothing_speaks_for_the_place(segmenter):
    """A structure that another patient's support finds by looks alone is less sure of its place
    than one that a person drew in the volume."""
    marked, query = abdomen(**SIZE), abdomen(**SIZE, seed=5)
    support = Support.from_labels(
        marked.image, marked.truth, axis="axial", slices="middle", keep_labels=(2,), overview=False
    )
    for volume, seen in ((query.image, UNPLANNED), (marked.image, dict.fromkeys(UNPLANNED, 1.0))):
        judged = [
            asdict(one.signals) for one in segmenter.segment(volume, [support]).slices
            if one.present and one.signals is not None
        ]
        assert judged and all({k: one[k] for k in seen} == seen for one in judged)


def test_a_part_of_the_volume_is_compared_with_that_part_of_the_plan(segmenter):
    """What was not asked for is no evidence against what was."""
    marked, query = abdomen(**SIZE), abdomen(**SIZE, seed=5)
    support = Support.from_labels(
        marked.image, marked.truth, axis="axial", slices="middle", keep_labels=(1,)
    )
    index = query.marked_slice()
    whole, part = (
        segmenter.segment(query.image, [support], range=kept)
        for kept in (None, (index, index + 1))
    )
    plans = [
        next(one.signals.plan for one in result.slices if one.present and one.signals is not None)
        for result in (whole, part)
    ]
    assert plans[1] > plans[0] - 0.15
