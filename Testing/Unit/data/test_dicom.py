"""DICOM folders: one series or several, ordered by place, refused in one line where unusable."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid
from scipy.spatial.transform import Rotation

from FewShotSAMLib.data.dicom import find_series
from FewShotSAMLib.data.errors import InputError
from FewShotSAMLib.data.reading import read_labels, read_volume
from FewShotSAMLib.data.volume import Volume
from FewShotSAMLib.data.writing import write_labels


def write_series(folder, volume: Volume, description="T2 axial", *, uid=None, first=0, **tags):
    """One file per slice, in shuffled order of names and with the files' own instance numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    uid = uid or generate_uid()
    order = np.random.default_rng(len(volume.voxels)).permutation(len(volume.voxels))
    for k, plane in enumerate(volume.voxels):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage if volume.modality == "CT" else MRImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        path = folder / f"IM{first + order[k]:04d}"
        data = FileDataset(str(path), Dataset(), file_meta=meta, preamble=b"\0" * 128)
        data.SOPClassUID, data.SOPInstanceUID = (
            meta.MediaStorageSOPClassUID,
            meta.MediaStorageSOPInstanceUID,
        )
        data.SeriesInstanceUID, data.StudyInstanceUID = uid, "1.2.3"
        data.SeriesDescription, data.Modality = description, volume.modality
        data.PatientName, data.PatientID = "Nobody", "0"
        data.InstanceNumber = first + k + 1
        data.ImagePositionPatient = [f"{x:.6g}" for x in volume.index_to_world((0, 0, k))]
        data.ImageOrientationPatient = [f"{x:.9g}" for x in volume.direction[:, :2].T.ravel()]
        data.PixelSpacing = [volume.spacing[1], volume.spacing[0]]
        data.SliceThickness = volume.spacing[2]
        data.Rows, data.Columns = plane.shape
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
        data.PixelRepresentation = 1
        data.RescaleIntercept, data.RescaleSlope = 0, 1
        data.PixelData = plane.astype(np.int16).tobytes()
        for name, value in tags.items():
            setattr(data, name, value)
        data.save_as(path, enforce_file_format=True)
    return uid


def tilted(shape=(6, 12, 10), modality="MR", seed=0) -> Volume:
    voxels = np.random.default_rng(seed).integers(0, 1000, shape).astype(np.int16)
    rotation = Rotation.from_euler("xyz", (15, -8, 20), degrees=True).as_matrix()
    return Volume(voxels, (0.8, 1.25, 4.0), (-30.5, 12.25, 70.0), rotation, modality)


def refused(path, match, **choices) -> str:
    with pytest.raises(InputError, match=match) as error:
        read_volume(path, **choices)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_series_is_ordered_by_place_not_by_name(tmp_path):
    volume = tilted()
    write_series(tmp_path / "Serie é 1", volume)
    read = read_volume(tmp_path / "Serie é 1")
    np.testing.assert_array_equal(read.voxels, volume.voxels)
    np.testing.assert_allclose(read.corners(), volume.corners(), atol=1e-3)
    assert read.modality == "MR" and read.name == "Serie é 1" and read.notes == ()


def test_the_modality_is_that_of_the_tag(tmp_path):
    hounsfield = replace(tilted(modality="CT"), voxels=tilted().voxels - 300)
    write_series(tmp_path / "ct", hounsfield)
    assert read_volume(tmp_path / "ct").modality == "CT"
    assert read_volume(tmp_path / "ct", modality="other").modality == "other"
    write_series(tmp_path / "us", tilted(), Modality="US")
    assert read_volume(tmp_path / "us").modality == "other"


def test_files_in_subfolders_beside_other_files(tmp_path):
    volume = tilted()
    write_series(tmp_path / "study" / "series", volume)
    (tmp_path / "study" / "report.pdf").write_bytes(b"%PDF-1.4 no image")
    (tmp_path / "DICOMDIR").write_bytes(b"\0" * 400)
    np.testing.assert_array_equal(read_volume(tmp_path).voxels, volume.voxels)


def test_several_series_are_named_and_one_is_chosen(tmp_path):
    volumes = [tilted(seed=1), tilted((4, 12, 10), seed=2)]
    uids = [
        write_series(tmp_path, volumes[0], "T2 axial"),
        write_series(tmp_path, volumes[1], "T1 coronal", first=50),
    ]
    message = refused(tmp_path, "holds 2 DICOM series; choose one with series=")
    for uid, text in zip(uids, ("1. T2 axial (MR, 6 slices", "2. T1 coronal (MR, 4 slices")):
        assert text in message and uid in message
    choices = [(uids[0], 0), (uids[1][-12:], 1), ("T1 coronal", 1), (1, 0), ("2", 1)]
    for choice, expected in choices:
        read = read_volume(tmp_path, series=choice)
        np.testing.assert_array_equal(read.voxels, volumes[expected].voxels)
    assert "T1 coronal" in refused(tmp_path, "no series fits 'T3'", series="T3")


