"""Marked slices in DICOM: SEG through highdicom, contours of an RTSTRUCT drawn into the image."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid
from scipy.spatial.transform import Rotation
from written_dicom import phantom, write_enhanced, write_slices

from FewShotSAMLib.data.drawn_supports import draw_supports
from FewShotSAMLib.data.errors import InputError
from FewShotSAMLib.data.label_reading import read_label_maps, read_labels
from FewShotSAMLib.data.reading import read_volume

highdicom = pytest.importorskip("highdicom", reason="needs the extra dicom")
pytest.importorskip("skimage", reason="needs the extra dicom")


def oblique(shape=(9, 24, 20)):
    turn = Rotation.from_euler("xyz", (12, -7, 15), degrees=True).as_matrix()
    return replace(phantom(shape), direction=turn)


def drawings(shape) -> list[np.ndarray]:
    """Two structures that overlap, on some slices."""
    first, second = np.zeros(shape, bool), np.zeros(shape, bool)
    first[3:5, 8:18, 4:12] = True
    second[4, 12:20, 9:17] = True
    return [first, second]


def write_seg(path, sources, masks, kind="BINARY", names=("liver", "spleen")) -> None:
    descriptions = [
        highdicom.seg.SegmentDescription(
            segment_number=n,
            segment_label=name,
            segmented_property_category=codes.SCT.Organ,
            segmented_property_type=codes.SCT.Liver,
            algorithm_type="MANUAL",
        )
        for n, name in enumerate(names, 1)
    ]
    highdicom.seg.Segmentation(
        source_images=[dcmread(source) for source in sources],
        pixel_array=np.stack(masks, axis=-1),
        segmentation_type=kind,
        segment_descriptions=descriptions,
        series_instance_uid=generate_uid(), series_number=2,
        sop_instance_uid=generate_uid(), instance_number=1,
        manufacturer="test", manufacturer_model_name="test", software_versions="1",
        device_serial_number="1",
    ).save_as(path)  # fmt: skip


def write_sources(folder, volume) -> list:
    """Slices that highdicom takes as sources."""
    missing = {
        "FrameOfReferenceUID": "1.2.3.4", "StudyDate": "20200101", "StudyTime": "000000",
        "AccessionNumber": "", "StudyID": "", "PatientBirthDate": "", "PatientSex": "",
        "ReferringPhysicianName": "", "SeriesNumber": 1, "Manufacturer": "", "Laterality": "",
    }  # fmt: skip
    return write_slices(folder, volume, **missing)


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL"])
def test_a_seg_keeps_its_structures_whole_and_named(tmp_path, kind):
    volume = oblique()
    sources = write_sources(tmp_path / "ct", volume)
    masks = drawings(volume.shape)
    stored = [m.astype(np.float32) * 0.9 if kind == "FRACTIONAL" else m.astype(np.uint8)
              for m in masks]  # fmt: skip
    write_seg(tmp_path / "seg.dcm", sources, stored, kind)
    image = read_volume(tmp_path / "ct")
    maps = read_label_maps(tmp_path / "seg.dcm", like=image)
    supports = draw_supports(image, maps)
    assert [one.names for one in supports] == [{1: "liver"}, {2: "spleen"}]
    for value, (one, mask) in enumerate(zip(maps, masks), 1):
        np.testing.assert_array_equal(one.voxels == value, mask)
    assert "SCT^10200004^Liver" in maps[0].segments[1].terminology


def test_a_seg_of_one_slice(tmp_path):
    volume = oblique()
    sources = write_sources(tmp_path / "ct", volume)
    mask = np.zeros(volume.shape, np.uint8)
    mask[6, 8:18, 4:12] = 1
    write_seg(tmp_path / "seg.dcm", sources, [mask], names=("liver",))
    labels = read_labels(tmp_path / "seg.dcm", like=read_volume(tmp_path / "ct"))
    np.testing.assert_array_equal(labels.voxels, mask)


def contours_of(mask: np.ndarray, volume) -> list[np.ndarray]:
    """Outlines (n, 3) in LPS mm of each slice, holes too."""
    from skimage.measure import find_contours

    found = []
    for k in np.flatnonzero(mask.any(axis=(1, 2))):
        for line in find_contours(mask[k].astype(float), 0.5):
            rows, columns = line.T
            found.append(volume.index_to_world(np.stack((columns, rows, 0 * rows + k), axis=1)))
    return found


def write_rtstruct(path, structures: dict[str, list[np.ndarray]], kind="CLOSED_PLANAR") -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = RTStructureSetStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(str(path), Dataset(), file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = RTStructureSetStorage, meta.MediaStorageSOPInstanceUID
    data.Modality, data.SeriesInstanceUID = "RTSTRUCT", generate_uid()
    data.StructureSetROISequence, data.ROIContourSequence = [], []
    for number, (name, contours) in enumerate(structures.items(), 1):
        roi, drawn = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName = number, name
        drawn.ReferencedROINumber, drawn.ROIDisplayColor = number, [255, 51 * number, 0]
        drawn.ContourSequence = []
        for points in contours:
            contour = Dataset()
            contour.ContourGeometricType, contour.NumberOfContourPoints = kind, len(points)
            contour.ContourData = [f"{x:.5f}" for x in points.ravel()]
            drawn.ContourSequence.append(contour)
        data.StructureSetROISequence.append(roi)
        data.ROIContourSequence.append(drawn)
    data.save_as(path, enforce_file_format=True)


@pytest.mark.parametrize("enhanced", [False, True])
def test_contours_are_drawn_where_they_lie(tmp_path, enhanced):
    volume = phantom() if enhanced else oblique()
    if enhanced:
        write_enhanced(tmp_path / "ct.dcm", volume, list(range(9))[::-1])
    else:
        write_slices(tmp_path / "ct.dcm", volume)
    masks = drawings(volume.shape)
    masks[0][3, 11:14, 6:9] = False  # a hole
    named = {"Leber": contours_of(masks[0], volume), "Milz": contours_of(masks[1], volume)}
    write_rtstruct(tmp_path / "rs.dcm", named)
    image = read_volume(tmp_path / "ct.dcm")
    maps = read_label_maps(tmp_path / "rs.dcm", like=image)
    for value, (one, mask) in enumerate(zip(maps, masks), 1):
        np.testing.assert_array_equal(one.voxels == value, mask)
    segments = {v: s for one in maps for v, s in one.segments.items()}
    assert {v: s.name for v, s in segments.items()} == {1: "Leber", 2: "Milz"}
    assert segments[1].colour == (1.0, 0.2, 0.0)
    assert [one.axis for one in draw_supports(image, maps)] == ["axial", "axial"]


def test_contours_on_an_image_in_another_axis_order(tmp_path):
    """The same patient space stored with slices along another axis."""
    volume = phantom()
    mask = drawings(volume.shape)[0]
    write_rtstruct(tmp_path / "rs.dcm", {"liver": contours_of(mask, volume)})
    turned = replace(
        volume, voxels=volume.voxels.transpose(1, 0, 2),
        spacing=(volume.spacing[0], volume.spacing[2], volume.spacing[1]),
        direction=volume.direction[:, [0, 2, 1]],
    )  # fmt: skip
    labels = read_labels(tmp_path / "rs.dcm", like=turned)
    np.testing.assert_array_equal(labels.voxels, mask.transpose(1, 0, 2))


def test_contours_finer_than_the_image_do_not_cancel(tmp_path):
    volume = phantom()
    mask = drawings(volume.shape)[1]
    contours = contours_of(mask, volume)
    finer = [c + np.array([0, 0, shift]) for c in contours for shift in (-1.5, 0.0, 1.5)]
    write_rtstruct(tmp_path / "rs.dcm", {"spleen": finer})
    np.testing.assert_array_equal(read_labels(tmp_path / "rs.dcm", like=volume).voxels, mask)


def test_contours_that_fit_no_slices_are_refused(tmp_path):
    write_rtstruct(tmp_path / "rs.dcm", {"liver": contours_of(drawings((9, 24, 20))[0], oblique())})
    with pytest.raises(InputError, match="contours of liver do not lie in slices of"):
        read_labels(tmp_path / "rs.dcm", like=phantom())
    away = replace(oblique(), origin=(900.0, 0.0, 0.0), name="ct")
    with pytest.raises(InputError, match="none of its contours lies within ct"):
        read_labels(tmp_path / "rs.dcm", like=away)
    with pytest.raises(InputError, match="give the image that they were drawn on"):
        read_labels(tmp_path / "rs.dcm")
    write_rtstruct(tmp_path / "p.dcm", {"a": [np.zeros((1, 3))]}, "POINT")
    with pytest.raises(InputError, match="holds no closed contour"):
        read_labels(tmp_path / "p.dcm", like=phantom())


def test_the_labels_of_a_folder_are_found_beside_its_images(tmp_path):
    volume = phantom()
    write_slices(tmp_path, volume)
    with pytest.raises(InputError, match="holds neither a DICOM SEG nor an RTSTRUCT"):
        read_labels(tmp_path, like=volume)
    mask = drawings(volume.shape)[0]
    write_rtstruct(tmp_path / "rs.dcm", {"liver": contours_of(mask, volume)})
    image = read_volume(tmp_path)
    np.testing.assert_array_equal(read_labels(tmp_path, like=image).voxels, mask)
    write_rtstruct(tmp_path / "rs2.dcm", {"liver": contours_of(mask, volume)})
    with pytest.raises(InputError, match=r"holds 2 DICOM SEG or RTSTRUCT \(rs.dcm, rs2.dcm\)"):
        read_labels(tmp_path, like=image)


@pytest.mark.parametrize(("package", "kind"), [("highdicom", "SEG"), ("skimage", "RTSTRUCT")])
def test_without_the_extra_one_line_names_it(tmp_path, monkeypatch, package, kind):
    volume = phantom()
    if kind == "SEG":
        sources = write_sources(tmp_path / "ct", volume)
        mask = drawings(volume.shape)[0].astype(np.uint8)
        write_seg(tmp_path / "l.dcm", sources, [mask], names=("liver",))
    else:
        contours = contours_of(drawings(volume.shape)[0], volume)
        write_rtstruct(tmp_path / "l.dcm", {"liver": contours})
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=r"pip install 'fewshotsam\[dicom\]'"):
        read_labels(tmp_path / "l.dcm", like=volume)
