"""SynPo and FoB joined: the map's scale stays SynMap's, and bad background points are dropped."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from FewShotSAMLib.prompting.fusion import joined_maps, joined_points
from FewShotSAMLib.prompting.point_prompts import PointPrompts
from FewShotSAMLib.prompting.synpo import SynPoSupport

MAPS = hnp.arrays(np.float32, (2, 6, 7), elements=st.floats(-0.9375, 1.0, width=16))


def support(background_mean: float) -> SynPoSupport:
    return SynPoSupport((torch.ones(3),), 0.1, 3, background_mean, 0.1, True, 0.9)


@given(confidence=MAPS, alike=MAPS)
@settings(max_examples=100, deadline=None)
def test_joined_maps_stay_within_each_slices_own_values(confidence, alike):
    joined = joined_maps(torch.from_numpy(confidence), torch.from_numpy(alike)).numpy()
    assert joined.shape == confidence.shape
    for one, own in zip(joined, confidence, strict=True):
        assert own.min() - 1e-6 <= one.min() and one.max() <= own.max() + 1e-6
        assert np.isclose(one.mean(), own.mean(), atol=1e-5)


@given(confidence=MAPS)
@settings(max_examples=50, deadline=None)
def test_where_both_agree_nothing_changes(confidence):
    own = torch.from_numpy(confidence)
    assert torch.allclose(joined_maps(own, own), own, atol=1e-6)
    flat = torch.ones_like(own)
    assert torch.allclose(joined_maps(own, flat), own, atol=1e-6)


def test_faint_maps_are_ordered_too():
    faint = torch.full((1, 6, 7), 2.0**-24)
    faint[0, 0, 0] = 2.0**-14
    assert torch.allclose(joined_maps(faint, faint), faint, atol=1e-6)


def test_a_place_that_fob_denies_falls_and_the_other_rises():
    confidence = torch.full((1, 4, 4), 0.1)
    confidence[0, 0, 0], confidence[0, 3, 3] = 0.8, 0.7
    alike = torch.full((1, 4, 4), 0.5)
    alike[0, 0, 0] = 0.2
    joined = joined_maps(confidence, alike)[0]
    assert joined[3, 3] == 0.75 and joined[0, 0] == 0.75  # they change places, then the mean
    alike[0, 0, 0] = -0.5  # denied: last of all that is positive
    joined = joined_maps(confidence, alike)[0]
    assert joined[3, 3] == 0.75 and joined[0, 0] < 0.5


def test_nothing_may_be_found_where_the_map_is_minus_infinity():
    confidence = torch.rand(1, 5, 5)
    confidence[0, :2] = -torch.inf
    joined = joined_maps(confidence, torch.rand(1, 5, 5))
    assert torch.isinf(joined[0, :2]).all() and torch.isfinite(joined[0, 2:]).all()


def test_background_points_on_the_structure_are_dropped():
    confidence = np.zeros((8, 8), np.float32)
    confidence[2:5, 2:5] = 0.9
    synpo = PointPrompts.of(np.array([[3, 3]]), np.array([[7, 7]]))
    fob = PointPrompts.of(np.array([[0, 0]]), np.array([[3, 4], [6, 1], [7.4, 8.9], [4.4, 2.4]]))
    joined = joined_points(synpo, fob, confidence, support(0.3))
    assert joined.positives.tolist() == [[3, 3]]
    assert np.allclose(joined.negatives, [[6, 1], [7.4, 8.9]])  # outside ones count as the edge
    none = joined_points(synpo, PointPrompts.of(np.zeros((0, 2))), confidence, support(0.3))
    assert len(none.negatives) == 0 and len(none.positives) == 1