def test_slices_of_another_orientation_are_a_series_of_their_own(tmp_path):
    uid = generate_uid()
    localiser = Volume(tilted().voxels[:1], (1, 1, 5), (0, 0, 0), np.eye(3)[[0, 2, 1]], "MR")
    write_series(tmp_path, tilted(), uid=uid)
    write_series(tmp_path, localiser, "localiser", uid=uid, first=90)
    assert [len(series.frames) for series in find_series(tmp_path)] == [6, 1]
    assert read_volume(tmp_path, series=1).shape == (6, 12, 10)
    refused(tmp_path, "2 series fits", series=uid)


def test_frames_at_the_same_places_are_chosen_by_component(tmp_path):
    uid = generate_uid()
    frames = [tilted(seed=n) for n in range(3)]
    for n, frame in enumerate(frames):
        write_series(tmp_path, frame, uid=uid, first=100 * n)
    assert "component= 0 to 2" in refused(tmp_path, "holds 3 frames of the same slices")
    np.testing.assert_array_equal(read_volume(tmp_path, component=2).voxels, frames[2].voxels)
    refused(tmp_path, "3 frames", component=3)
    next(iter(tmp_path.glob("IM0*"))).unlink()
    refused(tmp_path, "some of its slices were taken more than once")


def test_missing_slices_are_noted(tmp_path):
    write_series(tmp_path, tilted((9, 12, 10)))
    for path in tmp_path.iterdir():
        image = sitk.ReadImage(str(path), imageIO="GDCMImageIO")
        if image.GetMetaData("0020|0013").strip() == "4":
            path.unlink()
    read = read_volume(tmp_path)
    assert read.shape == (9, 12, 10)
    assert "4.00 to 8.00 mm apart: 1 of 9 are missing (slice 3)" in read.notes[0]


def test_slices_of_a_tilted_gantry_lie_where_their_tags_say(tmp_path):
    volume = tilted()
    cosines = volume.direction.copy()
    cosines[:, 2] = cosines[:, 2] + 0.3 * cosines[:, 1]
    cosines[:, 2] /= np.linalg.norm(cosines[:, 2])
    sheared = Volume(volume.voxels, volume.spacing, volume.origin, cosines, "CT")
    write_series(tmp_path, sheared)
    read = read_volume(tmp_path)
    np.testing.assert_array_equal(read.voxels, volume.voxels)
    np.testing.assert_allclose(read.corners(), sheared.corners(), atol=0.01)
    assert "tilted by 17 degrees" in read.notes[0]
    labels = read.with_voxels((read.voxels > 500).astype(np.uint8))
    write_labels(labels, tmp_path / "l.seg.nrrd")
    back = read_labels(tmp_path / "l.seg.nrrd", like=read)
    np.testing.assert_array_equal(back.voxels, labels.voxels)
    with pytest.raises(InputError, match="sheared"):
        write_labels(labels, tmp_path / "l.nii.gz")


def test_one_dicom_file_is_one_slice_whatever_its_name(tmp_path):
    volume = tilted((1, 12, 10))
    write_series(tmp_path, volume)
    path = next(tmp_path.iterdir())
    read = read_volume(path)
    np.testing.assert_array_equal(read.voxels, volume.voxels)
    np.testing.assert_allclose(read.spacing[:2], volume.spacing[:2], atol=1e-6)
    assert read.modality == "MR"
    with pytest.raises(InputError, match="is a DICOM MR, not labels"):
        read_labels(path)


def test_what_is_no_image_is_refused(tmp_path):
    refused(tmp_path, "holds no DICOM images")
    write_series(tmp_path / "seg", tilted(), Modality="SEG")
    refused(tmp_path / "seg", "is a DICOM SEG, not an image")


def test_a_real_oblique_series(shared_data):
    volume = read_volume(shared_data / "robustness" / "oblique_mr_dicom")
    assert volume.shape == (19, 384, 384)
    assert volume.notes == ()
    tilt = np.degrees(np.arccos(volume.direction[2, 2]))
    assert 1 < tilt < 45
    expected = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(
        str(shared_data / "robustness" / "oblique_mr_dicom")
    )
    image = sitk.ReadImage(expected)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), volume.voxels)
    np.testing.assert_allclose(volume.origin, image.GetOrigin())
    canonical, orientation = volume.canonical()
    np.testing.assert_array_equal(orientation.restore(canonical.voxels), volume.voxels)
