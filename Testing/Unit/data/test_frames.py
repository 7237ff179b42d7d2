"""Between slice pixels and model pixels: points, images, masks and logits all move alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from FewShotSAMLib.data.frames import OUTSIDE_LOGIT, SliceFrame
from FewShotSAMLib.data.slicing import FieldOfView, whole_field


@st.composite
def frames(draw):
    shape = (draw(st.integers(24, 90)), draw(st.integers(24, 90)))
    spacing = (draw(st.floats(0.5, 4.0)), draw(st.floats(0.5, 4.0)))
    whole = whole_field(shape, spacing)
    share = st.floats(-0.1, 0.1)
    field = FieldOfView(
        (
            whole.centre_mm[0] + draw(share) * whole.side_mm,
            whole.centre_mm[1] + draw(share) * whole.side_mm,
        ),
        whole.side_mm * draw(st.floats(0.8, 1.2)),
    )
    return SliceFrame(shape, spacing, field, draw(st.sampled_from((32, 64, 100))))


def disc(shape, centre, radii) -> torch.Tensor:
    y, x = np.mgrid[: shape[0], : shape[1]]
    inside = ((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2 <= 1
    return torch.from_numpy(inside)[None]


def centroid(image: torch.Tensor) -> np.ndarray:
    image = image.double().numpy()
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    return np.array([(x * image).sum(), (y * image).sum()]) / image.sum()


@settings(max_examples=100, deadline=None)
@given(frames(), st.lists(st.tuples(st.floats(-50, 150), st.floats(-50, 150)), min_size=1))
def test_points_round_trip(frame, points):
    points = np.array(points)
    np.testing.assert_allclose(frame.to_slice(frame.to_model(points)), points, atol=1e-8)


def test_the_whole_square_field_fills_the_model():
    frame = SliceFrame((100, 100), (2.0, 2.0), whole_field((100, 100), (2.0, 2.0)), 50)
    np.testing.assert_allclose(frame.to_model([[-0.5, -0.5]]), [[-0.5, -0.5]])
    np.testing.assert_allclose(frame.to_model([[99.5, 99.5]]), [[49.5, 49.5]])
    np.testing.assert_allclose(frame.to_model([[0.5, 2.5]]), [[0, 1]])


@settings(max_examples=40, deadline=None)
@given(frames(), st.floats(0.35, 0.65), st.floats(0.35, 0.65))
def test_a_bright_pixel_lands_where_its_point_does(frame, x, y):
    height, width = frame.shape
    x, y = round(x * (width - 1)), round(y * (height - 1))
    # A blob: one pixel alone has no place finer than a model pixel.
    image = torch.zeros(1, 1, height, width)
    image[0, 0, y - 3 : y + 4, x - 3 : x + 4] = 1.0
    expected = frame.to_model([[x, y]])[0]
    np.testing.assert_allclose(centroid(frame.images_to_model(image)[0, 0]), expected, atol=0.25)
    # A blob within one model pixel has no place finer than that: it may lie at either of its ends.
    pixel = frame.field.side_mm / frame.size
    within = max(0.0, 1 - 7 * min(frame.spacing) / pixel) / 2
    np.testing.assert_allclose(
        centroid(frame.masks_to_model(image > 0)[0, 0]), expected, atol=max(0.15, within + 0.01)
    )


@pytest.mark.parametrize("size", [64, 256])
def test_the_brightest_model_pixel_is_the_nearest_to_the_point(size):
    frame = SliceFrame((80, 60), (1.5, 2.5), FieldOfView((50.0, 100.0), 210.0), size)
    for x, y in ((5, 7), (30, 40), (58, 77)):
        image = torch.zeros(1, 1, 80, 60)
        image[0, 0, y, x] = 1.0
        model = frame.images_to_model(image)[0, 0]
        row, column = np.unravel_index(int(model.argmax()), model.shape)
        assert np.abs(frame.to_model([[x, y]])[0] - (column, row)).max() <= 0.5 + 1e-6


@settings(max_examples=40, deadline=None)
@given(frames())
def test_a_mask_survives_the_way_to_the_model_and_back(frame):
    height, width = frame.shape
    scale = [frame.field.side_mm / frame.size / step for step in frame.spacing]
    radii = [max(5.5, 4 * s) for s in scale]
    if radii[0] > 0.35 * width or radii[1] > 0.35 * height:
        return
    mask = disc(frame.shape, ((width - 1) / 2, (height - 1) / 2), radii)
    coverage = frame.masks_to_model(mask)
    back = frame.logits_to_slice(coverage - 0.5)[:, 0] > 0
    dice = 2 * (mask & back).sum() / (mask.sum() + back.sum())
    assert dice > 0.94
    if max(scale) <= 1:
        assert dice > 0.97


@pytest.mark.parametrize("pixels", [256, 512])
@pytest.mark.parametrize("radius", [6, 15, 60])
def test_objects_above_ten_pixels_keep_dice_097_through_256(pixels, radius):
    shape = (pixels, pixels)
    frame = SliceFrame(shape, (1.0, 1.0), whole_field(shape, (1.0, 1.0)), 256)
    mask = disc(shape, (100.3, 120.7), (radius, radius * 1.3))
    back = frame.logits_to_slice(frame.masks_to_model(mask) - 0.5)[:, 0] > 0
    assert 2 * (mask & back).sum() / (mask.sum() + back.sum()) > 0.97


@settings(max_examples=40, deadline=None)
@given(frames())
def test_coverage_keeps_the_area_inside_of_the_field(frame):
    height, width = frame.shape
    mask = disc(frame.shape, ((width - 1) / 2, (height - 1) / 2), (width / 6, height / 6))
    coverage = frame.masks_to_model(mask)
    assert coverage.min() >= 0 and coverage.max() <= 1 + 1e-6
    pixel = (frame.field.side_mm / frame.size) ** 2
    area = mask.sum().item() * frame.spacing[0] * frame.spacing[1]
    assert coverage.sum().item() * pixel == pytest.approx(area, rel=1e-4)


def test_constant_images_stay_constant_inside_and_are_zero_outside():
    frame = SliceFrame((40, 30), (1.0, 1.0), FieldOfView((14.5, 19.5), 60.0), 120)
    model = frame.images_to_model(torch.full((2, 3, 40, 30), 0.7))
    assert model.shape == (2, 3, 120, 120)
    inside = torch.zeros(120, 120, dtype=torch.bool)
    inside[20:100, 30:90] = True
    torch.testing.assert_close(model[..., inside], torch.full_like(model[..., inside], 0.7))
    assert (model[..., ~inside] == 0).all()


@pytest.mark.parametrize("resolution", [16, 64, 256])
def test_logits_of_any_resolution_come_back_and_are_minus_20_outside(resolution):
    frame = SliceFrame((50, 80), (1.0, 1.0), FieldOfView((40.0, 25.0), 40.0), 64)
    logits = torch.full((2, 3, resolution, resolution), 5.0)
    back = frame.logits_to_slice(logits)
    assert back.shape == (2, 3, 50, 80)
    inside = torch.zeros(50, 80, dtype=torch.bool)
    inside[5:46, 20:61] = True
    assert (back[..., ~inside] == OUTSIDE_LOGIT).all()
    torch.testing.assert_close(back[..., inside], torch.full_like(back[..., inside], 5.0))


def test_a_gradient_is_read_at_the_right_place():
    frame = SliceFrame((64, 64), (1.0, 2.0), whole_field((64, 64), (1.0, 2.0)), 128)
    x = torch.arange(128.0).expand(128, 128)
    back = frame.logits_to_slice(torch.stack((x, x.T))[None])[0].numpy()
    rows, columns = np.mgrid[2:62, 2:62]
    points = np.stack((columns.ravel(), rows.ravel()), axis=1)
    expected = frame.to_model(points)
    np.testing.assert_allclose(back[0, 2:62, 2:62].ravel(), expected[:, 0], atol=1e-3)
    np.testing.assert_allclose(back[1, 2:62, 2:62].ravel(), expected[:, 1], atol=1e-3)


def test_shrinking_averages_instead_of_picking():
    image = torch.zeros(1, 1, 256, 256)
    image[..., ::2, :] = 1.0
    frame = SliceFrame((256, 256), (1.0, 1.0), whole_field((256, 256), (1.0, 1.0)), 64)
    model = frame.images_to_model(image)[0, 0, 2:-2]
    assert model.min() > 0.4 and model.max() < 0.6


def test_other_slices_are_refused():
    frame = SliceFrame((40, 30), (1.0, 1.0), FieldOfView((14.5, 19.5), 60.0), 120)
    with pytest.raises(ValueError, match="do not have slices"):
        frame.images_to_model(torch.zeros(1, 1, 30, 40))


def test_gradients_flow_even_where_the_first_use_needed_none():
    frame = SliceFrame((31, 37), (1.0, 1.3), FieldOfView((15.0, 20.0), 41.0), 48)
    image = torch.rand(1, 1, 31, 37)
    with torch.inference_mode():
        frame.images_to_model(image)
    image.requires_grad_()
    frame.images_to_model(image).sum().backward()
    assert image.grad.sum() > 0


def test_autocast_does_not_blur_the_mapping():
    frame = SliceFrame((64, 64), (1.0, 1.0), FieldOfView((30.0, 33.0), 55.0), 96)
    image = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    plain = frame.images_to_model(image)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = frame.images_to_model(image)
    assert torch.equal(plain, mixed)
