"""DICOM series: which files belong together, which series is meant, and the order of its images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .dicom_headers import MARKS, Damaged, Frame, read_frames
from .errors import InputError
from .slice_stack import normal_of

# What is drawn or planned on images, by modality.
NOT_IMAGES = {"SEG", "RTSTRUCT", "RTDOSE", "RTPLAN", "SR", "PR", "KO"}

# Cosines that differ by no more are one orientation: 0.1 degree.
_SAME_DIRECTION = np.radians(0.1)
# Heights closer than this share of the mean step are one position.
_SAME_HEIGHT = 0.1


@dataclass(frozen=True)
class Series:
    """Images of one series that share an orientation and a size."""

    frames: tuple[Frame, ...]

    @property
    def uid(self) -> str:
        return self.frames[0].series

    @property
    def description(self) -> str:
        return self.frames[0].description

    @property
    def modality(self) -> str:
        return self.frames[0].modality


@dataclass(frozen=True)
class Folder:
    """What a folder holds: image series, the one with most images first; other DICOM objects; and
    files that carry DICOM's mark and cannot be read."""

    images: tuple[Series, ...]
    others: tuple[Series, ...]
    damaged: tuple[Damaged, ...]


def look_through(folder: Path) -> Folder:
    """All series in ``folder`` and below."""
    found: list[Frame] = []
    damaged = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        read = read_frames(path)
        if isinstance(read, Damaged):
            damaged.append(read)
        elif read:
            found += read
    series = sorted(group_frames(found), key=lambda s: (-len(s.frames), s.uid))
    images = tuple(s for s in series if s.modality not in NOT_IMAGES)
    others = tuple(s for s in series if s.modality in NOT_IMAGES)
    return Folder(images, others, tuple(damaged))


def group_frames(frames: Sequence[Frame]) -> list[Series]:
    """Frames by series, size and orientation. A file of images without positions stands alone."""
    groups: dict[tuple, list[tuple[np.ndarray | None, list[Frame]]]] = {}
    for frame in frames:
        alone = frame.path if frame.is_plain_stack else None
        key = (frame.series, frame.modality, frame.rows, frame.columns, alone)
        alike = groups.setdefault(key, [])
        home = next((members for cosines, members in alike
                     if _same_direction(cosines, frame.orientation)), None)  # fmt: skip
        if home is None:
            alike.append((frame.orientation, [frame]))
        else:
            home.append(frame)
    return [Series(tuple(members)) for alike in groups.values() for _, members in alike]


