"""Which slices are in doubt, the way through them, decisions, and the strip."""

from __future__ import annotations

import pytest
from FewShotSAMModule.runs.review import ACCEPTED, REJECTED, UNDECIDED, Judged, Review, judged
from hypothesis import given
from hypothesis import strategies as st

NAMES = {1: "liver", 2: "spleen"}


def entry(index, score=0.9, label=1, present=True, source="propagated"):
    return Judged(index, label, score if present else 0.0, present, source)


@pytest.fixture
def review():
    """Nine slices: 3 is drawn, 5 and 7 score low, 1 is a gap of the spleen, 8 is empty."""
    liver = [entry(k, 0.9) for k in (0, 1, 2, 4, 6)]
    liver += [entry(3, 0.2, source="support"), entry(5, 0.7), entry(7, 0.5)]
    liver += [entry(8, present=False)]
    spleen = [entry(0, label=2), entry(1, label=2, present=False), entry(2, label=2)]
    return Review(liver + spleen, NAMES, array_axis=0)


def test_doubtful_are_low_scores_and_gaps_but_never_what_was_drawn(review):
    assert review.doubtful == (1, 5, 7)
    assert not review.is_doubtful(3)
    assert not review.is_doubtful(8)


def test_next_and_previous_go_round(review):
    assert [review.next_doubtful(k) for k in (0, 1, 4, 5, 7, 8)] == [1, 5, 5, 7, 1, 1]
    assert [review.next_doubtful(k, -1) for k in (0, 1, 2, 6, 8)] == [7, 7, 1, 5, 7]


def test_without_a_current_slice_the_worst_comes_first(review):
    review.decide(1, ACCEPTED)
    assert review.next_doubtful(None) == 7
    review.decide(7, ACCEPTED)
    review.decide(5, REJECTED)
    assert review.next_doubtful(None) is None
    assert review.next_doubtful(0) is None


def test_decisions_can_be_taken_back(review):
    review.decide(5, REJECTED)
    assert review.decision(5) == REJECTED
    assert 5 not in review.doubtful
    review.decide(5, UNDECIDED)
    assert 5 in review.doubtful
    with pytest.raises(ValueError, match="no decision"):
        review.decide(5, "perhaps")
    with pytest.raises(ValueError, match="slice 50"):
        review.decide(50, ACCEPTED)


def test_a_slice_segmented_again_is_undecided(review):
    review.decide(5, REJECTED)
    review.update([entry(5, 0.95)])
    assert review.decision(5) == UNDECIDED
    assert 5 not in review.doubtful
    assert review.score(5) == 0.95


def test_text_says_scores_drawing_gaps_and_decision(review):
    assert review.text(0) == "Slice 0: liver 0.90, spleen 0.90"
    assert review.text(1) == "Slice 1: liver 0.90, spleen missing (in doubt)"
    assert review.text(3) == "Slice 3: liver as drawn"
    assert review.text(8) == "Slice 8: nothing found"
    review.decide(5, ACCEPTED)
    assert review.text(5) == "Slice 5: liver 0.70 (accepted)"
    assert review.text(77) == "Slice 77: was not worked on."


def test_strip_shows_every_kind(review):
    review.decide(7, REJECTED)
    review.decide(6, ACCEPTED)
    kinds = [cell.kind for cell in review.strip()]
    assert kinds == [
        "sure", "doubtful", "sure", "drawn", "sure", "doubtful", "accepted", "rejected", "empty",
    ]  # fmt: skip
    assert [cell.target for cell in review.strip()] == list(range(9))
    assert review.strip()[5].score == 0.7


def test_narrow_strip_shows_the_least_certain_of_each_cell(review):
    cells = review.strip(most_cells=3)
    assert [(cell.first, cell.last, cell.target) for cell in cells] == [
        (0, 2, 1), (3, 5, 5), (6, 8, 7),
    ]  # fmt: skip
    assert cells[1].text == "Slices 3 to 5. Slice 5: liver 0.70 (in doubt)"
    assert review.cell_of(4, 3) == 1
    assert review.cell_of(9, 3) is None


slices = st.dictionaries(
    st.tuples(st.integers(0, 60), st.integers(1, 2)),
    st.tuples(st.floats(0, 1), st.booleans(), st.sampled_from(["support", "propagated"])),
    min_size=1,
)


@given(slices, st.integers(1, 40))
def test_strip_holds_every_slice_once_and_hides_no_doubt(content, most_cells):
    review = Review(
        [Judged(k, label, score, here, source) for (k, label), (score, here, source)
         in content.items()],
        NAMES, 0,
    )  # fmt: skip
    cells = review.strip(most_cells)
    assert len(cells) <= most_cells
    covered = [k for cell in cells for k in review.slices if cell.first <= k <= cell.last]
    assert covered == list(review.slices)
    doubtful_cells = [cell for cell in cells if cell.kind == "doubtful"]
    for index in review.doubtful:
        assert any(cell.first <= index <= cell.last for cell in doubtful_cells)
    for index in review.slices:
        assert cells[review.cell_of(index, most_cells)].first <= index


@given(slices)
def test_kept_in_the_scene_and_read_again(content):
    review = Review(
        [Judged(k, label, round(score, 4), here, source) for (k, label), (score, here, source)
         in content.items()],
        {1: "Milz – links", 2: "肝"}, 2, 0.75,
    )  # fmt: skip
    review.decide(review.slices[0], REJECTED)
    again = Review.from_json(review.to_json())
    assert again.names == review.names
    assert again.array_axis == 2
    assert again.strip() == review.strip()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"slices": 3}', "null"])
def test_what_is_no_review_is_refused(text):
    with pytest.raises(ValueError):
        Review.from_json(text)


def test_takes_the_library_s_results():
    pytest.importorskip("torch", reason="the library's results need PyTorch")
    from FewShotSAMLib.segmentation.results import SliceResult

    result = SliceResult(4, 2, None, 0.5, True, 120.0, "prompted")
    assert judged([result]) == [Judged(4, 2, 0.5, True, "prompted", 120.0)]
    assert Review.of([result], NAMES, 1).doubtful == (4,)
