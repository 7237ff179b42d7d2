"""Masks of several frames: one label each."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from FewShotSAMLib.data.errors import InputError
from FewShotSAMLib.data.label_reading import read_label_maps, read_labels
from FewShotSAMLib.data.volume import Volume

SHAPE = (6, 20, 24)


def frame(column: int, width: int = 5) -> np.ndarray:
    voxels = np.zeros(SHAPE, np.uint8)
    voxels[3, 4:12, column : column + width] = 1
    return voxels


def write(path, frames: list[np.ndarray], as_components: bool = False) -> None:
    stacked = np.stack(frames, axis=-1 if as_components else 0)
    image = sitk.GetImageFromArray(stacked, isVector=as_components)
    sitk.WriteImage(image, str(path))


@pytest.mark.parametrize("as_components", [False, True])
@pytest.mark.parametrize("number", [2, 4])
def test_each_frame_is_a_label(tmp_path, as_components, number):
    frames = [frame(1 + 5 * n, 4) * 7 for n in range(number)]
    write(tmp_path / "m.nrrd", [f.astype(np.int16) for f in frames], as_components)
    labels = read_labels(tmp_path / "m.nrrd", like=Volume(np.zeros(SHAPE)))
    for n, one in enumerate(frames):
        np.testing.assert_array_equal(labels.voxels == n + 1, one > 0)
    assert labels.notes == (f"each of its {number} frames is one label",)


def test_an_empty_frame_keeps_the_numbers_of_the_others(tmp_path):
    write(tmp_path / "m.nii.gz", [frame(0) * 0, frame(2)])
    labels = read_labels(tmp_path / "m.nii.gz")
    np.testing.assert_array_equal(labels.voxels, 2 * frame(2))


def test_a_frame_of_all_that_is_in_no_other_is_the_background(tmp_path):
    parts = [frame(2), frame(10)]
    write(tmp_path / "m.nii.gz", [1 - parts[0] - parts[1], *parts])
    labels = read_labels(tmp_path / "m.nii.gz")
    np.testing.assert_array_equal(labels.voxels, parts[0] + 2 * parts[1])
    assert "the first is the background" in labels.notes[0]


def test_frames_that_overlap_are_kept_whole(tmp_path):
    write(tmp_path / "m.nii.gz", [frame(2, 10), frame(8, 10)])
    maps = read_label_maps(tmp_path / "m.nii.gz")
    np.testing.assert_array_equal(maps[0].voxels, frame(2, 10))
    np.testing.assert_array_equal(maps[1].voxels, 2 * frame(8, 10))


def test_frames_that_are_alike_count_once(tmp_path):
    write(tmp_path / "m.nii.gz", [frame(2)] * 3)
    labels = read_labels(tmp_path / "m.nii.gz")
    np.testing.assert_array_equal(labels.voxels, frame(2))
    assert labels.notes == ("its 3 frames are alike; one is taken",)


def test_probabilities_of_classes_are_cut_at_half(tmp_path):
    probability = [frame(2) * np.float32(0.8), frame(10) * np.float32(0.7)]
    write(tmp_path / "m.nii.gz", probability)
    labels = read_labels(tmp_path / "m.nii.gz")
    np.testing.assert_array_equal(labels.voxels, frame(2) + 2 * frame(10))


def test_frames_of_several_labels_are_refused_without_naming_options(tmp_path):
    write(tmp_path / "m.nii.gz", [frame(2) + 2 * frame(10), frame(4)])
    with pytest.raises(InputError, match="holds 2 frames, and frame 0 alone has 2 labels") as error:
        read_labels(tmp_path / "m.nii.gz")
    assert "component" not in str(error.value)
