"""Prototypes without enlarging features equal those of enlarged features."""

from __future__ import annotations

import fob_literal as literal
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from FewShotSAMLib.prompting.pooling import heat_maps, pool_masks, pool_points


def features(seed: int, *size: int) -> torch.Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    "point", [(128, 90), (0, 0), (255, 255), (5, 250), (11, 12), (12, 13), (100.4, 99.5), (-1, 3),
              (3, 256), (255.4, 7), (255.5, 7)],
)
def test_heat_maps(point):
    fast = heat_maps(torch.tensor([point], dtype=torch.float32), 256)[0]
    slow = literal.heat_map(np.array(point), 256)
    assert np.abs(fast.numpy() - slow).max() < 1e-6
    inside = all(0 <= np.floor(v + 0.5) < 256 for v in point)
    assert slow.max() == (1.0 if inside else 0.0)


def test_a_window_is_25_pixels_wide():
    large = heat_maps(torch.tensor([[60, 60]]), 128)[0] > 0
    assert (int(large.any(0).sum()), int(large.any(1).sum()), int(large.sum())) == (25, 25, 625)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(2, 12), st.integers(2, 12), st.integers(1, 5),
       st.integers(1, 4))
def test_points_and_masks_are_pooled_as_described(seed, height, width, larger, batch):
    side = max(height, width) * larger
    rng = np.random.default_rng(seed)
    maps = features(seed % 1000, batch, 3, height, width)
    places = rng.integers(-2, side + 2, (batch, 4, 2))
    masks = (rng.random((batch, side, side)) < rng.random()).astype(np.float32)
    fast = pool_points(maps, torch.from_numpy(places), side)
    fast_masks = pool_masks(maps, torch.from_numpy(masks))
    for row in range(batch):
        slow = literal.point_prototypes(maps[row].double(), places[row], side)
        assert (fast[row] - slow).abs().max() < 1e-5
        slow = literal.prototype(literal.enlarged(maps[row].double(), side), masks[row])
        assert (fast_masks[row] - slow).abs().max() < 1e-5


def test_full_size():
    maps = features(1, 512, 64, 64)
    places = np.random.default_rng(0).integers(0, 256, (10, 2))
    fast = pool_points(maps[None], torch.from_numpy(places)[None], 256)[0]
    assert (fast - literal.point_prototypes(maps, places, 256)).abs().max() < 1e-5
    mask = np.zeros((256, 256), np.float32)
    mask[100:140, 60:160] = 1
    slow = literal.prototype(literal.enlarged(maps, 256), mask)
    assert (pool_masks(maps[None], torch.from_numpy(mask)[None])[0] - slow).abs().max() < 1e-5


def test_an_empty_mask_and_a_point_outside_give_zeros():
    maps = features(2, 2, 3, 4, 4)
    assert pool_masks(maps, torch.zeros(2, 16, 16)).abs().max() == 0
    assert pool_points(maps, torch.full((2, 1, 2), 16.0), 16).abs().max() == 0


def test_gradients_reach_the_features():
    maps = features(3, 1, 3, 4, 4).requires_grad_()
    with torch.inference_mode():  # a first use in inference must not spoil later ones
        pool_points(maps.detach(), torch.tensor([[[5, 6]]]), 20)
    (pool_points(maps, torch.tensor([[[5, 6]]]), 20).sum()
     + pool_masks(maps, torch.ones(1, 20, 20)).sum()).backward()
    assert maps.grad.abs().max() > 0
