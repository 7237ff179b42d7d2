"""DICOM files for tests, written with pydicom as scanners write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    generate_uid,
)

from FewShotSAMLib.data.volume import Volume

# Tags that a DICOM SEG takes over from its series.
STUDY = {
    **dict.fromkeys(("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime"), ""),
    **dict.fromkeys(("AccessionNumber", "ReferringPhysicianName", "StudyID"), ""),
    "SeriesNumber": 4, "FrameOfReferenceUID": "1.2.3.4",
}  # fmt: skip


def phantom(shape=(9, 24, 20), spacing=(2.0, 2.0, 4.0), seed=0, **place) -> Volume:
    """Noise of Hounsfield units with air around it."""
    rng = np.random.default_rng(seed)
    voxels = rng.integers(-90, 200, shape).astype(np.int16)
    voxels[:, :4] = -1000
    return Volume(voxels, spacing, place.get("origin", (-20.0, -24.0, 30.0)), modality="CT")


def blank(path: Path, volume: Volume, sop_class: str = CTImageStorage) -> FileDataset:
    """Everything of a file but its pixels and its place."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(str(path), Dataset(), file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    data.StudyInstanceUID, data.SeriesDescription, data.Modality = "1.2.3", "test", "CT"
    data.PatientName, data.PatientID = "Nobody", "0"
    data.Rows, data.Columns = volume.shape[1:]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
    data.PixelRepresentation = 1
    return data


def write_slices(folder: Path, volume: Volume, uid: str | None = None, **changes) -> list[Path]:
    """One file per slice. ``changes``: tag -> value, or a function of the slice's number."""
    folder.mkdir(parents=True, exist_ok=True)
    uid = uid or generate_uid()
    paths = []
    prefix = changes.pop("prefix", "s")
    for k, plane in enumerate(volume.voxels):
        path = folder / f"{prefix}{k:03d}.dcm"
        data = blank(path, volume)
        data.SeriesInstanceUID, data.InstanceNumber = uid, k + 1
        data.ImagePositionPatient = [f"{x:.8g}" for x in volume.index_to_world((0, 0, k))]
        data.ImageOrientationPatient = [f"{x:.9g}" for x in volume.direction[:, :2].T.ravel()]
        data.PixelSpacing = [volume.spacing[1], volume.spacing[0]]
        data.SliceThickness = volume.spacing[2]
        data.RescaleIntercept, data.RescaleSlope = 0, 1
        data.PixelData = plane.astype(np.int16).tobytes()
        for name, value in changes.items():
            setattr(data, name, value(k) if callable(value) else value)
        data.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def write_enhanced(
    path: Path, volume: Volume, order: list[int], slopes: list[float] | None = None, **content
) -> None:
    """One multi-frame file; ``order``: the slice that each frame shows. ``content``: entries of
    each frame's content, lists as long as ``order``."""
    data = blank(path, volume, EnhancedCTImageStorage)
    data.SeriesInstanceUID, data.InstanceNumber = generate_uid(), 1
    data.NumberOfFrames = len(order)
    measures, orientation = Dataset(), Dataset()
    measures.PixelSpacing = [volume.spacing[1], volume.spacing[0]]
    measures.SliceThickness = volume.spacing[2]
    orientation.ImageOrientationPatient = [*volume.direction[:, :2].T.ravel()]
    shared = Dataset()
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    data.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for n, k in enumerate(order):
        position, told, values = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [f"{x:.8g}" for x in volume.index_to_world((0, 0, k))]
        told.StackID, told.InStackPositionNumber = "1", k + 1
        for name, entries in content.items():
            setattr(told, name, entries[n])
        values.RescaleSlope = slopes[n] if slopes else 1
        values.RescaleIntercept, values.RescaleType = 0, "HU"
        frame = Dataset()
        frame.PlanePositionSequence, frame.FrameContentSequence = [position], [told]
        frame.PixelValueTransformationSequence = [values]
        frames.append(frame)
    data.PerFrameFunctionalGroupsSequence = frames
    data.PixelData = volume.voxels[order].astype(np.int16).tobytes()
    data.save_as(path, enforce_file_format=True)
