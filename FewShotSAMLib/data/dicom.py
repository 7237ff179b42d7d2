"""DICOM folders: find the series, choose one, read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .errors import InputError
from .files import quiet, reason

_TAGS = {
    "uid": "0020|000e",
    "description": "0008|103e",
    "modality": "0008|0060",
    "position": "0020|0032",
    "orientation": "0020|0037",
    "rows": "0028|0010",
    "columns": "0028|0011",
    "frames": "0028|0008",
    "instance": "0020|0013",
}
_NOT_IMAGES = {"SEG", "RTSTRUCT", "RTDOSE", "RTPLAN", "SR", "PR", "KO"}


@dataclass(frozen=True)
class Slice:
    """One DICOM file: where it lies and what its tags say."""

    path: Path
    tags: dict[str, str]

    def numbers(self, tag: str) -> np.ndarray | None:
        try:
            return np.array([float(x) for x in self.tags[tag].split("\\")])
        except (KeyError, ValueError):
            return None


@dataclass(frozen=True)
class Series:
    """Files of one series that share an orientation and a size."""

    slices: tuple[Slice, ...]

    @property
    def uid(self) -> str:
        return self.slices[0].tags.get("uid", "")

    @property
    def description(self) -> str:
        return self.slices[0].tags.get("description", "")

    @property
    def modality(self) -> str:
        return self.slices[0].tags.get("modality", "")


def read_series(
    folder: Path, series: str | int | None = None, frame: int | None = None
) -> tuple[Any, str, tuple[str, ...]]:
    """The image of a series in ``folder`` (subfolders included), its DICOM modality, and notes.

    Args:
        folder: where the files are.
        series: which one, where there are several: its number in the list that the error message
            gives (from 1), its UID or the UID's end, or its description.
        frame: which frame (from 0), where every position was taken several times.

    Raises:
        InputError: no DICOM images, several series and none chosen, or unreadable ones.
    """
    chosen = _choose(folder, find_series(folder), series)
    if chosen.modality in _NOT_IMAGES:
        raise InputError(
            f"{folder}: the series is a DICOM {chosen.modality}, not an image; "
            "convert it to .seg.nrrd or NIfTI (for example in 3D Slicer)"
        )
    files, notes = _in_order(folder, chosen, frame)
    image = _read(folder, files)
    tilt = _follow_positions(image, files)
    if tilt > 0.5:
        notes = (*notes, f"its slices are sheared: the gantry was tilted by {tilt:.0f} degrees")
    return image, chosen.modality, notes


def find_series(folder: Path) -> list[Series]:
    """All image series in ``folder`` and below, the one with most files first."""
    groups: dict[tuple, list[Slice]] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        found = _tags(path)
        if found is None:
            continue
        orientation = Slice(path, found).numbers("orientation")
        key = (
            found.get("uid", ""),
            None if orientation is None else tuple(np.round(orientation, 2) + 0.0),
            found.get("rows"),
            found.get("columns"),
        )
        groups.setdefault(key, []).append(Slice(path, found))
    series = [Series(tuple(slices)) for slices in groups.values()]
    return sorted(series, key=lambda s: (-len(s.slices), s.uid))


def _tags(path: Path) -> dict[str, str] | None:
    """The tags of a DICOM image, None for any other file."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    try:
        with quiet():
            reader.ReadImageInformation()
    except RuntimeError:
        return None
    keys = set(reader.GetMetaDataKeys())
    return {
        name: reader.GetMetaData(tag).strip(" \0") for name, tag in _TAGS.items() if tag in keys
    }


def _choose(folder: Path, found: Sequence[Series], wanted: str | int | None) -> Series:
    if not found:
        raise InputError(f"{folder}: holds no DICOM images; name a DICOM folder or an image file")
    if wanted is None:
        if len(found) == 1:
            return found[0]
        raise InputError(
            f"{folder}: holds {len(found)} DICOM series; choose one with series=: {_list(found)}"
        )
    text = str(wanted).strip()
    if text.isdecimal() and 1 <= int(text) <= len(found):
        return found[int(text) - 1]
    hits = [s for s in found if text in (s.uid, s.description)]
    hits = hits or [s for s in found if text and s.uid.endswith(text)]
    if len(hits) != 1:
        what = "no series" if not hits else f"{len(hits)} series"
        raise InputError(f"{folder}: {what} fits {text!r}; choose one of: {_list(found)}")
    return hits[0]


