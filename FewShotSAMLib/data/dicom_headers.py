"""What DICOM files say of themselves, read with pydicom: one entry per image, whether a file holds
one or, as enhanced multi-frame files do, many."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from .errors import InputError

# What tells images of one position apart, the first that does is taken.
MARKS = (
    "AcquisitionNumber",
    "TemporalPositionIdentifier",
    "EchoNumbers",
    "EchoTime",
    "DiffusionBValue",
    "TriggerTime",
    "AcquisitionTime",
    "ContentTime",
)
_PLAIN = (
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "SeriesDescription",
    "FrameOfReferenceUID", "Modality", "Rows", "Columns", "NumberOfFrames", "InstanceNumber",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness",
    "SpacingBetweenSlices", "RescaleSlope", "RescaleIntercept", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)  # fmt: skip
# Where an enhanced file keeps, of each frame, what others keep at the top.
_GROUPS = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "SliceThickness": "PixelMeasuresSequence",
    "SpacingBetweenSlices": "PixelMeasuresSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
    "AcquisitionNumber": "FrameContentSequence/FrameAcquisitionNumber",
    "TemporalPositionIdentifier": "FrameContentSequence/TemporalPositionIndex",
    "AcquisitionTime": "FrameContentSequence/FrameAcquisitionDateTime",
    "EchoTime": "MREchoSequence/EffectiveEchoTime",
    "DiffusionBValue": "MRDiffusionSequence",
    "TriggerTime": "CardiacSynchronizationSequence/NominalCardiacTriggerDelayTime",
}

_FARTHEST = 1e7  # mm
_PACKED = 1 << 15  # pixels in a byte: JPEG 2000 makes one of a blank picture of a thousand


@dataclass(frozen=True, eq=False)
class Frame:
    """One image: in which file, and what its header says.

    Attributes:
        path: its file; index: its number there, from 0; count: images in the file.
        is_plain_stack: one of many in a file that tells nothing of each (ultrasound, secondary
            capture).
        sop_class, sop, series, description, modality: as in the header, "" where it is silent.
        rows, columns: its size.
        position: of its first pixel, LPS mm; orientation: of its rows and columns, 6 cosines.
        spacing: mm between rows, between columns; thickness: mm to the next slice, or of this one.
        instance: its number in the series.
        rescale: slope and intercept; first_rescale: those of the first image of the file.
        marks: what tells it from others at the same place, those of ``MARKS`` that it has.
    """

    path: Path
    index: int
    count: int
    is_plain_stack: bool
    sop_class: str
    sop: str
    series: str
    description: str
    modality: str
    rows: int
    columns: int
    position: np.ndarray | None
    orientation: np.ndarray | None
    spacing: tuple[float, float] | None
    thickness: float | None
    instance: float
    rescale: tuple[float, float]
    first_rescale: tuple[float, float]
    marks: Mapping[str, float | str] = field(default_factory=dict)


@dataclass(frozen=True)
class Damaged:
    """A file with DICOM's mark that cannot be used, and why."""

    path: Path
    why: str = "is damaged or cut short"


class _Lie(Exception):
    """A header that says what cannot be."""


def read_frames(path: Path) -> list[Frame] | Damaged | None:
    """The images of one file; None of what is no DICOM or holds no image."""
    import pydicom

    marked = _has_mark(path)
    if marked is None:
        return None
    tags = [*_PLAIN, *MARKS]
    try:
        with warnings.catch_warnings(), pydicom.config.disable_value_validation():
            warnings.simplefilter("ignore")
            data = pydicom.dcmread(
                path, stop_before_pixels=True, specific_tags=tags, force=not marked
            )
            if "Rows" not in data or "Columns" not in data:
                return Damaged(path) if marked and _is_cut(data) else None
            return _frames(path, data)
    except _Lie as lie:
        return Damaged(path, str(lie))
    except Exception:  # pydicom's parsers raise what their input makes them stumble on
        return Damaged(path) if marked else None


def read_uid(path: Path) -> str:
    """The series that a file belongs to, quickly; "" of what is no DICOM."""
    return _one_tag(path, "SeriesInstanceUID")


def read_modality(path: Path) -> str:
    """The modality of a file, "CT", "SEG", quickly; "" of what is no DICOM."""
    return _one_tag(path, "Modality").upper()


def _one_tag(path: Path, tag: str) -> str:
    import pydicom

    if _has_mark(path) is None:
        return ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = pydicom.dcmread(
                path, stop_before_pixels=True, specific_tags=[tag], force=True
            )
            return str(data.get(tag, "") or "").strip()
    except Exception:  # as above
        return ""


def _has_mark(path: Path) -> bool | None:
    """Whether the file carries DICOM's mark; None where it does not begin as DICOM at all."""
    try:
        with path.open("rb") as file:
            start = file.read(132)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if start[128:] == b"DICM":
        return True
    # Files of before 1993 begin with group 8 (or 2) at once.
    return False if start[:4] in _FIRST_GROUPS and len(start) == 132 else None


