"""DICOM SEG: what was written is read back by other programs' readers, at the same place."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations, product
from types import SimpleNamespace

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from FewShotSAMLib import InputError, Segment, Volume, read_volume, write_labels
from FewShotSAMLib.data.dicom_seg_writing import codes_of, write_seg
from FewShotSAMLib.data.dicom_sources import find_sources

highdicom = pytest.importorskip("highdicom", reason="the extra `batch` brings highdicom")

LIVER = "list~SCT^123037004^Anatomical Structure~SCT^10200004^Liver~^^~list~^^~^^"
SEGMENTS = {2: Segment("liver", (0.8, 0.4, 0.2), LIVER), 7: Segment("Läsion", (0.1, 0.9, 0.3))}


def rotation(degrees):
    a, b = np.radians(degrees)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    return about_x @ about_z


def grids():
    """All 48 axis orders and directions, an oblique one, and two of a tilted gantry."""
    for order in permutations(range(3)):
        for signs in product((1.0, -1.0), repeat=3):
            yield np.eye(3)[:, list(order)] * signs
    yield rotation((17, 31))
    for tilt in (12, -20):
        sheared = np.eye(3)
        sheared[:, 2] = (0, np.sin(np.radians(tilt)), np.cos(np.radians(tilt)))
        yield sheared


def series(folder, direction, shape=(5, 7, 9), spacing=(0.7, 1.3, 3.5)):
    """A DICOM MR series, its files in another order than its slices; and its grid."""
    grid = Volume(np.zeros(shape, np.int16), spacing, (-31.5, 12.25, 40.0), direction)
    frame, uid, study = (highdicom.UID() for _ in range(3))
    for k in range(shape[0]):
        one = pydicom.Dataset()
        one.SOPClassUID = pydicom.uid.MRImageStorage
        one.SOPInstanceUID = highdicom.UID()
        one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = study, uid, frame
        one.Modality, one.PatientName, one.PatientID, one.StudyID = "MR", "Nobody", "1", "9"
        one.PatientBirthDate = one.PatientSex = one.StudyDate = one.StudyTime = ""
        one.AccessionNumber = one.ReferringPhysicianName = ""
        one.SeriesNumber, one.InstanceNumber = 4, k + 1
        position = grid.index_to_world(np.array((0, 0, k)))
        one.ImagePositionPatient = [f"{x:.8f}" for x in position]
        one.ImageOrientationPatient = [f"{x:.10f}" for x in direction[:, :2].T.ravel()]
        one.PixelSpacing, one.SliceThickness = [spacing[1], spacing[0]], spacing[2]
        one.Rows, one.Columns, one.SamplesPerPixel = *shape[1:], 1
        one.PhotometricInterpretation, one.PixelRepresentation = "MONOCHROME2", 1
        one.BitsAllocated, one.BitsStored, one.HighBit = 16, 16, 15
        pixels = np.full(shape[1:], 10 * k, np.int16) + np.arange(shape[2], dtype=np.int16) % 5
        one.PixelData = pixels.tobytes()
        one.file_meta = pydicom.dataset.FileMetaDataset()
        one.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        one.save_as(folder / f"{(k * 3) % 5}.dcm", enforce_file_format=True)
    return grid


def drawn(grid, seed=0):
    voxels = np.random.default_rng(seed).choice([0, 0, 2, 7], size=grid.shape).astype(np.uint8)
    return replace(grid, voxels=voxels, segments=SEGMENTS, modality="other")


def marked_points(labels, value):
    """LPS millimetres of a label's voxels, in any order."""
    k, j, i = np.nonzero(labels.voxels == value)
    return sorted(map(tuple, np.round(labels.index_to_world(np.stack((i, j, k), -1)), 2) + 0.0))


def points_by_pydicom(path, number):
    """The same, from the plain attributes of each frame."""
    stored = pydicom.dcmread(path)
    shared = stored.SharedFunctionalGroupsSequence[0]
    row, column = np.array(
        shared.PlaneOrientationSequence[0].ImageOrientationPatient, float
    ).reshape(2, 3)
    dy, dx = (float(x) for x in shared.PixelMeasuresSequence[0].PixelSpacing)
    found = []
    pixels = stored.pixel_array.reshape(-1, stored.Rows, stored.Columns)
    for frame, own in zip(pixels, stored.PerFrameFunctionalGroupsSequence):
        if stored.SegmentationType != "LABELMAP":
            one = own.SegmentIdentificationSequence[0].ReferencedSegmentNumber
            inside = frame > 0 if one == number else np.zeros_like(frame, bool)
        else:
            inside = frame == number
        origin = np.array(own.PlanePositionSequence[0].ImagePositionPatient, float)
        found += [origin + x * dx * row + y * dy * column for y, x in np.argwhere(inside)]
    return sorted(map(tuple, np.round(found, 2) + 0.0))


DIRECTIONS = [*grids()]
OTHER_TYPES = [(one, kind) for one in DIRECTIONS[-6:] for kind in ("LABELMAP", "FRACTIONAL")]