def _same_direction(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    if one is None or other is None:
        return one is other
    return bool(np.linalg.norm((one - other).reshape(2, 3), axis=1).max() <= _SAME_DIRECTION)


def choose_series(path: Path, found: Folder, wanted: str | int | None) -> Series:
    """The series that is meant: the only one with images, or the one that ``wanted`` names by its
    number in the list (from 1), its UID or the UID's end, or its description.

    Raises:
        InputError: there is none, or several fit.
    """
    if not found.images and found.others:
        raise InputError(
            f"{path}: the series is a DICOM {found.others[0].modality}, not an image; name the "
            "images it belongs to"
        )
    if not found.images:
        if found.damaged:
            raise InputError(
                f"{found.damaged[0].path}: {found.damaged[0].why}, and no other DICOM image is "
                "there; copy or export it again"
            )
        raise InputError(f"{path}: holds no DICOM images; name a DICOM folder or an image file")
    images = found.images
    if wanted is None:
        if len(images) == 1:
            return images[0]
        raise InputError(
            f"{path}: holds {len(images)} DICOM series; choose one with series=: {_list(images)}"
        )
    text = str(wanted).strip()
    if text.isdecimal() and 1 <= int(text) <= len(images):
        return images[int(text) - 1]
    hits = [s for s in images if text in (s.uid, s.description)]
    hits = hits or [s for s in images if text and s.uid.endswith(text)]
    if len(hits) != 1:
        what = "no series" if not hits else f"{len(hits)} series"
        raise InputError(f"{path}: {what} fits {text!r}; choose one of: {_list(images)}")
    return hits[0]


def _list(found: Sequence[Series]) -> str:
    return "; ".join(
        f"{number}. {s.description or 'no description'} "
        f"({s.modality or '?'}, {len(s.frames)} slices, UID {s.uid})"
        for number, s in enumerate(found, 1)
    )


def order_frames(
    path: Path, series: Series, component: int | None
) -> tuple[list[Frame], tuple[str, ...]]:
    """The images from the first position to the last along the slices' normal, and notes.

    Raises:
        InputError: positions were taken several times and none of the images is chosen.
    """
    frames, notes = _without_duplicates(series.frames)
    if frames[0].orientation is None or any(f.position is None for f in frames):
        _check_only(path, component)
        ordered = sorted(frames, key=_rank)
        note = "its slices tell no position; they are taken in their numbers' order"
        return ordered, (*notes, *((note,) if len(ordered) > 1 else ()))
    levels = _levels(frames)
    if max(map(len, levels)) == 1:
        _check_only(path, component)
        return [level[0] for level in levels], notes
    parts, differ = _components(path, levels)
    if component is None or not 0 <= component < len(parts):
        raise InputError(
            f"{path}: holds {len(parts)} frames of the same slices{differ}; "
            f"choose one with component= 0 to {len(parts) - 1}"
        )
    return parts[component], notes


def _check_only(path: Path, component: int | None) -> None:
    if component not in (None, 0):
        raise InputError(f"{path}: has one frame; component= {component} is not there")


def _without_duplicates(frames: Sequence[Frame]) -> tuple[list[Frame], tuple[str, ...]]:
    """Frames without second files of the same image."""
    kept: dict[tuple, Frame] = {}
    copies = []
    for frame in frames:
        place = None if frame.position is None else tuple(np.round(frame.position, 3))
        own = frame.sop or str(frame.path)
        key = (own, frame.index, place, frame.instance, tuple(sorted(frame.marks.items())))
        if kept.setdefault(key, frame) is not frame:
            copies.append(frame.path.name)
    if not copies:
        return list(frames), ()
    what = f"{len(copies)} files are duplicates" if len(copies) > 1 else "1 file is a duplicate"
    shown = ", ".join(copies[:4]) + (" ..." if len(copies) > 4 else "")
    return list(kept.values()), (f"{what} of others and left out ({shown})",)


def _levels(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Frames by their position along the normal, rising."""
    normal = normal_of(frames[0].orientation)
    heights = np.array([frame.position @ normal for frame in frames])
    order = np.argsort(heights, kind="stable")
    rising = heights[order]
    step = _SAME_HEIGHT * (rising[-1] - rising[0]) / max(len(frames) - 1, 1)
    starts = np.concatenate(([True], np.diff(rising) > max(step, 1e-4)))
    levels: list[list[Frame]] = []
    for start, place in zip(starts, order):
        if start:
            levels.append([])
        levels[-1].append(frames[int(place)])
    return levels


def _components(path: Path, levels: Sequence[list[Frame]]) -> tuple[list[list[Frame]], str]:
    """Frames at the same places as stacks of their own, and what tells them apart.

    Stacks are those of one acquisition, time, echo or the like, where such a mark tells the frames
    of every position apart; else of the same rank at every position.
    """
    for mark in MARKS:
        values = sorted({f.marks.get(mark) for level in levels for f in level}, key=_sortable)
        if None in values or len(values) < 2:
            continue
        parts = {value: [] for value in values}
        for level in levels:
            for frame in level:
                parts[frame.marks[mark]].append(frame)
        alone = all(len({f.marks[mark] for f in level}) == len(level) for level in levels)
        if alone and len(values) <= 2 * max(map(len, levels)):
            shown = ", ".join(_shown(value) for value in values[:6])
            return list(parts.values()), f" ({mark} {shown}{' ...' if len(values) > 6 else ''})"
    number = max(map(len, levels))
    if any(len(level) != number for level in levels):
        raise InputError(
            f"{path}: some of its slices were taken more than once, others not; "
            "keep one file per position"
        )
    ranked = [sorted(level, key=_rank) for level in levels]
    return [[level[n] for level in ranked] for n in range(number)], ""


def _rank(frame: Frame) -> tuple:
    marks = [_sortable(frame.marks.get(mark)) for mark in MARKS]
    return (frame.instance, *marks, frame.path.name, frame.index)


def _sortable(value: float | str | None) -> tuple:
    """Numbers before texts before nothing."""
    if value is None:
        return (2, 0.0, "")
    return (1, 0.0, value) if isinstance(value, str) else (0, value, "")


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"
