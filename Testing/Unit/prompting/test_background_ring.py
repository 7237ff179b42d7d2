"""The ring of background points against its description: dilations, OpenCV's contours, arcs."""

from __future__ import annotations

import math

import fob_literal as literal
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from FewShotSAMLib.prompting.background_ring import contour_points, in_order, ring, ring_points

SIDE = 64


def disc(x: float, y: float, radius: float, side: int = SIDE) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side]
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


def pixel(x: int, y: int, side: int = SIDE) -> np.ndarray:
    mask = np.zeros((side, side), bool)
    mask[y, x] = True
    return mask


def leaving(left: int, side: int = SIDE) -> np.ndarray:
    """All but the first columns."""
    mask = np.ones((side, side), bool)
    mask[:, :left] = False
    return mask


def blob(seed: int, side: int = SIDE) -> np.ndarray:
    """Ragged parts with holes, anywhere."""
    rng = np.random.default_rng(seed)
    width = rng.uniform(0.7, 6) * side / SIDE
    field = ndimage.gaussian_filter(rng.normal(size=(side, side)), width)
    return field > np.quantile(field, rng.uniform(0.5, 0.995))


MASKS = {
    "disc": disc(30, 33, 9),
    "one pixel": pixel(30, 20),
    "corner pixel": pixel(0, 0),
    "opposite corner": pixel(SIDE - 1, SIDE - 1),
    "touching the left border": disc(0, 30, 12),
    "touching the bottom": disc(40, SIDE - 1, 10),
    "over two borders": disc(SIDE, SIDE, 30),
    "two parts far away": disc(12, 12, 4) | disc(48, 50, 3),
    "two parts whose rings meet": disc(20, 30, 5) | disc(40, 30, 5),
    "equal parts far away": pixel(10, 10) | pixel(52, 52),
    "equal parts side by side": pixel(10, 30) | pixel(50, 30),
    "a large hole": disc(32, 32, 26) & ~disc(32, 32, 22),
    "a small hole": disc(32, 32, 12) & ~disc(32, 32, 3),
    "a part inside a hole": (disc(32, 32, 30) & ~disc(32, 32, 28)) | disc(32, 32, 2),
    "a stripe": np.repeat((np.arange(SIDE) == 31)[:, None], SIDE, 1),
    "a diagonal": np.eye(SIDE, dtype=bool),
    "all but nine columns": leaving(9),
    "all but eight columns": leaving(8),
}


def both(mask: np.ndarray, count: int = 10) -> tuple[np.ndarray | None, np.ndarray | None]:
    fast = ring_points(torch.from_numpy(mask.astype(np.float32)), count)
    return fast, literal.support_points(mask.astype(np.float64), count)


@pytest.mark.parametrize("name", MASKS)
def test_ring_is_the_difference_of_two_max_pools(name):
    mask = MASKS[name].astype(np.float32)
    assert np.array_equal(ring(torch.from_numpy(mask)).numpy(), literal.ring(mask))


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("count", [10, 3])
def test_points_are_those_of_the_description(name, count):
    fast, slow = both(MASKS[name], count)
    assert np.array_equal(fast, slow)
    assert fast.shape == (count, 2) and fast.dtype == np.int64


@pytest.mark.parametrize("seed", range(20))
def test_points_of_ragged_masks(seed):
    fast, slow = both(blob(seed))
    assert (fast is None and slow is None) or np.array_equal(fast, slow)


@pytest.mark.parametrize("seed", range(4))
def test_points_at_full_size(seed):
    fast, slow = both(blob(100 + seed, 256))
    assert fast is not None and np.array_equal(fast, slow)


@pytest.mark.parametrize("mask", [np.ones((SIDE, SIDE)), leaving(7), leaving(1),
                                  np.zeros((SIDE, SIDE))])
def test_no_ring(mask):
    """The mask is empty, or what is left of the picture is nearer than the ring."""
    assert both(mask) == (None, None)


def test_a_ring_of_one_pixel_is_a_contour_of_one_vertex():
    mask = np.zeros((SIDE, SIDE), bool)
    mask[8:, :] = mask[:, 8:] = True  # 8 x 8 pixels are left, one of them 8 away
    fast, slow = both(mask)
    assert np.array_equal(fast, slow)
    assert np.array_equal(fast, np.zeros((10, 2)))


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 2**32 - 1), st.integers(2, 24), st.floats(0.03, 0.9), st.integers(1, 12))
def test_contours_are_opencvs(seed, side, share, count):
    """On any band: single pixels, lines of one pixel, nested parts, parts of equal area."""
    rng = np.random.default_rng(seed)
    band = rng.random((side, side)) < share
    fast, vertices = contour_points(band, count), literal.outer_contour(band)
    if vertices is None:
        assert fast is None
    else:
        slow = literal.equal_arc_points(vertices, count)
        # With other numbers of points than ten, a point may lie in the middle of two pixels.
        assert np.array_equal(fast, slow) if count == 10 else np.abs(fast - slow).max() <= 1


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1))
def test_ring_points_lie_in_or_beside_the_ring(seed):
    """A contour's vertices are pixels of the ring, and so is what lies between two of them."""
    mask = blob(seed)
    points = ring_points(torch.from_numpy(mask.astype(np.float32)), 10)
    band = ring(torch.from_numpy(mask.astype(np.float32))).numpy() > 0
    if points is None:
        assert not band.any()
    else:
        assert band[points[:, 1], points[:, 0]].all()
        assert not mask[points[:, 1], points[:, 0]].any()


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(-8, 8), st.integers(-8, 8))
def test_a_shifted_mask_shifts_the_points(seed, dx, dy):
    middle = blob(seed, 30)
    assume(middle.any())
    base, moved = np.zeros((2, 80, 80), np.float32)
    base[25:55, 25:55] = middle
    moved[25 + dy : 55 + dy, 25 + dx : 55 + dx] = middle
    there = ring_points(torch.from_numpy(base), 10)
    assert np.array_equal(there + [dx, dy], ring_points(torch.from_numpy(moved), 10))


coordinates = st.tuples(st.integers(0, 255), st.integers(0, 255))


@settings(deadline=None)
@given(st.lists(coordinates, min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_order_is_a_permutation_that_hardly_depends_on_the_order_before(points, random):
    given_points = np.array(points)
    ordered = in_order(given_points)
    assert sorted(map(tuple, ordered)) == sorted(points)
    assert np.array_equal(ordered, given_points[literal.angle_order(given_points)])
    # Ties go by the order before: which point is leftmost, and which of two on one ray comes first.
    left = given_points[np.argmin(given_points[:, 0])]
    angles = {math.atan2(float(y - left[1]), float(x - left[0])) for x, y in points}
    if len(angles) == len(points) and (given_points[:, 0] == left[0]).sum() == 1:
        random.shuffle(points)
        assert np.array_equal(in_order(np.array(points)), ordered)
