"""Masks with soft edges are cut at half where they are one structure, and refused where not."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from FewShotSAMLib.data.errors import InputError
from FewShotSAMLib.data.label_reading import read_labels
from FewShotSAMLib.data.soft_masks import cut_soft_mask

SHAPE = (5, 60, 64)


def ball(row: float = 30, column: float = 30, radius: float = 15) -> np.ndarray:
    k, j, i = np.indices(SHAPE)
    return (((k - 2) * 4) ** 2 + (j - row) ** 2 + (i - column) ** 2) <= radius**2


def smooth(mask: np.ndarray, sigma: float = 1.2, top: float = 255) -> np.ndarray:
    return ndimage.gaussian_filter(mask.astype(float), (0, sigma, sigma)) * top


def write(path, voxels: np.ndarray) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(voxels), str(path))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
@pytest.mark.parametrize("top", [100, 255])
def test_a_smoothed_volume_is_one_structure(tmp_path, dtype, top):
    soft = smooth(ball(), top=top).astype(dtype)
    write(tmp_path / "m.nii.gz", soft)
    labels = read_labels(tmp_path / "m.nii.gz")
    np.testing.assert_array_equal(labels.voxels, soft > top / 2)
    assert f"cut at {top / 2:g}" in labels.notes[0]


def test_a_resized_picture_is_one_structure(tmp_path):
    hard = Image.fromarray(ball()[2].astype(np.uint8) * 255)
    for n, how in enumerate((Image.Resampling.BILINEAR, Image.Resampling.LANCZOS)):
        soft = hard.resize((150, 140), how)
        for mode in ("L", "RGB"):
            path = tmp_path / f"{n}{mode}.png"
            soft.convert(mode).save(path)
            labels = read_labels(path)
            np.testing.assert_array_equal(labels.voxels[0], np.asarray(soft) > 127.5)


def test_an_antialiased_colour_is_one_structure(tmp_path):
    share = np.asarray(Image.fromarray(ball()[2].astype(np.uint8) * 255).resize((150, 140)))
    pixels = np.stack((share, share // 2, 0 * share), axis=-1).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "m.png")
    labels = read_labels(tmp_path / "m.png")
    assert [s.name for s in labels.segments.values()] == ["#ff7f00"]
    np.testing.assert_array_equal(labels.voxels[0] > 0, share > 127)


def test_probabilities_are_cut_at_half(tmp_path):
    probability = np.clip(ndimage.gaussian_filter(ball().astype(np.float32), 4), 0, 1)
    write(tmp_path / "p.nii.gz", probability)
    np.testing.assert_array_equal(read_labels(tmp_path / "p.nii.gz").voxels, probability > 0.5)
    percent = np.rint(probability * 100).astype(np.uint8)
    write(tmp_path / "q.nii.gz", percent)
    np.testing.assert_array_equal(read_labels(tmp_path / "q.nii.gz").voxels, percent > 50)


@pytest.mark.parametrize("values", [(1, 2), (100, 255), (50, 90)])
def test_several_smoothed_structures_are_refused(tmp_path, values):
    labels = ball(18, 18, 13) * float(values[0]) + ball(42, 42, 13) * float(values[1])
    soft = ndimage.gaussian_filter(labels * 60, (0, 1.2, 1.2))
    write(tmp_path / "m.nii.gz", np.rint(soft).astype(np.int16))
    with pytest.raises(InputError, match="soft edges .* around several structures"):
        read_labels(tmp_path / "m.nii.gz")


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 120), st.sampled_from((np.uint8, np.int16)))
def test_label_maps_stay_label_maps(seed, number, dtype):
    """A parcellation of any number of structures of any size, the tiny ones too."""
    rng = np.random.default_rng(seed)
    seeds = rng.integers(0, 60, (number, 2))
    j, i = np.indices((60, 60))
    nearest = ((j[..., None] - seeds[:, 0]) ** 2 + (i[..., None] - seeds[:, 1]) ** 2).argmin(-1)
    values = rng.permutation(np.arange(1, 121))[:number]
    labels = values[nearest][None].astype(dtype)
    labels[0, (j - 30) ** 2 + (i - 30) ** 2 > 28**2] = 0
    cut, note = cut_soft_mask(labels, "labels")
    assert note is None
    np.testing.assert_array_equal(cut, labels)


def test_single_voxels_of_many_labels_stay_labels():
    labels = np.zeros(SHAPE, np.uint8)
    labels[2, 5:55:5, 5:55:5] = np.arange(1, 101).reshape(10, 10)
    cut, note = cut_soft_mask(labels, "points")
    assert note is None
    np.testing.assert_array_equal(cut, labels)


def test_a_mask_that_was_a_jpg_is_one_structure(tmp_path):
    """JPEG leaves ripples near nothing and near white."""
    hard = Image.fromarray(ball()[2].astype(np.uint8) * 255).resize((150, 140))
    hard.save(tmp_path / "m.jpg", quality=80)
    rippled = Image.open(tmp_path / "m.jpg")
    rippled.save(tmp_path / "m.png")
    labels = read_labels(tmp_path / "m.png")
    np.testing.assert_array_equal(labels.voxels[0], np.asarray(rippled) > 127)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(1, 255), min_size=9, max_size=40, unique=True))
def test_labels_without_any_shape_stay_labels(seed, values):
    labels = np.random.default_rng(seed).choice([0, *values], (4, 12, 14)).astype(np.uint8)
    _, note = cut_soft_mask(labels, "noise")
    assert note is None