def _list(found: Sequence[Series]) -> str:
    return "; ".join(
        f"{number}. {s.description or 'no description'} "
        f"({s.modality or '?'}, {len(s.slices)} slices, UID {s.uid})"
        for number, s in enumerate(found, 1)
    )


def _in_order(
    folder: Path, series: Series, frame: int | None
) -> tuple[list[Slice], tuple[str, ...]]:
    """The files from the first position to the last along the slices' normal."""
    orientation = series.slices[0].numbers("orientation")
    positions = [s.numbers("position") for s in series.slices]
    if orientation is None or len(orientation) != 6 or any(p is None for p in positions):
        ordered = sorted(series.slices, key=lambda s: (_instance(s), s.path.name))
        notes = ("its slices tell no position; they are taken in their numbers' order",)
        return ordered, notes if len(ordered) > 1 else ()
    normal = np.cross(orientation[:3], orientation[3:])
    levels: dict[float, list[Slice]] = {}
    for one, position in zip(series.slices, positions):
        levels.setdefault(round(float(position @ normal), 2), []).append(one)
    frames = max(len(level) for level in levels.values())
    if frames > 1:
        if any(len(level) != frames for level in levels.values()):
            raise InputError(
                f"{folder}: some of its slices were taken more than once, others not; "
                "keep one file per position"
            )
        if frame is None or not 0 <= frame < frames:
            raise InputError(
                f"{folder}: holds {frames} frames of the same slices; "
                f"choose one with component= 0 to {frames - 1}"
            )
    elif frame not in (None, 0):
        raise InputError(f"{folder}: has one frame; component= {frame} is not there")
    heights = sorted(levels)
    ordered = [sorted(levels[height], key=_instance)[frame or 0] for height in heights]
    gaps = np.diff(heights)
    if len(gaps) > 1 and gaps.max() > 1.1 * gaps.min() + 0.02:
        note = f"its slices are {gaps.min():.2f} to {gaps.max():.2f} mm apart; some may be missing"
        return ordered, (note,)
    return ordered, ()


def _instance(one: Slice) -> float:
    number = one.numbers("instance")
    return float(number[0]) if number is not None and len(number) else 0.0


def _follow_positions(image: Any, files: Sequence[Slice]) -> float:
    """Put the slices of a sheared stack where their tags say, which ITK takes for upright.

    Returns the angle between the way from slice to slice and the slices' normal in degrees.
    """
    first, last = files[0].numbers("position"), files[-1].numbers("position")
    if len(files) < 2 or first is None or last is None:
        return 0.0
    step = (last - first) / (len(files) - 1)
    direction = np.asarray(image.GetDirection()).reshape(3, 3)
    length = np.linalg.norm(step)
    tilt = np.degrees(np.arccos(np.clip(direction[:, 2] @ step / length, -1, 1)))
    if tilt > 0.5:
        direction[:, 2] = step / length
        image.SetDirection(direction.ravel().tolist())
        image.SetSpacing((*image.GetSpacing()[:2], float(length)))
    return float(tilt)


def _read(folder: Path, files: Sequence[Slice]) -> Any:
    import SimpleITK as sitk

    try:
        with quiet():
            if len(files) == 1:
                return sitk.ReadImage(str(files[0].path), imageIO="GDCMImageIO")
            reader = sitk.ImageSeriesReader()
            reader.SetImageIO("GDCMImageIO")
            reader.SetFileNames([str(one.path) for one in files])
            return reader.Execute()
    except RuntimeError as error:
        raise InputError(f"{folder}: cannot be read ({reason(error)}); export it again") from None
