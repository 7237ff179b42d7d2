"""Prompts drawn into maps, against a literal evaluation with loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from FewShotSAMLib.models.embedded_network import PROMPT_MAPS, draw_prompts

NAN = float("nan")
SIDE, STRIDE = 12, 4  # of the feature grid; pictures have 48 pixels a side
PIXELS = SIDE * STRIDE

pixel = st.floats(-10, PIXELS + 10, allow_nan=False, width=32)
point = st.tuples(pixel, pixel, st.sampled_from([1, 0, -1]))


def features(count: int = 1, channels: int = 5, seed: int = 0) -> torch.Tensor:
    return torch.randn(
        count, channels, SIDE, SIDE, generator=torch.Generator().manual_seed(seed)
    )


def unit(vectors: np.ndarray) -> np.ndarray:
    """(C, h, w) with unit columns."""
    return vectors / np.linalg.norm(vectors, axis=0)


def cell(value: float) -> float:
    """Picture pixel to feature cell, both with centres at integers."""
    return (value + 0.5) / STRIDE - 0.5


def read_at(vectors: np.ndarray, x: float, y: float) -> np.ndarray:
    """Bilinear reading of (C, h, w); beyond the edge the edge's value."""
    x = min(max(cell(x), 0.0), SIDE - 1.0)
    y = min(max(cell(y), 0.0), SIDE - 1.0)
    x0, y0 = min(int(x), SIDE - 2), min(int(y), SIDE - 2)
    fx, fy = x - x0, y - y0
    return (
        vectors[:, y0, x0] * (1 - fx) * (1 - fy)
        + vectors[:, y0, x0 + 1] * fx * (1 - fy)
        + vectors[:, y0 + 1, x0] * (1 - fx) * fy
        + vectors[:, y0 + 1, x0 + 1] * fx * fy
    )


def literal_points(matching: np.ndarray, points: list[tuple[float, float, int]]) -> np.ndarray:
    """The first six maps: Gaussians of positives and negatives in two widths, similarities."""
    directions = unit(matching)
    maps = np.zeros((6, SIDE, SIDE))
    for n, kind in enumerate((1, 0)):
        chosen = [(x, y) for x, y, label in points if label == kind]
        for row in range(SIDE):
            for column in range(SIDE):
                for m, sigma in enumerate((1.2, 4.0 * SIDE / 64)):
                    total = sum(
                        math.exp(
                            -0.5 * ((column - cell(x)) ** 2 + (row - cell(y)) ** 2) / sigma**2
                        )
                        for x, y in chosen
                    )
                    maps[2 * n + m, row, column] = min(total, 1.5)
                if chosen:
                    mean = np.mean([read_at(directions, x, y) for x, y in chosen], axis=0)
                    maps[4 + n, row, column] = directions[:, row, column] @ mean
    return maps


def draw(matching: torch.Tensor, points=((),), **others) -> np.ndarray:
    """Maps of prompts given as one list of (x, y, label) per picture."""
    most = max(len(row) for row in points)
    places = torch.full((len(points), most, 2), 7.0)
    labels = torch.full((len(points), most), -1)
    for n, row in enumerate(points):
        for m, (x, y, label) in enumerate(row):
            places[n, m] = torch.tensor([x, y])
            labels[n, m] = label
    return draw_prompts(matching, places, labels, stride=STRIDE, **others).numpy()


@settings(max_examples=30, deadline=None)
@given(points=st.lists(point, max_size=5), seed=st.integers(0, 3))
def test_points_are_drawn_where_they_are(points, seed):
    matching = features(seed=seed)
    maps = draw(matching, [points])[0]
    assert maps.shape == (PROMPT_MAPS, SIDE, SIDE)
    assert np.allclose(maps[:6], literal_points(matching[0].numpy(), points), atol=1e-4)
    assert not maps[6:].any(), "no box, mask or confidence was given"


@given(column=st.integers(0, SIDE - 1), row=st.integers(0, SIDE - 1), label=st.sampled_from([0, 1]))
@settings(max_examples=20, deadline=None)
def test_a_points_cell_is_its_maps_peak(column, row, label):
    """The middle of cell (column, row) lies at pixel 4 * column + 1.5."""
    maps = draw(features(), [[(STRIDE * column + 1.5, STRIDE * row + 1.5, label)]])[0]
    own, other = (maps[0], maps[2]) if label else (maps[2], maps[0])
    assert np.unravel_index(own.argmax(), own.shape) == (row, column)
    assert own.max() == pytest.approx(1)
    assert not other.any()
    similarity = maps[4 if label else 5]
    assert similarity[row, column] == pytest.approx(1, abs=1e-5)
    assert similarity.max() <= 1 + 1e-5


