"""Metrics against hand-made figures and a brute-force evaluation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import cdist

from FewShotSAMLib.evaluation.metrics import (
    dice,
    dice_given_slices,
    dice_per_label,
    surface_distance,
    volume_ml,
)


def test_dice_by_hand() -> None:
    truth = np.zeros((4, 5, 5), bool)
    truth[1:3, 1:3, 1:3] = True  # 8 voxels
    prediction = np.zeros_like(truth)
    prediction[2:4, 1:3, 1:3] = True  # 8 voxels, 4 shared
    assert dice(prediction, truth) == 0.5
    assert dice_given_slices(prediction, truth) == pytest.approx(2 * 4 / (8 + 4))
    assert math.isnan(dice(truth & False, truth & False))
    assert dice(truth, truth & False) == 0
    assert math.isnan(dice_given_slices(truth, truth & False))
    with pytest.raises(ValueError, match="shape"):
        dice(truth, truth[1:])


def test_dice_is_over_the_volume_not_the_mean_over_slices() -> None:
    truth = np.zeros((2, 10, 10), bool)
    truth[0], truth[1, 0, 0] = True, True
    prediction = truth.copy()
    prediction[1] = False
    assert dice_given_slices(prediction, truth) == pytest.approx(200 / 201)


def test_dice_per_label() -> None:
    truth = np.array([[0, 1, 1, 2, 2, 3]])
    prediction = np.array([[0, 1, 2, 2, 2, 0]])
    scores = dice_per_label(prediction, truth, (1, 2, 3))
    assert scores == pytest.approx({1: 2 / 3, 2: 4 / 5, 3: 0.0})


def test_volume() -> None:
    assert volume_ml(np.ones((2, 5, 10), bool), (1.5, 2.0, 4.0)) == pytest.approx(1.2)


def test_distances_know_which_axis_a_spacing_belongs_to() -> None:
    one, other = np.zeros((9, 9, 9), bool), np.zeros((9, 9, 9), bool)
    one[2, 4, 4] = True
    for axis, expected in ((0, 3 * 7.0), (1, 3 * 2.0), (2, 3 * 1.0)):
        other[:] = False
        place = [2, 4, 4]
        place[axis] += 3
        other[tuple(place)] = True
        found = surface_distance(one, other, (1.0, 2.0, 7.0))
        assert (found.assd, found.hd95) == pytest.approx((expected, expected))


def brute(one: np.ndarray, other: np.ndarray, spacing: tuple[float, ...]) -> tuple[float, float]:
    def border(mask: np.ndarray) -> np.ndarray:
        padded = np.pad(mask, 1)
        places = []
        for place in np.argwhere(padded):
            around = [place + s * np.eye(3, dtype=int)[a] for a in range(3) for s in (1, -1)]
            if not all(padded[tuple(near)] for near in around):
                places.append((place - 1) * np.array(spacing[::-1]))
        return np.array(places)

    apart = cdist(border(one), border(other))
    there, back = apart.min(axis=1), apart.min(axis=0)
    assd = (there.sum() + back.sum()) / (len(there) + len(back))
    return assd, max(np.percentile(there, 95), np.percentile(back, 95))


@settings(max_examples=30, deadline=None)
@given(
    one=arrays(bool, (3, 5, 4)),
    other=arrays(bool, (3, 5, 4)),
    spacing=st.tuples(*[st.floats(0.5, 8)] * 3),
)
def test_distances_against_brute_force(
    one: np.ndarray, other: np.ndarray, spacing: tuple[float, float, float]
) -> None:
    found = surface_distance(one, other, spacing)
    if one.any() and other.any():
        assert (found.assd, found.hd95) == pytest.approx(brute(one, other, spacing), abs=1e-9)
    elif one.any() or other.any():
        assert math.isinf(found.assd) and math.isinf(found.hd95)
    else:
        assert math.isnan(found.assd) and math.isnan(found.hd95)
