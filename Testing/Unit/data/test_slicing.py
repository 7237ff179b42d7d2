"""Slices of a canonical volume, the axis that was drawn on, and the square around the body."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from FewShotSAMLib.data.errors import InputError
from FewShotSAMLib.data.intensity import IntensityRange, intensity_range, normalise
from FewShotSAMLib.data.reading import read_labels, read_volume
from FewShotSAMLib.data.slicing import (
    AXES,
    body_field,
    extract_slices,
    find_axis,
    put_slices,
    slice_spacing,
    volume_field,
    whole_field,
)
from FewShotSAMLib.data.volume import Volume

ISO = (1.0, 1.0, 1.0)


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("channels", [(), (3,)])
def test_put_slices_inverts_extract_slices_without_copying(axis, channels):
    voxels = np.random.default_rng(0).random((4, 5, 6, *channels))
    stack = extract_slices(voxels, axis)
    assert np.shares_memory(stack, voxels)
    np.testing.assert_array_equal(put_slices(stack, axis), voxels)


def test_slices_are_shown_with_anterior_or_superior_at_the_top():
    superior, anterior, right = np.zeros((3, 4, 5, 6))
    superior[-1], anterior[:, 0], right[:, :, 0] = 1, 1, 1
    assert extract_slices(anterior, "axial")[:, 0].all()
    assert extract_slices(right, "axial")[:, :, 0].all()
    assert extract_slices(superior, "coronal")[:, 0].all()
    assert extract_slices(right, "coronal")[:, :, 0].all()
    assert extract_slices(superior, "sagittal")[:, 0].all()
    assert extract_slices(anterior, "sagittal")[:, :, 0].all()
    assert [extract_slices(right, axis).shape for axis in AXES] == [
        (4, 5, 6),
        (5, 4, 6),
        (6, 4, 5),
    ]


def test_slice_spacing_follows_the_slices_axes():
    spacing = (1.0, 2.0, 3.0)
    assert slice_spacing(spacing, "axial") == (1, 2, 3)
    assert slice_spacing(spacing, "coronal") == (1, 3, 2)
    assert slice_spacing(spacing, "sagittal") == (2, 3, 1)


@pytest.mark.parametrize("function", [lambda a: extract_slices(np.zeros((2, 2, 2)), a)])
def test_unknown_axis_is_refused(function):
    with pytest.raises(InputError, match="'oblique' is unknown; use one of axial"):
        function("oblique")


def ball(shape=(40, 40, 40), centre=(20, 20, 20), radii=(12, 12, 12)):
    grid = np.indices(shape)
    return sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radii)) <= 1


def drawn_on(organ: np.ndarray, axis: str, keep) -> np.ndarray:
    mask = np.zeros_like(organ)
    extract_slices(mask, axis)[keep] = extract_slices(organ, axis)[keep]
    return mask


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize(
    "keep",
    [[20], [19, 20, 21], [10, 15, 20, 25, 30], [9, 31], [18, 20, 22], [10, 11, 20, 21]],
    ids=str,
)
@pytest.mark.parametrize("spacing", [ISO, (0.7, 0.7, 5.0), (4.0, 1.0, 1.0)])
def test_find_axis_sees_on_which_slices_a_person_drew(axis, keep, spacing):
    assert find_axis(drawn_on(ball(), axis, keep), spacing) == axis


@pytest.mark.parametrize("axis", AXES)
def test_find_axis_with_two_organs_apart_on_one_slice(axis):
    organs = ball(radii=(8, 5, 5), centre=(20, 9, 9)) | ball(radii=(8, 5, 5), centre=(20, 30, 30))
    organs |= ball(radii=(5, 5, 5), centre=(12, 20, 12))
    keep = int(np.argmax(extract_slices(organs, axis).sum(axis=(1, 2))))
    assert find_axis(drawn_on(organs, axis, [keep]), ISO) == axis


@pytest.mark.parametrize(
    ("spacing", "axis"),
    [
        (ISO, "axial"),
        ((1.0, 1.0, 5.0), "axial"),
        ((1.0, 5.0, 1.0), "coronal"),
        ((5.0, 1.0, 1.0), "sagittal"),
        ((1.0, 1.0, 0.98), "axial"),
    ],
)
def test_find_axis_of_a_whole_organ_is_the_thickest_spacing_then_axial(spacing, axis):
    assert find_axis(ball(), spacing) == axis
    # A vessel along k is no drawing on sagittal slices, however few of those it reaches.
    vessel = ball(radii=(300, 3, 3))
    assert find_axis(vessel, spacing) == axis
    kidneys = ball(radii=(12, 6, 5), centre=(20, 20, 8)) | ball(
        (40, 40, 40), (20, 20, 31), (9, 6, 5)
    )
    assert find_axis(kidneys, spacing) == axis


def test_find_axis_of_a_point_and_of_a_picture():
    point = np.zeros((9, 9, 9), bool)
    point[4, 4, 4] = True
    assert find_axis(point, ISO) == "axial"
    assert find_axis(point, (1.0, 3.0, 1.0)) == "coronal"
    line = np.zeros((30, 1, 40), bool)
    line[10, 0, 5:30] = True
    assert find_axis(line, (1.0, 1.0, 8.0)) == "coronal"


def test_find_axis_refuses_an_empty_mask():
    with pytest.raises(InputError, match="mask is empty"):
        find_axis(np.zeros((4, 5, 6)), ISO)


def test_find_axis_on_real_label_maps(shared_data):
    for number in (1, 5, 13):
        labels = read_labels(shared_data / "abdomen_mr" / f"label_{number}.nii.gz")
        canonical, _ = labels.canonical()
        for value in np.unique(canonical.voxels)[1:]:
            assert find_axis(canonical.voxels == value, canonical.spacing) == "axial"
    canonical, _ = read_labels(shared_data / "abdomen_ct" / "label.nii.gz").canonical()
    for value in np.unique(canonical.voxels)[1:]:
        assert find_axis(canonical.voxels == value, canonical.spacing) == "axial"


def phantom(kind: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Stored values (k, j, i) of a body of 60 x 44 pixels off the middle of 128 x 100, and where
    the body is."""
    shape = (20, 100, 128)
    body = ball(shape, (10, 40, 70), (60, 22, 30))
    texture = ndimage.gaussian_filter(rng.normal(size=shape), (1, 4, 4))
    texture /= texture.std()
    if kind == "CT":
        values = np.where(body, 40 + 40 * texture, -1000 + rng.normal(0, 10, shape))
        fat = body & ~ndimage.binary_erosion(body, np.ones((1, 5, 5)))
        values[fat] = -100
        values[:, 80:83, 20:110] = -150  # the table's shell
        values[:, 83:88, 20:110] = -800
    else:
        noise = np.abs(rng.normal(0, 20, shape)) if kind == "MR" else 0
        values = np.where(body, 400 + 120 * texture, 0) + noise
    return values.astype(np.int16), body


