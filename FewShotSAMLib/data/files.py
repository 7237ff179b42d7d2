"""Opening an image file: known formats, and one clear line when a file cannot be opened."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from .errors import InputError
from .itk_messages import quiet, reason

JPEG = (".jpg", ".jpeg")
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
NIFTI = (".nii", ".nii.gz", ".hdr", ".img", ".img.gz")
VOLUMES = (*NIFTI, ".nrrd", ".nhdr", ".mha", ".mhd")
DICOM = (".dcm", ".dicom", ".ima")
READABLE = (*VOLUMES, *DICOM, *PICTURES)


def extension(path: Path) -> str:
    """The lower-case extension, ".nii.gz" and ".seg.nrrd" included; "" where there is none."""
    name = path.name.lower()
    for double in (".nii.gz", ".img.gz", ".seg.nrrd"):
        if name.endswith(double):
            return double
    return path.suffix.lower()


def is_dicom_file(path: Path) -> bool:
    """Whether the file carries DICOM's mark, whatever its name."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def open_image(path: Path) -> Any:
    """The ``SimpleITK.Image`` of a file, as stored; NIfTI is read by ``nifti.open_nifti``.

    Raises:
        InputError: the file is missing, empty, of an unknown format, or cannot be read.
    """
    import SimpleITK as sitk

    if check_kind(path) in JPEG:
        return _open_with_pillow(path, "L", "RGB")
    try:
        with quiet():
            reader = sitk.ImageFileReader()
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
        InputError: missing, a folder, empty, or not allowed to be read.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name a file")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty; export it again")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path}: no permission to read it")


def written_path(path: Path) -> Path:
    """The file that writing to ``path`` changes: what a symbolic link leads to, else itself.

    Raises:
        InputError: a link that leads to itself or into a folder that is not there.
    """
    if not path.is_symlink():
        return path
    try:
        target = path.resolve()
    except (OSError, RuntimeError):  # the second before Python 3.13
        target = path
    if target.is_symlink():
        raise InputError(f"{path}: is a link that leads to itself; remove it")
    if not target.parent.is_dir():
        raise InputError(f"{path}: is a link to {target}, whose folder is not there")
    return target


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A new name in the folder of ``path``, of the same format. When the block ends well that
    file takes the place of ``path`` at once; else it is removed and ``path`` is as it was. A
    symbolic link stays, and what it leads to is replaced.

    Raises:
        InputError: the folder cannot be made or written to, or a link that leads nowhere.
    """
    kind = extension(path) or path.suffix
    target = written_path(path)
    temporary = target.with_name(f".{uuid4().hex}{kind}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None
    try:
        yield temporary
        temporary.replace(target)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None
    finally:
        temporary.unlink(missing_ok=True)


def save_image(image: Any, path: Path) -> None:
    """Write a ``SimpleITK.Image`` compressed and whole, or not at all.

    Raises:
        InputError: it cannot be written there.
    """
    import SimpleITK as sitk

    with atomic_path(path) as temporary:
        try:
            with quiet():
                sitk.WriteImage(image, str(temporary), useCompression=True)
        except RuntimeError as error:
            raise InputError(f"{path}: cannot be written ({reason(error)})") from None


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