_FIRST_GROUPS = (b"\x08\0\0\0", b"\x08\0\x05\0", b"\x08\0\x08\0", b"\x08\0\x16\0", b"\x02\0\0\0")


def _is_cut(data: Any) -> bool:
    """Whether an image file ends before it tells its size."""
    import pydicom

    name = pydicom.uid.UID(str(data.get("SOPClassUID", ""))).name
    return "Image Storage" in name or not data.get("SOPClassUID")


def _frames(path: Path, data: Any) -> list[Frame]:
    count = int(data.get("NumberOfFrames") or 1)
    _check_size(path, int(data.Rows), int(data.Columns), count)
    shared = _first(data.get("SharedFunctionalGroupsSequence"))
    each = data.get("PerFrameFunctionalGroupsSequence") or ()
    if not each:
        return [_frame(path, data, 0, count, ())]
    frames = [_frame(path, data, n, count, (group, shared)) for n, group in enumerate(each)]
    return [replace(frame, first_rescale=frames[0].rescale) for frame in frames]


def _frame(path: Path, data: Any, index: int, count: int, groups: Sequence[Any]) -> Frame:
    def find(name: str) -> Any:
        return _in_groups(groups, name) if groups and name in _GROUPS else data.get(name)

    spacing = _place(find("PixelSpacing"), 2, "pixel spacing")
    step = _positive(find("SpacingBetweenSlices"))
    thickness = _positive(find("SliceThickness"))
    marks = {name: value for name in MARKS if (value := _mark(find(name))) is not None}
    rescale = (_number(find("RescaleSlope"), 1.0), _number(find("RescaleIntercept"), 0.0))
    return Frame(
        path=path,
        index=index,
        count=count,
        is_plain_stack=count > 1 and not groups,
        sop_class=str(data.get("SOPClassUID", "")),
        sop=str(data.get("SOPInstanceUID", "")),
        series=str(data.get("SeriesInstanceUID", "")),
        description=str(data.get("SeriesDescription", "") or "").strip(),
        modality=str(data.get("Modality", "") or "").strip().upper(),
        rows=int(data.Rows),
        columns=int(data.Columns),
        position=_place(find("ImagePositionPatient"), 3, "position"),
        orientation=_orientation(find("ImageOrientationPatient")),
        spacing=None if spacing is None or (spacing <= 0).any() else tuple(spacing.tolist()),
        thickness=step or thickness,
        instance=_number(data.get("InstanceNumber"), 0.0),
        rescale=rescale,
        first_rescale=rescale,
        marks=marks,
    )


def _in_groups(groups: Sequence[Any], name: str) -> Any:
    """An entry of a frame's own functional group, else of the shared one."""
    sequence, _, other = _GROUPS[name].partition("/")
    for group in groups:
        item = _first(group.get(sequence)) if group is not None else None
        value = item.get(other or name) if item is not None else None
        if value not in (None, ""):
            return value
    return None


def _first(sequence: Any) -> Any:
    return sequence[0] if sequence else None


def _numbers(value: Any, length: int) -> np.ndarray | None:
    """``length`` finite numbers, or None."""
    if value is None or value == "":
        return None
    try:
        parts = np.atleast_1d(np.array(value, dtype=float))
    except (TypeError, ValueError):
        return None
    return parts if parts.shape == (length,) and np.isfinite(parts).all() else None


def _place(value: Any, length: int, what: str) -> np.ndarray | None:
    """``length`` mm, or None where the header is silent.

    Raises:
        _Lie: it says something else.
    """
    if value is None or value == "" or len(np.atleast_1d(value)) == 0:
        return None
    numbers = _numbers(value, length)
    if numbers is None or np.abs(numbers).max() > _FARTHEST:
        raise _Lie(f"its {what} in the header is not {length} sane lengths in mm")
    return numbers


def _check_size(path: Path, rows: int, columns: int, count: int) -> None:
    """Refuse a header that claims pixels that no compression could have put into the file."""
    if count < 0 or rows * columns * count > _PACKED * path.stat().st_size:
        raise _Lie(f"its header tells of {count} x {columns} x {rows} pixels, which are not there")


def _number(value: Any, otherwise: float) -> float:
    number = _numbers(value, 1)
    return otherwise if number is None else float(number[0])


def _positive(value: Any) -> float | None:
    number = _numbers(value, 1)
    return abs(float(number[0])) or None if number is not None else None


def _orientation(value: Any) -> np.ndarray | None:
    """Six cosines of two unit vectors at right angles; None where they are not."""
    cosines = _numbers(value, 6)
    if cosines is None:
        return None
    lengths = np.linalg.norm(cosines.reshape(2, 3), axis=1)
    if (np.abs(lengths - 1) > 0.05).any() or abs(cosines[:3] @ cosines[3:]) > 0.05:
        return None
    return cosines


def _mark(value: Any) -> float | str | None:
    if value in (None, ""):
        return None
    number = _numbers(value, 1)
    return float(number[0]) if number is not None else str(value)