@pytest.mark.parametrize("kind", ["CT", "MR", "MR without noise"])
def test_body_field_is_one_square_around_the_body(kind):
    values, body = phantom(kind, np.random.default_rng(0))
    spacing = (2.0, 2.0, 5.0)
    volume = Volume(values, spacing, modality=kind[:2])
    intensity = intensity_range(volume)
    grey = normalise(values, intensity)
    rows, columns = body.any(axis=(0, 2)).nonzero()[0], body.any(axis=(0, 1)).nonzero()[0]
    for field in (body_field(grey, "axial", spacing), volume_field(volume, intensity, "axial")):
        centre = ((columns[0] + columns[-1]) / 2 * 2, (rows[0] + rows[-1]) / 2 * 2)
        width = (columns[-1] - columns[0] + 1) * 2
        np.testing.assert_allclose(field.centre_mm, centre, atol=8)
        assert width * 0.92 <= field.side_mm <= width * 1.12


def test_body_field_keeps_both_legs_and_leaves_specks_out():
    values = np.zeros((10, 80, 120), np.float32)
    values[:, 30:60, 10:40] = 0.8
    values[:, 30:60, 70:100] = 0.7
    values[3, 4:7, 112:115] = 1.0
    field = body_field(values, "axial", ISO)
    np.testing.assert_allclose(field.centre_mm, (54.5, 44.5), atol=1.5)
    assert field.side_mm == pytest.approx(90 * 1.04, abs=3)


@pytest.mark.parametrize("axis", AXES)
def test_body_field_of_a_cropped_volume_is_the_whole_slice(axis):
    rng = np.random.default_rng(0)
    values = ndimage.gaussian_filter(rng.normal(size=(30, 60, 80)), 4)
    values = (values - values.min()) / np.ptp(values)
    spacing = (1.0, 1.0, 2.0)
    stack = extract_slices(values, axis)
    expected = whole_field(stack.shape[1:], slice_spacing(spacing, axis)[:2])
    field = body_field(values.astype(np.float32), axis, spacing)
    assert field.side_mm >= 0.85 * expected.side_mm
    assert field.side_mm <= expected.side_mm


def test_body_field_of_nothing_is_the_whole_slice():
    field = body_field(np.zeros((4, 30, 50), np.float32), "axial", (2.0, 3.0, 1.0))
    assert field == whole_field((30, 50), (2.0, 3.0))
    assert field.side_mm == 100
    assert field.centre_mm == (49.0, 43.5)


def test_volume_field_agrees_with_the_exact_one_on_real_volumes(shared_data):
    for name in ("abdomen_ct/ct.nii.gz", "abdomen_mr/image_5.nii.gz", "orientation/RSP.nii.gz"):
        volume, _ = read_volume(shared_data / name).canonical()
        intensity = intensity_range(volume)
        grey = normalise(volume.voxels, intensity)
        for axis in AXES:
            exact, quick = (
                body_field(grey, axis, volume.spacing),
                volume_field(volume, intensity, axis),
            )
            assert quick.side_mm == pytest.approx(exact.side_mm, rel=0.12)
            organs = shared_data / name.replace("ct.nii", "label.nii").replace("image", "label")
            if "abdomen" not in name:
                continue
            labels, _ = read_labels(organs, like=read_volume(shared_data / name)).canonical()
            stack = extract_slices(labels.voxels, axis)
            dx, dy, _ = slice_spacing(volume.spacing, axis)
            for n, (step, line) in enumerate(
                ((dx, stack.any(axis=(0, 1))), (dy, stack.any(axis=(0, 2))))
            ):
                marked = line.nonzero()[0] * step
                assert marked[0] >= quick.centre_mm[n] - quick.side_mm / 2
                assert marked[-1] <= quick.centre_mm[n] + quick.side_mm / 2


def test_rgb_has_a_field_too():
    values = np.zeros((1, 60, 90, 3), np.uint8)
    values[:, 20:40, 50:70] = (200, 30, 30)
    field = volume_field(Volume(values, modality="RGB"), IntensityRange(0, 255, "RGB"), "axial")
    np.testing.assert_allclose(field.centre_mm, (59.5, 29.5), atol=1)
    assert field.side_mm < 25