@pytest.mark.parametrize(
    ("direction", "seg_type"), [*((one, "BINARY") for one in DIRECTIONS), *OTHER_TYPES]
)
def test_every_voxel_is_where_it_was(tmp_path, direction, seg_type):
    """By the frames' plain attributes, and by highdicom where the slices are not sheared."""
    labels = drawn(series(tmp_path, direction))
    path = tmp_path / "out" / "labels.dcm"
    write_labels(labels, path, sources=[tmp_path], seg_type=seg_type)
    upright = np.allclose(direction.T @ direction, np.eye(3))
    for number, value in enumerate(SEGMENTS, start=1):
        here = np.array(marked_points(labels, value))
        readers = [points_by_pydicom, points_by_highdicom] if upright else [points_by_pydicom]
        for points in readers:
            there = np.array(points(path, number))
            assert len(there) == len(here) > 10
            assert np.abs(there - here).max() < 0.02


def points_by_highdicom(path, number):
    """The same, from the volume that highdicom makes of the frames."""
    stored = highdicom.seg.segread(path)
    volume = stored.get_volume(segment_numbers=[number], rescale_fractional=True)
    columns = volume.affine[:3, [2, 1, 0]]
    spacing = np.linalg.norm(columns, axis=0)
    voxels = (volume.array[..., 0] > 0.5).astype(np.uint8)
    return marked_points(Volume(voxels, spacing, volume.affine[:3, 3], columns / spacing), 1)


def test_names_colours_codes_and_references(tmp_path):
    labels = drawn(series(tmp_path, np.eye(3)))
    path = tmp_path / "out" / "labels.dcm"
    write_labels(labels, path, sources=[tmp_path])
    stored = pydicom.dcmread(path)
    sources = [pydicom.dcmread(p, stop_before_pixels=True) for p in tmp_path.glob("*.dcm")]
    liver, lesion = stored.SegmentSequence
    assert (liver.SegmentLabel, lesion.SegmentLabel) == ("liver", "Läsion")
    assert liver.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Liver"
    assert lesion.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Tissue"
    assert (liver.TrackingID, lesion.TrackingID) == ("label 2", "label 7")
    described = highdicom.seg.segread(path).get_segment_description(1)
    colour = highdicom.color.CIELabColor.from_dicom_value(
        list(described.RecommendedDisplayCIELabValue)
    ).to_rgb()
    assert np.allclose(np.array(colour) / 255, SEGMENTS[2].colour, atol=0.02)
    assert stored.FrameOfReferenceUID == sources[0].FrameOfReferenceUID
    assert stored.StudyInstanceUID == sources[0].StudyInstanceUID
    assert str(stored.PatientName) == "Nobody"
    referenced = {
        instance.ReferencedSOPInstanceUID
        for one in stored.ReferencedSeriesSequence
        for instance in one.ReferencedInstanceSequence
    }
    assert referenced == {source.SOPInstanceUID for source in sources}


def test_fractional_says_how_sure_each_slice_is(tmp_path):
    labels = drawn(series(tmp_path, np.eye(3)))
    scores = [
        SimpleNamespace(index=k, label=value, score=0.15 * (k + 1))
        for k in range(5)
        for value in SEGMENTS
    ]
    result = SimpleNamespace(labels=labels, slices=scores, axis="axial")
    path = tmp_path / "out" / "labels.dcm"
    write_labels(result, path, sources=[tmp_path], seg_type="FRACTIONAL")
    stored = highdicom.seg.segread(path)
    volume = stored.get_volume(segment_numbers=[1], rescale_fractional=True)
    first = np.round(volume.affine[2, 3], 3) == 40.0
    array = volume.array[..., 0] if first else volume.array[::-1, ..., 0]
    for k in range(5):
        inside = labels.voxels[k] == 2
        assert np.allclose(array[k][inside], 0.15 * (k + 1), atol=0.005)
        assert not array[k][~inside].any()


def test_simpleitk_reads_the_frames(tmp_path):
    """Where each frame fills whole bytes: GDCM loses bits of others."""
    labels = drawn(series(tmp_path, np.eye(3), shape=(5, 8, 16)))
    path = tmp_path / "out" / "labels.dcm"
    write_labels(labels, path, sources=[tmp_path])
    frames = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    assert np.count_nonzero(frames) == np.count_nonzero(labels.voxels)


def test_the_sources_of_a_read_series_are_found(tmp_path):
    folder = tmp_path / "dicom"
    folder.mkdir()
    series(folder, rotation((17, 31)))
    (folder / "notes.txt").write_text("none", encoding="utf-8")
    volume = read_volume(folder)
    headers = find_sources(sorted(folder.iterdir()), volume)
    assert [int(one.InstanceNumber) for one in headers] in ([1, 2, 3, 4, 5], [5, 4, 3, 2, 1])
    moved = replace(volume, origin=tuple(np.add(volume.origin, 1.0)))
    assert find_sources(sorted(folder.iterdir()), moved) == []


def test_without_dicom_there_is_no_seg(tmp_path):
    labels = drawn(Volume(np.zeros((3, 4, 5), np.uint8)))
    with pytest.raises(InputError, match="belongs to a DICOM series"):
        write_labels(labels, tmp_path / "out.dcm", sources=[tmp_path])
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="unknown"):
        write_seg(labels, tmp_path / "out.dcm", [], seg_type="SURFACE")


@pytest.mark.parametrize("text", ["", "list", "a~b~c", "a~SCT^1^~SCT^2^x"])
def test_damaged_terminology_is_tissue(text):
    assert codes_of(text)[0] == ("SCT", "85756007", "Tissue")
