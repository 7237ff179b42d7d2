"""Enhanced multi-frame files: each frame lies where its own functional group says."""

from __future__ import annotations

import numpy as np
import pytest
from written_dicom import phantom, write_enhanced

from FewShotSAMLib.data.errors import InputError
from FewShotSAMLib.data.reading import read_volume


@pytest.mark.parametrize("as_folder", [False, True])
def test_interleaved_frames_are_put_in_order(tmp_path, as_folder):
    volume = phantom((10, 24, 20))
    order = [*range(0, 10, 2), *range(1, 10, 2)]
    write_enhanced(tmp_path / "f.dcm", volume, order)
    read = read_volume(tmp_path if as_folder else tmp_path / "f.dcm")
    np.testing.assert_array_equal(read.voxels, volume.voxels)
    assert read.same_grid(volume) and read.spacing == volume.spacing
    assert read.modality == "CT" and read.notes == ()


def test_several_images_of_a_position_are_components(tmp_path):
    volume = phantom((7, 24, 20))
    order = [k for k in range(7) for _ in range(2)]
    times = [1, 2] * 7
    write_enhanced(tmp_path / "f.dcm", volume, order, TemporalPositionIndex=times)
    with pytest.raises(InputError, match=r"holds 2 frames of the same slices .*component= 0 to 1"):
        read_volume(tmp_path / "f.dcm")
    for component in (0, 1):
        read = read_volume(tmp_path / "f.dcm", component=component)
        np.testing.assert_array_equal(read.voxels, volume.voxels)
        assert read.same_grid(volume)


def test_each_frame_has_its_own_slope(tmp_path):
    volume = phantom((5, 24, 20))
    slopes = [1.0, 0.5, 0.25, 2.0, 1.5]
    write_enhanced(tmp_path / "f.dcm", volume, [4, 2, 0, 1, 3], slopes)
    read = read_volume(tmp_path / "f.dcm", modality="CT")
    for slope, k in zip(slopes, [4, 2, 0, 1, 3]):
        np.testing.assert_allclose(read.voxels[k], volume.voxels[k] * slope, rtol=1e-6)


def test_missing_frames_are_filled_at_their_places(tmp_path):
    volume = phantom((10, 24, 20))
    write_enhanced(tmp_path / "f.dcm", volume, [0, 1, 2, 3, 4, 6, 7, 8, 9])
    read = read_volume(tmp_path / "f.dcm")
    assert read.shape == (10, 24, 20)
    np.testing.assert_array_equal(read.voxels[6:], volume.voxels[6:])
    assert "missing (slice 5)" in read.notes[0]


def test_a_file_cut_short_is_refused_by_its_name(tmp_path):
    path = tmp_path / "f.dcm"
    write_enhanced(path, phantom((10, 24, 20)), list(range(10)))
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(InputError, match=r"f\.dcm: "):
        read_volume(path)
