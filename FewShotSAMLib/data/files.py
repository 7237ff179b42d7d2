"""Opening an image file: known formats, and one clear line when a file cannot be opened."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from .errors import InputError
from .file_kinds import (
    DICOM,
    JPEG,
    NIFTI,
    PICTURES,
    READABLE,
    VOLUMES,
    extension,
    is_dicom_file,
)
from .itk_messages import quiet, reason
from .packed_checksum import read_checked
from .picture_header import picture_reader
from .volume_header import volume_header
from .whole_files import atomic_path, written_path
from .written_images import check_written

__all__ = [
    "DICOM", "JPEG", "NIFTI", "PICTURES", "READABLE", "VOLUMES", "atomic_path", "check_file",
    "check_kind", "extension", "is_dicom_file", "open_image", "save_image", "written_path",
]  # fmt: skip


def open_image(path: Path) -> Any:
    """The ``SimpleITK.Image`` of a file, as stored; NIfTI is read by ``nifti.open_nifti``.

    Raises:
        InputError: the file is missing, empty, of an unknown format, or cannot be read; its header
            is damaged or tells of voxels that are not there.
    """
    kind = check_kind(path)
    if kind in JPEG:
        return _open_with_pillow(path, "L", "RGB")
    if kind in PICTURES:
        return _read(path, picture_reader(path))
    reader, stored = volume_header(path)
    return read_checked(path, stored, lambda _: _read(path, reader))


def _read(path: Path, reader_name: str) -> Any:
    import SimpleITK as sitk

    try:
        with quiet():
            reader = sitk.ImageFileReader()
            reader.SetImageIO(reader_name)
            reader.SetFileName(str(path))
            return reader.Execute()
    except RuntimeError as error:
        if extension(path) in PICTURES and "PixelType" in str(error):
            return _open_with_pillow(path, "L")  # grey with transparency
        raise InputError(f"{path}: cannot be read ({reason(error)}); export it again") from None


def check_kind(path: Path) -> str:
    """The extension of a file with content that can be read.

    Raises:
        InputError: the file is missing, empty, or of an unknown format.
    """
    check_file(path)
    kind = extension(path)
    if kind != ".seg.nrrd" and kind not in READABLE and not is_dicom_file(path):
        raise InputError(
            f"{path}: unknown kind of file; known are {' '.join(READABLE)} and DICOM folders"
        )
    return kind


def check_file(path: Path) -> None:
    """Refuse what is no file with content.

    Raises:
        InputError: missing, a folder, a pipe, empty, or not allowed to be read; a name that ITK
            cannot open.
    """
    check_name(path)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name a file")
    if not path.is_file():
        raise InputError(f"{path}: is no file but a device or a pipe; name a file")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty; export it again")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path}: no permission to read it")


def check_name(path: Path) -> None:
    """Refuse a name that is no Unicode text: ITK takes the process down with it.

    Raises:
        InputError: it is not UTF-8.
    """
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        shown = str(path).encode("utf-8", "backslashreplace").decode("utf-8")
        raise InputError(
            f"{shown}: its name is not UTF-8, which is not opened; rename the file or its folder"
        ) from None


def save_image(image: Any, path: Path) -> None:
    """Write a ``SimpleITK.Image`` compressed and whole, or not at all.

    Raises:
        InputError: it cannot be written there.
    """
    import SimpleITK as sitk

    check_name(path)
    with atomic_path(path) as temporary:
        try:
            with quiet():
                sitk.WriteImage(image, str(temporary), useCompression=True)
        except RuntimeError as error:
            raise InputError(f"{path}: cannot be written ({reason(error)})") from None
        check_written(temporary, image.GetSize(), path)


def _open_with_pillow(path: Path, *modes: str) -> Any:
    """A picture in the first of some modes that it has, else in the last. ITK does not read grey
    ones with transparency, and its JPEG library prints on standard output."""
    import SimpleITK as sitk
    from PIL import Image

    try:
        with warnings.catch_warnings(), Image.open(path) as picture:
            warnings.simplefilter("ignore")
            pixels = picture.convert(picture.mode if picture.mode in modes else modes[-1])
            return sitk.GetImageFromArray(np.asarray(pixels), isVector=pixels.mode == "RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        what = "its content is of another kind than its name"
        if not isinstance(error, Image.UnidentifiedImageError):
            what = " ".join(str(error).split())
        raise InputError(f"{path}: cannot be read ({what}); export it again") from None
