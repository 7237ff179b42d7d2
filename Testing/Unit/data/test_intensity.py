"""Which modality a volume is, and how its values become grey levels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from FewShotSAMLib.data.errors import InputError
from FewShotSAMLib.data.intensity import (
    IntensityRange,
    detect_modality,
    intensity_range,
    normalise,
)
from FewShotSAMLib.data.reading import read_volume
from FewShotSAMLib.data.volume import Volume


def ct(rng: np.random.Generator, shape=(20, 64, 64)) -> np.ndarray:
    """Hounsfield units of a round body with fat, organs, some bone and air outside."""
    z, y, x = np.indices(shape)
    radius = np.hypot((y - shape[1] / 2) / 22, (x - shape[2] / 2) / 28)
    texture = ndimage.gaussian_filter(rng.normal(size=shape), 2)
    values = np.where(radius < 1, 45 + 300 * texture, -1000)
    values = np.where((radius < 1) & (radius > 0.85), -100, values)
    values = np.where(np.hypot(y - 40, x - 32) < 3, 500, values)
    return np.rint(values + rng.normal(0, 8, shape)).astype(np.int16)


def scanner_circle(values: np.ndarray, padding: int) -> np.ndarray:
    y, x = np.indices(values.shape[1:])
    outside = np.hypot(y - 32, x - 32) > 31
    return np.where(outside, padding, values).astype(np.int16)


CTS = {
    "as stored": lambda v: v,
    "float": lambda v: v.astype(np.float32),
    "int32": lambda v: v.astype(np.int32),
    "double": lambda v: v.astype(np.float64),
    "padding -2000": lambda v: scanner_circle(v, -2000),
    "padding -3024": lambda v: scanner_circle(v, -3024),
    "padding -1024": lambda v: scanner_circle(v, -1024),
    "padding -32768": lambda v: scanner_circle(v, -32768),
    "float with NaN padding": lambda v: np.where(scanner_circle(v, -2000) == -2000, np.nan, v),
    "resampled": lambda v: ndimage.zoom(v.astype(np.float32), 0.9, order=1),
    "cropped in the body": lambda v: v[:, 18:46, 14:50],
    "cropped, float": lambda v: v[:, 18:46, 14:50].astype(np.float32),
    "one slice": lambda v: v[:1],
    "metal": lambda v: np.where(np.indices(v.shape)[2] == 33, 3071, v),
}


@pytest.mark.parametrize("how", CTS)
def test_ct_is_recognised(how):
    values = CTS[how](ct(np.random.default_rng(0)))
    assert detect_modality(values) == "CT"


def mr(rng: np.random.Generator) -> np.ndarray:
    body = ct(rng) > -500
    texture = ndimage.gaussian_filter(rng.normal(size=body.shape), 2)
    return np.where(body, 300 + 900 * texture, 0) + np.abs(rng.normal(0, 15, body.shape))


OTHERS = {
    "unsigned": lambda v, r: v.astype(np.uint16),
    "signed": lambda v, r: v.astype(np.int16),
    "float": lambda v, r: v,
    "z-scored": lambda v, r: (v - v.mean()) / v.std(),
    "z-scored, whole numbers": lambda v, r: np.rint((v - v.mean()) / v.std() * 10),
    "bytes": lambda v, r: (v / v.max() * 255).astype(np.uint8),
    "overshoot of a filter": lambda v, r: np.rint(v - 12).astype(np.int16),
    "phase": lambda v, r: r.integers(-4096, 4096, v.shape).astype(np.int16),
    "z-scored times 1000": lambda v, r: np.rint((v - v.mean()) / v.std() * 1000),
    "large values": lambda v, r: np.rint(v * 40 - 600).astype(np.int32),
    "binary": lambda v, r: v > 100,
}


@pytest.mark.parametrize("how", OTHERS)
def test_other_images_are_no_ct(how):
    rng = np.random.default_rng(0)
    assert detect_modality(OTHERS[how](mr(rng), rng)) == "MR"


def test_real_images_are_recognised(shared_data):
    assert read_volume(shared_data / "abdomen_ct" / "ct.nii.gz").modality == "CT"
    for file in sorted((shared_data / "abdomen_mr").glob("image_*.nii.gz")):
        assert read_volume(file).modality == "MR"
    assert read_volume(shared_data / "robustness" / "oblique_mr_dicom").modality == "MR"
    assert read_volume(shared_data / "robustness" / "big_endian.nii").modality == "MR"
    assert read_volume(shared_data / "robustness" / "rgb.nii.gz").modality == "RGB"
    assert read_volume(shared_data / "ultrasound_2d" / "images" / "0000.png").modality == "other"


def test_a_real_ct_cropped_or_padded_stays_a_ct(shared_data):
    values = read_volume(shared_data / "abdomen_ct" / "ct.nii.gz").voxels
    assert detect_modality(values[40:90, 35:75, 40:90].astype(np.float32)) == "CT"
    padded = np.pad(values, ((0, 0), (40, 40), (40, 40)), constant_values=-2048)
    assert detect_modality(padded) == "CT"
    assert detect_modality(ndimage.gaussian_filter(values.astype(np.float32), 1)) == "CT"
    for k in (5, 50, 100):
        assert detect_modality(values[k : k + 1]) == "CT"


def test_ct_range_is_the_papers_window_unless_given():
    volume = Volume(ct(np.random.default_rng(0)), modality="CT")
    assert intensity_range(volume) == IntensityRange(-125.0, 275.0, "CT window")
    assert intensity_range(volume, (-1000, 400)) == IntensityRange(-1000, 400, "given window")


@pytest.mark.parametrize("background", [0, 300])
def test_mr_range_ignores_how_much_background_there_is(background):
    rng = np.random.default_rng(0)
    tissue = rng.normal(500, 100, (10, 40, 40))
    small = Volume(tissue, modality="MR")
    padded = Volume(np.pad(tissue, ((0, 0), (background,) * 2, (40, 40))), modality="MR")
    expected = np.percentile(tissue, (0.5, 99.5))
    for volume in (small, padded):
        found = intensity_range(volume)
        np.testing.assert_allclose((found.low, found.high), expected, atol=12)


def test_mr_range_ignores_a_few_extreme_voxels():
    values = np.random.default_rng(0).normal(500, 100, (10, 40, 40))
    values[0, 0, :5] = 60000
    assert intensity_range(Volume(values, modality="MR")).high < 900


def test_range_of_mostly_empty_images_is_still_a_range():
    values = np.zeros((4, 32, 32), np.int16)
    values[2, 5, 5] = 7
    found = intensity_range(Volume(values, modality="MR"))
    assert found.low < found.high
    assert normalise(values, found).max() == 1


def test_rgb_range_is_that_of_the_stored_type():
    pixels = np.random.default_rng(0).integers(10, 99, (1, 8, 8, 3))
    assert intensity_range(Volume(pixels.astype(np.uint8), modality="RGB")).high == 255
    assert intensity_range(Volume(pixels.astype(np.uint16), modality="RGB")).high == 65535


@pytest.mark.parametrize(
    "voxels",
    [np.zeros((3, 4, 5)), np.full((3, 4, 5), -1000), np.full((3, 4, 5), np.nan)],
    ids=["zeros", "air", "NaN"],
)
def test_images_without_content_are_refused(voxels):
    with pytest.raises(InputError, match=r"^empty\.nii: "):
        intensity_range(Volume(voxels, name="empty.nii"))


def test_a_window_the_wrong_way_round_is_refused():
    volume = Volume(ct(np.random.default_rng(0)))
    for window in ((275, -125), (5, 5), (0, float("nan"))):
        with pytest.raises(InputError, match="window"):
            intensity_range(volume, window)


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.uint16, np.int32, np.float32, np.float64])
def test_normalise_maps_low_to_black_and_high_to_white(dtype):
    values = np.array([[[0, 20, 40, 60, 100]]], dtype)
    grey = normalise(values, IntensityRange(20, 60, "given window"))
    assert grey.dtype == np.float32
    np.testing.assert_allclose(grey, [[[0, 0, 0.5, 1, 1]]], atol=1e-6)
    np.testing.assert_array_equal(values, np.array([[[0, 20, 40, 60, 100]]], dtype))


def test_normalise_makes_what_is_no_number_black():
    values = np.array([[[np.nan, np.inf, -np.inf, 50.0]]])
    grey = normalise(values, IntensityRange(0, 100, "given window"))
    np.testing.assert_allclose(grey, [[[0, 0, 0, 0.5]]])


def test_statistics_leave_out_what_is_no_number():
    values = np.random.default_rng(0).normal(500, 100, (10, 40, 40))
    clean = intensity_range(Volume(values, modality="MR"))
    values[::2, :20] = np.nan
    values[1, 1, 1] = np.inf
    found = intensity_range(Volume(values, modality="MR"))
    np.testing.assert_allclose((found.low, found.high), (clean.low, clean.high), atol=15)


def test_batches_of_slices_give_the_same_as_the_whole():
    values = ct(np.random.default_rng(0))
    window = IntensityRange(-125, 275, "CT window")
    parts = [normalise(values[n : n + 7], window) for n in range(0, len(values), 7)]
    np.testing.assert_array_equal(np.concatenate(parts), normalise(values, window))
