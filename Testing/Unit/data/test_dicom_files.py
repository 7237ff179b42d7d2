"""Folders as people have them: damaged files, copies, other objects beside the images, one file of
many, several images of a position, slopes that differ."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid
from written_dicom import phantom, write_slices

from FewShotSAMLib.data.dicom import find_series
from FewShotSAMLib.data.errors import InputError
from FewShotSAMLib.data.reading import read_volume


def test_pixels_cut_short_are_refused_by_their_file(tmp_path):
    paths = write_slices(tmp_path, phantom())
    paths[-1].write_bytes(paths[-1].read_bytes()[:-400])
    with pytest.raises(InputError, match=rf"{paths[-1].name}: cannot be read"):
        read_volume(tmp_path)


@pytest.mark.parametrize("length", [140, 300, 500])
def test_a_header_cut_short_is_named(tmp_path, length):
    paths = write_slices(tmp_path, phantom())
    paths[-1].write_bytes(paths[-1].read_bytes()[:length])
    read = read_volume(tmp_path)
    assert read.shape == (8, 24, 20)
    assert f"left out, since damaged or cut short: {paths[-1].name}" in read.notes[0]


def test_a_folder_of_nothing_but_a_damaged_file_names_it(tmp_path):
    (path,) = write_slices(tmp_path, phantom((1, 24, 20)))
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(InputError, match=rf"{path.name}: is damaged or cut short"):
        read_volume(tmp_path)


def test_copies_are_called_duplicates(tmp_path):
    volume = phantom()
    paths = write_slices(tmp_path, volume)
    shutil.copy(paths[2], tmp_path / "copy of 2.dcm")
    shutil.copytree(tmp_path, tmp_path / "again")
    read = read_volume(tmp_path)
    np.testing.assert_array_equal(read.voxels, volume.voxels)
    assert "11 files are duplicates of others and left out" in read.notes[0]


@pytest.mark.parametrize("modality", ["SEG", "RTDOSE"])
def test_objects_beside_the_images_ask_for_no_choice(tmp_path, modality):
    volume = phantom()
    write_slices(tmp_path / "ct", volume)
    write_slices(tmp_path / "other", phantom((3, 24, 20)), Modality=modality)
    np.testing.assert_array_equal(read_volume(tmp_path).voxels, volume.voxels)
    assert [series.modality for series in find_series(tmp_path)] == ["CT"]


def test_one_file_of_a_series_says_so(tmp_path):
    paths = write_slices(tmp_path, phantom())
    write_slices(tmp_path, phantom((2, 24, 20)), prefix="other")
    read = read_volume(paths[3])
    assert read.shape == (1, 24, 20)
    assert read.notes == ("is one of 9 files of its series; name the folder to read them all",)


def test_acquisitions_that_number_their_images_alike_are_not_mixed(tmp_path):
    uid, rng = generate_uid(), np.random.default_rng(1)
    both = [phantom(seed=n) for n in range(2)]
    for n, volume in enumerate(both):
        write_slices(tmp_path, volume, uid, AcquisitionNumber=n + 1, prefix=f"a{n}")
    for path, number in zip(sorted(tmp_path.iterdir()), rng.permutation(18)):
        path.rename(tmp_path / f"{number:05d}")
    with pytest.raises(InputError, match=r"2 frames of the same slices \(AcquisitionNumber 1, 2\)"):
        read_volume(tmp_path)
    for n, volume in enumerate(both):
        np.testing.assert_array_equal(read_volume(tmp_path, component=n).voxels, volume.voxels)


@pytest.mark.parametrize(
    ("tag", "values"),
    [
        ("AcquisitionTime", ("101500.0", "101530.0")),
        ("ContentTime", ("101500.5", "101512.25")),
        ("EchoTime", (2.3, 4.6)),
        ("TemporalPositionIdentifier", (1, 2)),
    ],
)
def test_other_marks_tell_images_of_a_position_apart(tmp_path, tag, values):
    uid = generate_uid()
    both = [phantom(seed=n) for n in range(2)]
    for n, volume in enumerate(both):
        prefix = "ba"[n]  # names sort the other way round
        write_slices(tmp_path, volume, uid, prefix=prefix, **{tag: values[n]})
    for n, volume in enumerate(both):
        np.testing.assert_array_equal(read_volume(tmp_path, component=n).voxels, volume.voxels)


def test_slopes_of_slices_give_decimals_whatever_the_first_is(tmp_path):
    volume = phantom()
    stored = volume.voxels - volume.voxels.min()
    slopes = [1.0, *(0.002 * (k + 1) for k in range(1, 9))]
    write_slices(
        tmp_path, volume.with_voxels(stored), Modality="PT", RescaleSlope=lambda k: slopes[k]
    )
    read = read_volume(tmp_path)
    assert read.voxels.dtype == np.float32
    for k in range(9):
        np.testing.assert_allclose(read.voxels[k], stored[k] * slopes[k], rtol=1e-5)


def test_whole_slopes_stay_whole_numbers(tmp_path):
    write_slices(tmp_path, phantom(), RescaleIntercept=-24)
    read = read_volume(tmp_path)
    assert read.voxels.dtype == np.int16
    np.testing.assert_array_equal(read.voxels, phantom().voxels - 24)


def test_a_file_without_the_mark_is_read(tmp_path):
    volume = phantom()
    for path in write_slices(tmp_path, volume):
        content = path.read_bytes()
        data = dcmread(path)
        start = content.index(bytes.fromhex("08001600"))  # its first data element
        assert data.SOPClassUID
        path.write_bytes(content[start:])
    np.testing.assert_array_equal(read_volume(tmp_path).voxels, volume.voxels)
