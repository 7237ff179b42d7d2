"""Large displacements, found by trying them all."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from FewShotSAMLib.segmentation.finding.discrete import displacements

SHAPE = (20, 24, 28)


@pytest.fixture(scope="module")
def body() -> np.ndarray:
    """Two features, larger than what is looked at, so that it can be moved."""
    noise = np.random.default_rng(1).normal(size=(2, *(n + 16 for n in SHAPE)))
    soft = ndimage.gaussian_filter(noise, (0, 2, 2, 2))
    return (soft / soft.std()).astype(np.float32)


def part(body: np.ndarray, shift: tuple[int, ...]) -> torch.Tensor:
    rows = (slice(8 + s, 8 + s + n) for s, n in zip(shift, SHAPE, strict=True))
    return torch.from_numpy(np.ascontiguousarray(body[(slice(None), *rows)]))


@settings(max_examples=12, deadline=None)
@given(st.tuples(*[st.integers(-6, 6)] * 3))
def test_a_shift_is_found_however_large(body, one_thread, shift):
    """What lies at x in one volume lies at x + shift in the other."""
    found = displacements(part(body, shift), part(body, (0, 0, 0)))
    middle = found[:, 7:-7, 7:-7, 7:-7].flatten(1).median(1).values
    assert found.shape == (3, *SHAPE)
    assert middle.tolist() == pytest.approx(shift, abs=1.0)


def test_nothing_moves_where_both_are_alike(body, one_thread):
    one = part(body, (0, 0, 0))
    assert displacements(one, one).abs().max() < 0.1
    assert displacements(torch.zeros_like(one), torch.zeros_like(one)).abs().max() < 0.1


@settings(max_examples=20, deadline=None)
@given(st.tuples(*[st.integers(1, 9)] * 3))
def test_volumes_may_be_thin(size):
    one = torch.rand(2, *size, generator=torch.Generator().manual_seed(0))
    found = displacements(one, one.flip(1))
    assert found.shape == (3, *size) and torch.isfinite(found).all()
    assert all(found[axis].abs().max() < 0.1 for axis in range(3) if size[axis] == 1)
