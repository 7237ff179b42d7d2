"""Every slice of a series lies where its file says, or the series is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from written_dicom import phantom, write_slices

from FewShotSAMLib.data.errors import InputError
from FewShotSAMLib.data.reading import read_labels, read_volume
from FewShotSAMLib.data.slice_stack import stack_slices
from FewShotSAMLib.data.writing import write_labels

ORIENTATION = np.array([1.0, 0, 0, 0, 1, 0])


def refused(path, match, **choices) -> str:
    with pytest.raises(InputError, match=match) as error:
        read_volume(path, **choices)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_missing_slices_leave_the_others_at_their_places(tmp_path):
    volume = phantom((14, 24, 20))
    paths = write_slices(tmp_path / "series", volume)
    for k in (7, 8, 9):
        paths[k].unlink()
    read = read_volume(tmp_path / "series")
    assert read.shape == volume.shape and read.same_grid(volume)
    kept = [k for k in range(14) if k not in (7, 8, 9)]
    np.testing.assert_array_equal(read.voxels[kept], volume.voxels[kept])
    for k, nearest in ((7, 6), (8, 6), (9, 10)):
        np.testing.assert_array_equal(read.voxels[k], volume.voxels[nearest])
    assert "3 of 14 are missing (slice 7, 8, 9) and repeat their nearest" in read.notes[0]


def test_a_mask_lands_on_the_slice_that_it_was_drawn_on(tmp_path):
    volume = phantom((12, 24, 20))
    paths = write_slices(tmp_path / "series", volume)
    for k in (6, 7):
        paths[k].unlink()
    mask = np.zeros(volume.shape, np.uint8)
    mask[9, 8:16, 6:14] = 1
    write_labels(replace(volume, voxels=mask, modality="other"), tmp_path / "mask.nrrd")
    read = read_volume(tmp_path / "series")
    labels = read_labels(tmp_path / "mask.nrrd", like=read)
    drawn = np.flatnonzero(labels.voxels.any(axis=(1, 2)))
    assert drawn.tolist() == [9]
    np.testing.assert_array_equal(read.voxels[9], volume.voxels[9])


def test_two_blocks_far_apart_are_refused(tmp_path):
    paths = write_slices(tmp_path / "series", phantom((20, 24, 20)))
    for path in paths[4:17]:
        path.unlink()
    refused(tmp_path / "series", "4.00 to 56.00 mm apart, more are missing than there are")


def test_uneven_steps_are_interpolated_at_their_places():
    heights = np.array([0.0, 3.0, 5.2, 9.0, 11.5])
    ramp = np.broadcast_to((heights * 10)[:, None, None], (5, 4, 4)).astype(np.float32)
    positions = np.stack([0 * heights, 0 * heights, heights], axis=1)
    stack = stack_slices(ramp, positions, ORIENTATION, (1.0, 1.0), "series")
    there = np.arange(len(stack.voxels)) * stack.spacing[2]
    assert there[-1] == pytest.approx(11.5)
    # A slice within a tenth of a step of a place is taken to be there.
    np.testing.assert_allclose(stack.voxels[:, 0, 0], there * 10, atol=0.1 * stack.spacing[2] * 10)
    assert "are interpolated to" in stack.notes[0]


@st.composite
def gaps(draw) -> set[int]:
    """Numbers of 6 to 31 slices: the first four are there, and at least half of all."""
    first = draw(st.integers(0, 25))
    count = draw(st.integers(6, 31 - first))
    inner = st.integers(first + 4, max(first + count - 2, first + 4))
    missing = draw(st.sets(inner, max_size=min(count // 2, count - 6)))
    return set(range(first, first + count)) - missing


@settings(max_examples=30, deadline=None)
@given(gaps(), st.floats(0.5, 9.0))
def test_whatever_is_missing_each_slice_keeps_its_place(numbers, step):
    places = np.array(sorted(numbers)) * step
    slices = np.broadcast_to(places[:, None, None], (len(places), 3, 3)).astype(np.float32)
    positions = np.stack([0 * places, 0 * places, places], axis=1)
    stack = stack_slices(slices, positions, ORIENTATION, (1.0, 1.0), "series")
    there = stack.origin[2] + np.arange(len(stack.voxels)) * stack.spacing[2]
    found = stack.voxels[:, 0, 0]
    for place in places:
        np.testing.assert_allclose(found[np.isclose(there, place, atol=0.01)], place, rtol=1e-5)
    nearest = np.abs(there[:, None] - places).min(axis=1)
    np.testing.assert_allclose(np.abs(found - there), nearest, atol=1e-3 * step)


def test_slices_shifted_sideways_are_refused(tmp_path):
    def place(k: int) -> list[float]:
        return [-20.0 + (6.0 if k == 4 else 0.0), -24.0, 30.0 + 4 * k]

    write_slices(tmp_path / "series", phantom(), ImagePositionPatient=place)
    refused(tmp_path / "series", "shifted sideways by up to 6.0 mm")


def test_a_small_tilt_over_many_slices_is_followed(tmp_path):
    volume = phantom((40, 24, 20))
    lean = np.array([0.0, np.sin(np.radians(0.4)), np.cos(np.radians(0.4))])
    tilted = replace(volume, direction=np.stack([[1, 0, 0], [0, 1, 0], lean], axis=1))
    write_slices(tmp_path / "series", tilted)
    read = read_volume(tmp_path / "series")
    np.testing.assert_allclose(read.corners(), tilted.corners(), atol=0.01)


def test_orientations_that_differ_by_rounding_are_one_series(tmp_path):
    def cosines(k: int) -> list[str]:
        angle = np.radians(0.2865) + (2e-5 if k % 2 else -2e-5)  # 0.005 when rounded
        return [f"{x:.6f}" for x in (np.cos(angle), np.sin(angle), 0, -np.sin(angle),
                                     np.cos(angle), 0)]  # fmt: skip

    write_slices(tmp_path / "series", phantom(), ImageOrientationPatient=cosines)
    assert read_volume(tmp_path / "series").shape == (9, 24, 20)


def test_a_single_slice_keeps_its_thickness(tmp_path):
    volume = phantom((1, 24, 20), (2.0, 2.5, 8.0))
    (path,) = write_slices(tmp_path, volume)
    assert read_volume(path).spacing == (2.0, 2.5, 8.0)
    assert read_volume(tmp_path).spacing == (2.0, 2.5, 8.0)
    (path,) = write_slices(tmp_path / "other", volume, SliceThickness=None)
    read = read_volume(path)
    assert read.spacing[2] == 1.0
    assert read.notes == ("its header tells no slice thickness; 1 mm is taken",)


@pytest.mark.parametrize(
    "place",
    [["1e308", "0", "0"], ["0", "0"], ["0", "0", "1e30"], ["0", "0", "0", "0"]],
)
def test_positions_that_are_none_are_refused(tmp_path, place):
    """They were once taken for no position at all, and the slices laid on each other in silence."""
    paths = write_slices(tmp_path / "series", phantom(), ImagePositionPatient=place)
    refused(tmp_path / "series", "its position in the header is not 3 sane lengths")
    with pytest.raises(InputError, match="its position in the header"):
        read_volume(paths[0])


def test_one_slice_without_a_place_is_left_out_and_named(tmp_path):
    volume = phantom()
    count = len(volume.voxels)
    places = [[f"{x:.8g}" for x in volume.index_to_world((0, 0, k))] for k in range(count)]
    places[-1] = ["0", "0"]
    paths = write_slices(tmp_path / "series", volume, ImagePositionPatient=places.__getitem__)
    read = read_volume(tmp_path / "series")
    assert len(read.voxels) == len(volume.voxels) - 1
    assert any(paths[-1].name in note and "its position" in note for note in read.notes)


def test_pixels_that_are_not_there_are_no_room(tmp_path):
    paths = write_slices(
        tmp_path / "series", phantom(), Rows=65535, Columns=65535, NumberOfFrames=1000
    )
    refused(tmp_path / "series", "pixels, which are not there")
    with pytest.raises(InputError, match="which are not there"):
        read_volume(paths[0])
