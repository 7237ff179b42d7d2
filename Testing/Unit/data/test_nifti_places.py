"""NIfTI headers that tell two places or none: what is taken is said, for images and masks alike,
and what is written lies on the image however its header is read."""

from __future__ import annotations

from dataclasses import replace

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from FewShotSAMLib.data.errors import InputError
from FewShotSAMLib.data.reading import read_labels, read_volume
from FewShotSAMLib.data.writing import write_labels, write_volume

SHAPE = (20, 18, 12)  # i, j, k
SPACING = (2.0, 2.0, 4.0)


def affine(shift=(0.0, 0.0, 0.0), angles=(0.0, 0.0, 0.0)) -> np.ndarray:
    matrix = np.eye(4)
    rotation = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    matrix[:3, :3] = rotation * SPACING
    matrix[:3, 3] = np.array([-20.0, -18.0, -24.0]) + shift
    return matrix


def write(path, voxels, qform=None, sform=None, codes=(1, 2)) -> None:
    image = nibabel.Nifti1Image(voxels, None)
    image.header.set_zooms(SPACING)
    image.set_qform(qform, codes[0] if qform is not None else 0)
    image.set_sform(sform, codes[1] if sform is not None else 0)
    nibabel.save(image, path)


def grey() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 900, SHAPE).astype(np.int16)


def drawing() -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[4:10, 6:12, 5] = 1
    mask[12:15, 6:12, 5] = 2
    return mask


def as_read(voxels: np.ndarray) -> np.ndarray:
    return voxels.transpose(2, 1, 0)


Q, S = affine(), affine((24.0, -30.0, 16.0))


@pytest.mark.parametrize("mask_forms", [(None, S), (Q, None), (Q, S), (Q, Q), (S, S)])
@pytest.mark.parametrize("form", [None, "qform", "sform"])
def test_a_mask_stays_on_the_voxels_that_it_was_drawn_on(tmp_path, mask_forms, form):
    write(tmp_path / "image.nii.gz", grey(), Q, S)
    write(tmp_path / "mask.nii.gz", drawing(), *mask_forms)
    image = read_volume(tmp_path / "image.nii.gz", form=form)
    labels = read_labels(tmp_path / "mask.nii.gz", like=image, form=form)
    np.testing.assert_array_equal(labels.voxels, as_read(drawing()))
    assert "its header tells two places, 41.6 mm apart (qform code 1, sform code 2)" in (
        image.notes[0]
    )


def test_what_was_taken_is_said_and_can_be_chosen(tmp_path):
    write(tmp_path / "image.nii.gz", grey(), Q, S)
    taken = read_volume(tmp_path / "image.nii.gz")
    assert taken.notes[0].endswith("qform is taken, as ITK and 3D Slicer do; form= chooses")
    itk = sitk.ReadImage(str(tmp_path / "image.nii.gz"))
    np.testing.assert_allclose(taken.origin, itk.GetOrigin())
    chosen = read_volume(tmp_path / "image.nii.gz", form="sform")
    assert chosen.notes[0].endswith("sform is taken, as asked for")
    expected = np.diag([-1, -1, 1, 1]) @ S
    np.testing.assert_allclose(chosen.affine, expected, atol=1e-4)
    with pytest.raises(InputError, match="form 'matrix' is unknown; use one of qform, sform"):
        read_volume(tmp_path / "image.nii.gz", form="matrix")


def test_what_is_written_lies_on_the_image_in_both_readings(tmp_path):
    write(tmp_path / "image.nii.gz", grey(), Q, S)
    image = read_volume(tmp_path / "image.nii.gz")
    labels = replace(image, voxels=as_read(drawing()), modality="other")
    write_labels(labels, tmp_path / "out.nii.gz")
    written = nibabel.load(tmp_path / "out.nii.gz")
    np.testing.assert_allclose(written.get_qform(), Q, atol=1e-4)
    np.testing.assert_allclose(written.get_sform(), S, atol=1e-4)
    np.testing.assert_array_equal(np.asarray(written.dataobj), drawing())
    one, other = (sitk.ReadImage(str(tmp_path / n)) for n in ("image.nii.gz", "out.nii.gz"))
    np.testing.assert_allclose(one.GetOrigin(), other.GetOrigin())


def test_a_chosen_place_is_written_in_both_forms(tmp_path):
    write(tmp_path / "image.nii.gz", grey(), Q, S)
    image = read_volume(tmp_path / "image.nii.gz", form="sform")
    write_volume(image, tmp_path / "out.nii.gz")
    written = nibabel.load(tmp_path / "out.nii.gz")
    for form in (written.get_qform(coded=True), written.get_sform(coded=True)):
        assert form[1] > 0
        np.testing.assert_allclose(form[0], S, atol=1e-3)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.tuples(*[st.floats(-180, 180)] * 3), st.tuples(*[st.floats(-90, 90)] * 3))
def test_forms_that_agree_say_nothing(tmp_path, angles, shift):
    place = affine(shift, angles)
    write(tmp_path / "image.nii", grey(), place, place)
    image = read_volume(tmp_path / "image.nii")
    assert image.notes == ()
    np.testing.assert_allclose(image.affine, np.diag([-1, -1, 1, 1]) @ place, atol=0.02)


def test_an_image_without_a_place_takes_masks_voxel_by_voxel(tmp_path):
    write(tmp_path / "image.nii.gz", grey())
    image = read_volume(tmp_path / "image.nii.gz")
    assert "tells neither place nor orientation" in image.notes[0]
    centred = nibabel.load(tmp_path / "image.nii.gz").affine
    assert centred[0, 0] < 0  # mirrored and centred, as nibabel takes such a file
    nibabel.save(nibabel.Nifti1Image(drawing(), centred), tmp_path / "nibabel.nii.gz")
    write(tmp_path / "none.nii.gz", drawing())
    for name, notes in (("nibabel.nii.gz", 1), ("none.nii.gz", 1)):
        labels = read_labels(tmp_path / name, like=image)
        np.testing.assert_array_equal(labels.voxels, as_read(drawing()))
        assert len(labels.notes) == notes
    labels = read_labels(tmp_path / "nibabel.nii.gz", like=image)
    assert labels.notes[0].startswith("taken voxel by voxel, since the header of image.nii.gz")


def test_a_mask_without_a_place_on_an_image_with_one(tmp_path):
    write(tmp_path / "image.nii.gz", grey(), Q, Q)
    write(tmp_path / "mask.nii.gz", drawing())
    image = read_volume(tmp_path / "image.nii.gz")
    labels = read_labels(tmp_path / "mask.nii.gz", like=image)
    np.testing.assert_array_equal(labels.voxels, as_read(drawing()))
    assert any("since the header of mask.nii.gz tells no place" in note for note in labels.notes)


def test_labels_on_an_image_without_a_place_have_none_either(tmp_path):
    write(tmp_path / "image.nii.gz", grey())
    image = read_volume(tmp_path / "image.nii.gz")
    labels = replace(image, voxels=as_read(drawing()), modality="other")
    write_labels(labels, tmp_path / "out.nii.gz")
    one, other = (nibabel.load(tmp_path / n) for n in ("image.nii.gz", "out.nii.gz"))
    np.testing.assert_allclose(one.affine, other.affine)
    one, other = (sitk.ReadImage(str(tmp_path / n)) for n in ("image.nii.gz", "out.nii.gz"))
    np.testing.assert_allclose(one.GetOrigin(), other.GetOrigin())
    np.testing.assert_allclose(one.GetDirection(), other.GetDirection())
    np.testing.assert_allclose(one.GetSpacing(), other.GetSpacing())
