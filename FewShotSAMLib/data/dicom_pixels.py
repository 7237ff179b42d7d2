"""The pixels of DICOM images, read with SimpleITK: each with its own rescale slope."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .dicom_headers import Frame
from .errors import InputError
from .itk_messages import quiet, reason


def read_image(path: Path) -> Any:
    """The ``SimpleITK.Image`` of one DICOM file.

    Raises:
        InputError: it is damaged, or its compression is not known.
    """
    import SimpleITK as sitk

    try:
        with quiet():
            return sitk.ReadImage(str(path), imageIO="GDCMImageIO")
    except RuntimeError as error:
        raise InputError(
            f"{path}: cannot be read ({reason(error)}); copy or export it again"
        ) from None


def read_pixels(frames: Sequence[Frame]) -> tuple[np.ndarray, tuple[float, float]]:
    """(k, j, i[, 3]) of the frames, rescaled, and the mm along i and j.

    Whole numbers stay whole where all slopes are; else float32.

    Raises:
        InputError: a file is damaged, or its size is not what its header says.
    """
    files: dict[Path, np.ndarray] = {}
    planes = []
    pixel = (1.0, 1.0)
    last = {frame.path: place for place, frame in enumerate(frames)}
    for place, frame in enumerate(frames):
        if frame.path not in files:
            image = read_image(frame.path)
            pixel = tuple(image.GetSpacing()[:2])
            files[frame.path] = _frames_of(image)
        stack = files[frame.path]
        if stack.shape[0] <= frame.index or stack.shape[1:3] != (frame.rows, frame.columns):
            raise InputError(
                f"{frame.path}: holds other pixels than its header says; copy or export it again"
            )
        plane = stack[frame.index]
        planes.append(_own_slope(plane, frame))
        if last[frame.path] == place:
            del files[frame.path]
    first = frames[0]
    if first.spacing is not None and first.count > 1:
        pixel = (first.spacing[1], first.spacing[0])
    voxels = np.empty((len(planes), *planes[0].shape), _common_type(planes))
    for k, plane in enumerate(planes):
        voxels[k] = plane
    return voxels, pixel


def _common_type(planes: Sequence[np.ndarray]) -> np.dtype:
    """float32 for decimals; else the narrowest that holds all (ITK widens what an intercept may
    carry over 16 bits)."""
    dtype = np.result_type(*{plane.dtype for plane in planes})
    if dtype.kind == "f":
        return np.dtype(np.float32)
    if dtype.itemsize > 2:
        low, high = min(p.min() for p in planes), max(p.max() for p in planes)
        for narrow in (np.int16, np.uint16):
            if np.iinfo(narrow).min <= low and high <= np.iinfo(narrow).max:
                return np.dtype(narrow)
    return dtype


def _frames_of(image: Any) -> np.ndarray:
    """(frames, rows, columns[, 3]) as SimpleITK gives it: with the slope of the first frame."""
    import SimpleITK as sitk

    voxels = sitk.GetArrayFromImage(image)
    flat = image.GetDimension() == 2
    return voxels[None] if flat else voxels


def _own_slope(plane: np.ndarray, frame: Frame) -> np.ndarray:
    """A frame that was rescaled as the first of its file was, with its own slope instead."""
    (slope, intercept), first = frame.rescale, frame.first_rescale
    if first == frame.rescale or first[0] == 0:
        return plane
    stored = np.rint((plane.astype(np.float64) - first[1]) / first[0])
    return (stored * slope + intercept).astype(np.float32)
