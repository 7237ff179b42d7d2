"""Surface agreement by area, checked against what is known and against distances of voxels."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from FewShotSAMLib.evaluation.intervals import bootstrap_interval
from FewShotSAMLib.evaluation.metrics import surface_distance
from FewShotSAMLib.evaluation.protocol import Score
from FewShotSAMLib.evaluation.scores_file import scores_csv
from FewShotSAMLib.evaluation.surfaces import surface_agreement


def ball(shape, centre, radius, spacing):
    grid = np.indices(shape).astype(float)
    steps = np.array(spacing[::-1]).reshape(3, 1, 1, 1)
    return (((grid - np.array(centre).reshape(3, 1, 1, 1)) * steps) ** 2).sum(0) <= radius**2


def test_a_shift_of_two_walls():
    """Two slabs, one 3 mm higher: top and bottom are 3 mm off, the sides agree. Of the two flats
    that lie inside of the other slab a rim of 2.9 mm is near the other's sides."""
    one, other = np.zeros((30, 40, 40), bool), np.zeros((30, 40, 40), bool)
    one[10:20], other[13:23] = True, True
    whole = surface_agreement(one, other, (1.0, 1.0, 1.0), tolerance=3.01)
    assert whole.nsd == pytest.approx(1.0, abs=0.01)
    strict = surface_agreement(one, other, (1.0, 1.0, 1.0), tolerance=2.9)
    flat, sides, rim = 40 * 40, 4 * 40 * 10, 40**2 - 34.2**2
    assert strict.nsd == pytest.approx((sides + rim) / (2 * flat + sides), abs=0.05)
    assert strict.hd95 == pytest.approx(3.0)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.tuples(*[st.floats(0.8, 2.5)] * 3))
def test_agrees_with_distances_of_voxels_and_with_simpleitk(seed, spacing):
    random = np.random.default_rng(seed)
    shape, middle = (24, 28, 26), np.array((12, 14, 13))
    one = ball(shape, middle, 9.0, spacing)
    other = ball(shape, middle + random.integers(-2, 3, 3), 8.0, spacing)
    mine = surface_agreement(one, other, spacing)
    voxels = surface_distance(one, other, spacing)
    step = max(spacing)
    assert mine.assd == pytest.approx(voxels.assd, abs=0.6 * step)
    assert mine.hd95 == pytest.approx(voxels.hd95, abs=step)
    images = [sitk.GetImageFromArray(mask.astype(np.uint8)) for mask in (one, other)]
    for image in images:
        image.SetSpacing(spacing)
    largest = sitk.HausdorffDistanceImageFilter()
    largest.Execute(*images)
    assert mine.hd95 <= largest.GetHausdorffDistance() + step
    assert mine.nsd == surface_agreement(other, one, spacing).nsd


def test_empty_masks():
    full, empty = np.ones((3, 3, 3)), np.zeros((3, 3, 3))
    assert np.isnan(surface_agreement(empty, empty, (1, 1, 1)).nsd)
    alone = surface_agreement(full, empty, (1, 1, 1))
    assert (alone.nsd, alone.assd, alone.hd95) == (0.0, np.inf, np.inf)
    assert surface_agreement(full, full, (1, 1, 1)).nsd == 1.0
    with pytest.raises(ValueError, match="3-D"):
        surface_agreement(full, empty[0], (1, 1, 1))


def test_interval_holds_the_true_mean_as_often_as_it_says():
    random = np.random.default_rng(0)
    hits = 0
    for trial in range(60):
        low, high = bootstrap_interval(random.normal(0.7, 0.1, 20), seed=trial)
        hits += low <= 0.7 <= high
    assert 0.85 <= hits / 60 <= 1.0


@pytest.mark.parametrize(
    ("values", "ends"), [([], None), ([0.5], None), ([0.5, np.nan], None), ([0.5, 0.5], (0.5, 0.5))]
)
def test_intervals_of_few_values(values, ends):
    found = bootstrap_interval(values)
    assert np.isnan(found).all() if ends is None else found == ends


def test_csv_has_every_score_and_means():
    scores = [
        Score(f"p{n}", 1, "liver", 0.1 * n, float("nan"), 1.0, 2.0, 3.0, 4.0, 0.2 * n)
        for n in range(1, 6)
    ]
    rows = list(csv.DictReader(scores_csv(scores).splitlines()))
    assert [row["case"] for row in rows] == ["p1", "p2", "p3", "p4", "p5", "mean", "low", "high"]
    assert float(rows[5]["given"]) == pytest.approx(0.3)
    assert rows[0]["whole"] == rows[5]["whole"] == ""
    assert float(rows[6]["nsd"]) < 0.6 < float(rows[7]["nsd"])


def test_csv_counts_a_patient_of_several_supports_once():
    scores = [
        Score(f"p{n}", 1, "liver", value, value, 1.0, 2.0, 3.0, 4.0, 0.5, support)
        for n, values in enumerate([(0.2, 0.4), (0.6, 1.0)])
        for support, value in zip("ab", values)
    ]
    rows = {row["case"]: row for row in csv.DictReader(scores_csv(scores).splitlines())}
    assert float(rows["mean"]["whole"]) == pytest.approx(0.55)
    assert float(rows["low"]["whole"]) == pytest.approx(0.3)  # two patients, not four
