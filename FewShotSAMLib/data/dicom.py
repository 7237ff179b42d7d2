"""DICOM folders and files: find the series, choose one, put its slices where they were taken."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .dicom_headers import Damaged, Frame, read_frames, read_uid
from .dicom_pixels import read_image, read_pixels
from .dicom_series import (
    NOT_IMAGES,
    Folder,
    Series,
    choose_series,
    group_frames,
    look_through,
    order_frames,
)
from .errors import InputError
from .slice_stack import normal_of, stack_slices

__all__ = ["Series", "find_series", "read_file", "read_series"]


def find_series(folder: Path) -> list[Series]:
    """All image series in ``folder`` and below, the one with most images first; where there are
    none, the other DICOM objects."""
    found = look_through(folder)
    return list(found.images or found.others)


def read_series(
    folder: Path, series: str | int | None = None, component: int | None = None
) -> tuple[Any, str, tuple[str, ...]]:
    """The image of a series in ``folder`` (subfolders included), its DICOM modality, and notes.

    Args:
        folder: where the files are.
        series: which one, where there are several: its number in the list that the error message
            gives (from 1), its UID or the UID's end, or its description.
        component: which image (from 0), where every position was taken several times.

    Raises:
        InputError: no DICOM images, several series and none chosen, unreadable ones, or slices
            that form no volume.
    """
    found = look_through(folder)
    image, modality, notes = _read(folder, choose_series(folder, found, series), component)
    if found.damaged:
        names = ", ".join(str(one.path.relative_to(folder)) for one in found.damaged[:5])
        more = " ..." if len(found.damaged) > 5 else ""
        why = "; ".join(dict.fromkeys(one.why for one in found.damaged))
        said = "damaged or cut short" if why == Damaged.why else f"unusable ({why})"
        notes = (*notes, f"left out, since {said}: {names}{more}; copy them again")
    return image, modality, notes


def read_file(
    path: Path, component: int | None = None
) -> tuple[Any, str, tuple[str, ...]]:
    """The image of one DICOM file, of one slice or many, its modality, and notes.

    Raises:
        InputError: it is no DICOM image, damaged, or holds several images of its places.
    """
    frames = read_frames(path)
    if isinstance(frames, Damaged):
        raise InputError(f"{path}: {frames.why}; copy or export it again")
    if not frames:
        image = read_image(path)  # a file that is none ends here
        tagged = image.GetMetaData("0008|0060") if image.HasMetaDataKey("0008|0060") else ""
        return image, tagged.strip().upper(), ()
    groups = group_frames(frames)
    found = Folder(
        tuple(s for s in groups if s.modality not in NOT_IMAGES),
        tuple(s for s in groups if s.modality in NOT_IMAGES),
        (),
    )
    if len(found.images) > 1:
        raise InputError(
            f"{path}: holds images of {len(found.images)} orientations, so they form no volume; "
            "export each as a series of its own"
        )
    image, modality, notes = _read(path, choose_series(path, found, None), component)
    others = _siblings(path, frames[0]) if len(frames) == 1 else 0
    if others:
        notes = (
            *notes, f"is one of {others + 1} files of its series; name the folder to read them all"
        )  # fmt: skip
    return image, modality, notes


def _siblings(path: Path, frame: Frame) -> int:
    """How many other files beside this one belong to its series."""
    if not frame.series:
        return 0
    return sum(
        read_uid(other) == frame.series
        for other in path.parent.iterdir()
        if other.is_file() and other != path
    )


def _read(
    path: Path, series: Series, component: int | None
) -> tuple[Any, str, tuple[str, ...]]:
    if series.frames[0].is_plain_stack:
        image = read_image(series.frames[0].path)
        note = (
            f"its {series.frames[0].count} images tell no position; they are taken as slices "
            f"{image.GetSpacing()[-1]:g} mm apart"
        )
        return image, series.modality, (note,)
    frames, notes = order_frames(path, series, component)
    voxels, pixel = read_pixels(frames)
    image, more = _image(voxels, frames, pixel, path)
    return image, series.modality, (*notes, *more)


def _image(
    voxels: np.ndarray, frames: Sequence[Frame], pixel: tuple[float, float], path: Path
) -> tuple[Any, tuple[str, ...]]:
    """A ``SimpleITK.Image`` of slices in order, at their places."""
    import SimpleITK as sitk

    first, notes = frames[0], ()
    origin, direction = (0.0, 0.0, 0.0), np.eye(3)
    spacing = (*pixel, first.thickness or 1.0)
    if first.orientation is not None and all(f.position is not None for f in frames):
        if len(frames) > 1:
            positions = np.stack([frame.position for frame in frames])
            stack = stack_slices(voxels, positions, first.orientation, pixel, str(path))
            voxels, spacing, notes = stack.voxels, stack.spacing, stack.notes
            origin, direction = stack.origin, stack.direction
        else:
            origin, normal = tuple(first.position), normal_of(first.orientation)
            row = first.orientation[:3] / np.linalg.norm(first.orientation[:3])
            direction = np.stack((row, np.cross(normal, row), normal), axis=1)
    if len(frames) == 1 and first.thickness is None:
        notes = (*notes, "its header tells no slice thickness; 1 mm is taken")
    image = sitk.GetImageFromArray(voxels, isVector=voxels.ndim == 4)
    image.SetSpacing(tuple(float(s) for s in spacing))
    image.SetOrigin(tuple(float(x) for x in origin))
    image.SetDirection(direction.ravel().tolist())
    return image, notes
