"""Registration of neighbouring slices, carrying masks outwards, and the rule that ends it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from FewShotSAMLib.evaluation.metrics import dice
from FewShotSAMLib.evaluation.registration import carry_outwards, simpleitk_fields
from FewShotSAMLib.segmentation.presence import (
    PresenceParameters,
    learn_appearance,
    likeness,
    still_present,
)
from FewShotSAMLib.segmentation.registration import (
    NeighbourFields,
    RegistrationParameters,
    neighbour_fields,
    register,
    warp,
)


def picture(side: int, centre: tuple[float, float], radius: float) -> tuple[np.ndarray, np.ndarray]:
    """A bright soft disc at (x, y) in a body with slow shading, and the disc's mask."""
    y, x = np.mgrid[:side, :side]
    away = np.hypot(x - centre[0], y - centre[1])
    body = np.hypot(x - side / 2, y - side / 2) < 0.45 * side
    grey = 0.3 * body + 0.05 * np.sin(x / side * 7) * body
    grey = grey + 0.5 / (1 + np.exp((away - radius) / 0.7))
    return grey.astype(np.float32), away <= radius


def stack(moves: list[tuple[float, float, float]], side: int = 64) -> tuple[np.ndarray, np.ndarray]:
    pairs = [picture(side, (x, y), radius) for x, y, radius in moves]
    return np.stack([p[0] for p in pairs]), np.stack([p[1] for p in pairs])


def registered(
    grey: np.ndarray, parameters: RegistrationParameters | None = None
) -> NeighbourFields:
    return neighbour_fields(torch.from_numpy(grey), parameters)


MOVES = [(24, 30, 8), (26, 29, 9), (28, 30, 10), (30, 32, 10), (31, 34, 9), (31, 36, 8)]


@pytest.mark.parametrize("own", [True, False])
def test_a_moving_disc_is_followed(own: bool) -> None:
    grey, masks = stack(MOVES)
    fields = registered(grey) if own else simpleitk_fields(grey, shrink=1)
    carried = carry_outwards(fields, masks[2], 2, slices=len(grey))
    for index, mask in enumerate(masks):
        # ITK's stronger smoothing lags behind.
        assert dice(carried[index] > 0.5, mask) > (0.9 if own else 0.8)
    assert dice(masks[2], masks[5]) < 0.6  # standing still would fail


def test_displacement_points_from_target_to_source() -> None:
    grey, _ = stack([(26, 30, 10), (29, 30, 10)])  # the disc moves 3 pixels to the right
    field = register(*map(torch.from_numpy, (grey[1:], grey[:1])))[0]
    assert field.shape == (2, 64, 64)
    border = field[:, 30, 39]  # the disc's right border on the target
    assert border[0] == pytest.approx(-3, abs=0.7)
    assert border[1] == pytest.approx(0, abs=0.5)


def test_equal_slices_do_not_move() -> None:
    grey, masks = stack([MOVES[0]] * 3)
    fields = registered(grey)
    assert fields.upwards.abs().max() < 1e-3
    carried = carry_outwards(fields, masks[0], 0, slices=3)
    assert np.array_equal(carried[2] > 0.5, masks[0])


@settings(max_examples=15, deadline=None)
@given(dx=st.integers(-6, 6), dy=st.integers(-6, 6), factor=st.sampled_from([1, 2]))
def test_warp_reads_where_the_field_points(dx: int, dy: int, factor: int) -> None:
    maps = ndimage.gaussian_filter(np.random.default_rng(0).random((2, 32, 24)), (0, 2, 2))
    field = np.empty((2, 32 // factor, 24 // factor), np.float32)
    field[0], field[1] = dx / factor, dy / factor  # in pixels of the coarser field
    moved = warp(torch.from_numpy(maps), torch.from_numpy(field)).numpy()
    rows, columns = np.mgrid[:32, :24]
    expected = maps[:, np.clip(rows + dy, 0, 31), np.clip(columns + dx, 0, 23)]
    assert np.abs(moved - expected).max() < 1e-4


def test_large_slices_are_registered_small() -> None:
    grey = np.repeat(np.repeat(stack(MOVES[:2])[0], 4, axis=1), 4, axis=2)
    fields = registered(grey)
    assert fields.upwards.shape == (1, 2, 128, 128)
    assert fields.carry(torch.ones(3, 256, 256), 0, 1).shape == (3, 256, 256)


@pytest.mark.parametrize("shape", [(3, 65, 47), (2, 131, 259), (2, 1, 40), (1, 20, 20), (2, 3, 3)])
def test_odd_shapes(shape: tuple[int, int, int]) -> None:
    fields = registered(np.random.default_rng(0).random(shape, dtype=np.float32))
    assert len(fields.upwards) == shape[0] - 1
    if shape[0] > 1:
        moved = fields.carry(torch.ones(1, *shape[1:]), 0, 1)
        assert np.allclose(moved, 1, atol=1e-5)
        assert fields.upwards.isfinite().all()


def test_colour_slices_are_registered_by_grey() -> None:
    grey, _ = stack(MOVES[:2])
    colour = np.repeat(grey[..., None], 3, axis=-1)
    assert np.allclose(registered(colour).upwards, registered(grey).upwards, atol=1e-4)


def test_batches_do_not_change_the_result() -> None:
    grey, _ = stack(MOVES)
    alone = registered(grey, replace(RegistrationParameters(), pairs_at_once=1))
    assert np.allclose(alone.upwards, registered(grey).upwards, atol=1e-3)


def test_only_neighbours() -> None:
    fields = registered(stack(MOVES[:3])[0])
    with pytest.raises(ValueError, match="neighbours"):
        fields.between(0, 2)


def test_propagation_ends_where_it_is_told() -> None:
    grey, masks = stack(MOVES)
    carried = carry_outwards(
        registered(grey), masks[2], 2, slices=6, goes_on=lambda index, _: index != 4
    )
    assert carried[4:].max() == 0
    assert all(carried[index].max() > 0.5 for index in range(4))


def test_presence_ends_with_the_structure() -> None:
    """The disc is gone on the last two slices; what is left there is body."""
    moves = [*MOVES[:4], (300, 300, 5), (300, 300, 5)]
    grey, masks = stack(moves)
    grey = grey + np.random.default_rng(0).normal(0, 0.02, grey.shape).astype(np.float32)
    look = learn_appearance(grey[1:2], masks[1:2], grey)
    assert likeness(look, grey[1], masks[1]) == pytest.approx(1)
    assert likeness(look, grey[3], masks[3]) > 0.9
    assert likeness(look, grey[4], masks[3]) < 0
    assert [still_present(look, g, m) for g, m in zip(grey, [*masks[:4], masks[3], masks[3]],
            strict=True)] == [True] * 4 + [False] * 2  # fmt: skip


def test_presence_ends_with_collapsing_area() -> None:
    grey, masks = stack(MOVES)
    look = learn_appearance(grey[2:3], masks[2:3], grey)
    small = np.zeros_like(masks[2])
    small[29:33, 26:30] = True  # 16 pixels of right grey level, of about 317
    assert likeness(look, grey[2], small) > 0.8
    assert not still_present(look, grey[2], small)
    assert still_present(look, grey[2], small, PresenceParameters(area=0.04))
    assert not still_present(look, grey[2], small & False)
    assert np.isnan(likeness(look, grey[2], small & False))
    with pytest.raises(ValueError, match="empty"):
        learn_appearance(grey[:1], masks[:1] & False, grey)