@settings(max_examples=20, deadline=None)
@given(
    points=st.lists(point, min_size=1, max_size=3),
    padding=st.lists(st.tuples(pixel, pixel), min_size=1, max_size=4),
)
def test_padding_says_nothing(points, padding):
    matching = features()
    alone = draw(matching, [points])
    padded = draw(matching, [[*points, *((x, y, -1) for x, y in padding)]])
    assert np.allclose(alone, padded, atol=1e-6)


@pytest.mark.parametrize("far", [-1e9, -1e4, 1e4, 1e9])
def test_points_off_the_picture_do_no_harm(far):
    maps = draw(features(), [[(far, 20.0, 1), (20.0, far, 0)]])
    assert np.isfinite(maps).all()
    assert not maps[0, :4].any()


def test_no_points_at_all():
    maps = draw_prompts(features(2), torch.zeros(2, 0, 2), torch.zeros(2, 0, dtype=torch.long))
    assert maps.shape == (2, PROMPT_MAPS, SIDE, SIDE)
    assert not maps.any()


edge = st.floats(-8, PIXELS + 8, width=32).map(lambda v: round(v * 8) / 8 + 1 / 16)


@settings(max_examples=40, deadline=None)
@given(x0=edge, y0=edge, x1=edge, y1=edge)
def test_boxes_hold_the_cells_whose_middles_they_hold(x0, y0, x1, y1):
    x0, x1, y0, y1 = min(x0, x1), max(x0, x1), min(y0, y1), max(y0, y1)
    maps = draw(features(), boxes=torch.tensor([[x0, y0, x1, y1]]))[0]
    for row in range(SIDE):
        for column in range(SIDE):
            x, y = STRIDE * column + 1.5, STRIDE * row + 1.5
            expected = 1 if x0 <= x <= x1 and y0 <= y <= y1 else -1
            assert maps[6, row, column] == expected, (row, column)


@pytest.mark.parametrize("size", [SIDE, 2 * SIDE, 4 * SIDE, SIDE // 2])
def test_masks_of_any_resolution(size):
    """Constant over each cell, so that shrinking and stretching are both exact in the middle."""
    matching = features()
    logits = torch.full((1, 1, size, size), -6.0)
    logits[..., size // 3 :, : size // 2] = 5.0
    maps = draw(matching, masks=logits)[0]
    if size >= SIDE:
        step = size // SIDE
        small = logits[0, 0].reshape(SIDE, step, SIDE, step).mean((1, 3)).numpy()
        share = 1 / (1 + np.exp(-small))
        assert np.allclose(maps[7], 2 * share - 1, atol=1e-5)
        directions = unit(matching[0].numpy())
        mean = (directions * share).sum((1, 2)) / share.sum()
        assert np.allclose(maps[9], np.einsum("chw,c->hw", directions, mean), atol=1e-4)
    assert (maps[8] == 1).all()
    assert maps[7, SIDE - 1, 0] > 0.9 and maps[7, 0, SIDE - 1] < -0.9
    assert not maps[:7].any() and not maps[10:].any()


def test_confidence_is_kept_and_scaled():
    score = torch.rand(1, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1)) * 0.4 - 0.1
    maps = draw(features(), confidence=score)[0]
    assert np.allclose(maps[10], score[0, 0].numpy(), atol=1e-6)
    assert np.allclose(maps[11], (score / score.max())[0, 0].numpy(), atol=1e-5)
    assert (maps[12] == 1).all()


def test_a_hopeless_confidence_is_not_blown_up():
    maps = draw(features(), confidence=torch.full((1, 1, SIDE, SIDE), 1e-4))[0]
    assert maps[11].max() < 0.01


def test_nan_means_none():
    """In a batch, rows without a box, mask or confidence map look as if none had been there."""
    matching = features(2)
    boxes = torch.tensor([[4.0, 4.0, 30.0, 30.0], [NAN] * 4])
    masks = torch.ones(2, 1, SIDE, SIDE)
    confidence = torch.ones(2, 1, SIDE, SIDE)
    masks[0], confidence[1] = NAN, NAN
    points = [[(5.0, 9.0, 1)], [(30.0, 9.0, 0)]]
    both = draw(matching, points, boxes=boxes, masks=masks, confidence=confidence)
    assert np.isfinite(both).all()
    first = draw(matching[:1], points[:1], boxes=boxes[:1], confidence=confidence[:1])[0]
    second = draw(matching[1:], points[1:], masks=masks[1:])[0]
    assert np.allclose(both[0], first, atol=1e-6)
    assert np.allclose(both[1], second, atol=1e-6)


def test_rows_do_not_touch_each_other():
    matching = features(3)
    points = [[(5.0, 9.0, 1)], [(30.0, 9.0, 0), (1.0, 40.0, 1)], []]
    together = draw(matching, points)
    for n, row in enumerate(points):
        assert np.allclose(together[n], draw(matching[n : n + 1], [row])[0], atol=1e-5)
