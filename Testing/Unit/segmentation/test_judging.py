"""From signals to estimates of Dice, and from slices to whole structures."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from FewShotSAMLib.segmentation.found import Signals
from FewShotSAMLib.segmentation.judging import (
    JudgingParameters,
    confidence,
    judged_slices,
    judged_structures,
)
from FewShotSAMLib.segmentation.results import DOUBTFUL, FOUND, SliceResult
from FewShotSAMLib.segmentation.slices import Structure

NAMES = tuple(field.name for field in fields(Signals))
LIVER = Structure(1, "liver", ())
shares = st.floats(0, 1)
signals = st.builds(Signals, *[shares] * len(NAMES))


def found(score: float, area: float = 100.0, source: str = "propagated", **kind) -> SliceResult:
    return SliceResult(3, 1, None, score, area > 0, area, source, **kind)


@given(signals, st.booleans(), st.sampled_from(NAMES), shares)
def test_more_of_any_signal_never_lowers_the_estimate(one, other, name, more):
    better = replace(one, **{name: max(more, getattr(one, name))})
    assert 0 <= confidence(one, other) <= confidence(better, other) <= 1


def test_the_best_signals_are_sure_and_the_worst_are_not():
    best, worst = (Signals(*[share] * len(NAMES)) for share in (1.0, 0.0))
    for other in (True, False):
        assert confidence(best, other) > 0.9
        assert confidence(worst, other) < 0.1


def test_scores_without_signals_stay():
    assert judged_slices([found(0.4)], set())[0].score == 0.4
    judged = judged_slices([found(0.4, signals=Signals(0.9))], set())[0]
    assert judged.score == confidence(Signals(0.9), True)
    assert judged_slices([found(0.4, signals=Signals(0.9))], {1})[0].score == confidence(
        Signals(0.9), False
    )


@pytest.mark.parametrize(
    ("score", "state"), [(0.9, "found"), (0.5, "doubtful"), (0.1, "not found")]
)
def test_states_of_a_structure(score, state):
    (one,) = judged_structures([found(score), found(0.0, area=0.0)], [LIVER])
    assert one.state == state and one.confidence == pytest.approx(score)


def test_large_slices_count_more():
    (one,) = judged_structures([found(0.9, 900), found(0.1, 100)], [LIVER])
    assert one.confidence == pytest.approx(0.82)


def test_nothing_drawn_is_not_found():
    (one,) = judged_structures([found(0.9, area=0.0)], [LIVER])
    assert (one.state, one.confidence) == ("not found", 0.0)


def test_what_a_person_drew_here_is_found():
    (one,) = judged_structures([found(1.0, source="support", area=1), found(0.1)], [LIVER])
    assert one.state == "found"


def test_limits_are_in_order():
    p = JudgingParameters()
    assert 0 < p.missing < p.doubtful < 1


def test_what_looks_quite_different_is_doubtful_however_sure():
    dark = found(0.95, signals=Signals(1.0, look=0.3))
    (one,) = judged_structures([dark], [LIVER])
    assert (one.state, one.confidence) == (DOUBTFUL, 0.95)
    (one,) = judged_structures([dark, found(1.0, source="support", area=1)], [LIVER])
    assert one.state == FOUND


@pytest.mark.parametrize(("plan", "state"), [(0.3, DOUBTFUL), (0.5, FOUND), (1.0, FOUND)])
def test_what_lies_elsewhere_than_planned_is_doubtful(plan, state):
    slices = [found(0.95, signals=Signals(0.9, plan=plan))] * 3
    (one,) = judged_structures(slices, [LIVER])
    assert one.state == state and one.confidence == pytest.approx(0.95)
