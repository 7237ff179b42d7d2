"""The papers' protocol, literally."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import numpy as np
import pytest

from FewShotSAMLib.data.slicing import extract_slices
from FewShotSAMLib.data.support import Support
from FewShotSAMLib.data.volume import Volume
from FewShotSAMLib.evaluation.every_support import overall
from FewShotSAMLib.evaluation.protocol import (
    Case,
    evaluate_given_slices,
    evaluate_same_patient,
    evaluate_whole_volume,
    organ_slices,
    query_chunks,
    support_slices,
)
from FewShotSAMLib.evaluation.tables import build_table

ORGANS = {1: "liver", 2: "spleen"}


def case(name: str, organ: range, other: range, depth: int = 20) -> Case:
    """Two boxes, on the axial slices `organ` and `other`."""
    labels = np.zeros((depth, 16, 18), np.uint8)
    labels[organ.start : organ.stop, 3:9, 4:8] = 1
    labels[other.start : other.stop, 8:12, 10:15] = 2
    grey = np.random.default_rng(len(name)).normal(100, 20, labels.shape) + 60.0 * labels
    spacing = (1.0, 1.5, 4.0)
    return Case.of(
        name, Volume(grey, spacing, modality="MR"), Volume(labels, spacing, name=f"{name} labels")
    )


@pytest.mark.parametrize(
    ("count", "expected"),
    [(1, (0, 0, 0)), (2, (0, 1, 1)), (3, (0, 1, 2)), (6, (1, 3, 5)), (12, (2, 6, 10)),
     (25, (4, 12, 20)), (31, (5, 15, 25))],
)  # fmt: skip
def test_support_slices(count: int, expected: tuple[int, ...]) -> None:
    assert support_slices(count) == expected
    assert expected == tuple(math.floor(part * count + 1e-9) for part in (1 / 6, 1 / 2, 5 / 6))


@pytest.mark.parametrize(
    ("count", "sizes"),
    [(0, (0, 0, 0)), (1, (0, 0, 1)), (2, (0, 1, 1)), (9, (3, 3, 3)), (10, (3, 3, 4)),
     (11, (3, 4, 4)), (25, (8, 8, 9))],
)  # fmt: skip
def test_query_chunks(count: int, sizes: tuple[int, ...]) -> None:
    chunks = query_chunks(range(100, 100 + count))
    assert tuple(len(chunk) for chunk in chunks) == sizes
    assert [index for chunk in chunks for index in chunk] == list(range(100, 100 + count))


def test_each_chunk_gets_its_own_support_slice() -> None:
    calls = []

    def segment(query: Case, label: int, slices: Sequence[int], support: Support) -> np.ndarray:
        calls.append((query.name, label, tuple(slices), support.slices, tuple(support.names)))
        return extract_slices(query.labels.voxels, "axial")[list(slices)] == label

    scores = evaluate_given_slices(
        case("support", range(2, 14), range(5, 8)),
        [case("query", range(4, 14), range(0, 4))],
        ORGANS,
        segment,
    )
    # 12 liver slices 2..13: support 2 + (2, 6, 10); 10 query slices 4..13: 3, 3, 4.
    # 3 spleen slices 5..7: support 5 + (0, 1, 2); 4 query slices 0..3: 1, 1, 2.
    assert calls == [
        ("query", 1, (4, 5, 6), (4,), (1,)),
        ("query", 1, (7, 8, 9), (8,), (1,)),
        ("query", 1, (10, 11, 12, 13), (12,), (1,)),
        ("query", 2, (0,), (5,), (2,)),
        ("query", 2, (1,), (6,), (2,)),
        ("query", 2, (2, 3), (7,), (2,)),
    ]
    assert [score.given for score in scores] == [1, 1]
    assert all(math.isnan(score.whole) for score in scores)
    assert scores[0].truth == pytest.approx(10 * 24 * 6.0 / 1000)


def test_whole_volume_counts_what_lies_beyond_the_organ() -> None:
    query = case("query", range(4, 14), range(0, 4))

    def segment(query: Case, support: Support) -> np.ndarray:
        assert support.slices_of(1) == (4, 8, 12) and support.slices_of(2) == (5, 6, 7)
        labels = query.labels.voxels.copy()
        labels[14:16, 3:9, 4:8] = 1  # runs on for two slices
        return labels

    support = case("support", range(2, 14), range(5, 8))
    liver, spleen = evaluate_whole_volume(support, [query], ORGANS, segment)
    assert liver.given == 1
    assert liver.whole == pytest.approx(20 / 22)
    assert liver.volume == pytest.approx(1.2 * liver.truth)
    assert liver.hd95 > 0 and spleen.hd95 == 0


def test_same_patient_uses_each_organs_middle_slice() -> None:
    def segment(query: Case, support: Support) -> np.ndarray:
        assert support.slices_of(1) == (9,) and support.slices_of(2) == (2,)
        return query.labels.voxels

    scores = evaluate_same_patient([case("a", range(4, 14), range(0, 4))], ORGANS, segment)
    assert [score.whole for score in scores] == [1, 1]


def test_organs_that_are_missing_are_left_out() -> None:
    def everything(query: Case, support: Support) -> np.ndarray:
        return query.labels.voxels

    def slices(query: Case, label: int, indices: Sequence[int], support: Support) -> np.ndarray:
        return np.ones((len(indices), 16, 18), bool)

    without = case("without", range(4, 14), range(0, 0))
    full = case("full", range(4, 14), range(0, 4))
    assert organ_slices(without, 2, "axial") == []
    assert [s.organ for s in evaluate_same_patient([without], ORGANS, everything)] == ["liver"]
    for support, query in ((without, full), (full, without)):
        scores = evaluate_given_slices(support, [query], ORGANS, slices)
        assert [score.organ for score in scores] == ["liver"]
        scores = evaluate_whole_volume(support, [query], ORGANS, everything)
        assert [(score.organ, score.support) for score in scores] == [("liver", support.name)]


@pytest.mark.parametrize("axis", ["axial", "coronal", "sagittal"])
def test_every_axis_measures_the_same_millimetres(axis: str) -> None:
    def shifted(query: Case, support: Support) -> np.ndarray:
        return np.roll(query.labels.voxels, 2, axis=0)  # two slices of 4 mm

    one = case("a", range(4, 14), range(2, 6))
    scores = evaluate_same_patient([one], ORGANS, shifted, axis=axis)
    assert scores[1].whole == pytest.approx(0.5)
    assert scores[1].hd95 == pytest.approx(8.0)
    assert scores[0].truth == pytest.approx(10 * 24 * 6.0 / 1000)


def test_every_support_is_summed_up() -> None:
    def half(query: Case, support: Support) -> np.ndarray:
        labels = query.labels.voxels.copy()
        labels[:9] = np.where(labels[:9] == 1, 0, labels[:9])  # 5 of 10 slices: Dice 2/3
        if query.name == "a":
            labels[labels == 2] = 0
        return labels

    one, other = case("a", range(4, 14), range(0, 4)), case("b", range(4, 14), range(0, 4))
    scores = [
        score
        for support, query in ((one, other), (other, one))
        for score in evaluate_whole_volume(support, [query], ORGANS, half)
    ]
    found = overall(scores, "whole")
    assert (found.count, found.lost) == (4, 1)
    assert found.mean == pytest.approx((2 / 3 + 1 + 2 / 3 + 0) / 4)
    assert (found.worst.support, found.worst.case, found.worst.organ) == ("b", "a", "spleen")
    with pytest.raises(ValueError, match="no scores"):
        overall([], "whole")


def test_table() -> None:
    def segment(query: Case, support: Support) -> np.ndarray:
        labels = query.labels.voxels.copy()
        if query.name == "a":
            labels[labels == 1] = 0
        return labels

    cases = [
        case("a", range(4, 14), range(0, 4)),
        case("b", range(4, 14), range(0, 4)),
        case("c", range(4, 14), range(0, 0)),
    ]
    table = build_table(evaluate_same_patient(cases, ORGANS, segment), "whole")
    assert table.organs == ("liver", "spleen") and table.cases == ("a", "b", "c")
    assert table.means.tolist() == pytest.approx([2 / 3, 1])
    assert table.mean == pytest.approx(5 / 6)
    lines = table.to_markdown(2).splitlines()
    assert lines[0] == "| whole | a | b | c | mean | 95 % interval |"
    assert lines[2].startswith("| liver | 0.00 | 1.00 | 1.00 | 0.67 | 0.00 to ")
    assert lines[3] == "| spleen | 1.00 | 1.00 | – | 1.00 | 1.00 to 1.00 |"
    assert lines[4].startswith("| mean |  |  |  | **0.83** | ")
    plain = json.loads(json.dumps(table.to_json(), allow_nan=False))
    assert plain["organs"]["spleen"]["cases"]["c"] is None
    with pytest.raises(ValueError, match="measure"):
        build_table(evaluate_same_patient(cases, ORGANS, segment), "beauty")


def test_grids_and_shapes_must_fit() -> None:
    one = case("a", range(4, 14), range(0, 4))
    with pytest.raises(ValueError, match="grids"):
        Case.of("x", one.image, Volume(one.labels.voxels[1:], one.image.spacing))
    with pytest.raises(ValueError, match="segmented"):
        evaluate_same_patient([one], ORGANS, lambda query, support: np.zeros((1, 2, 3), int))
