"""Opening an image file: known formats, and one clear line when a file cannot be opened."""

from __future__ import annotations

import gzip
import math
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from .errors import InputError

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
NIFTI = (".nii", ".nii.gz", ".hdr", ".img", ".img.gz")
VOLUMES = (*NIFTI, ".nrrd", ".nhdr", ".mha", ".mhd")
DICOM = (".dcm", ".dicom", ".ima")
READABLE = (*VOLUMES, *DICOM, *PICTURES)

# How far (mm per mm) a NIfTI matrix may be from a rotation and still be repaired by rounding.
_LARGEST_SHEAR = 0.02


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
    """The ``SimpleITK.Image`` of a file, as stored.

    Raises:
        InputError: the file is missing, empty, of an unknown format, or cannot be read.
    """
    import SimpleITK as sitk

    check_file(path)
    kind = extension(path)
    if kind != ".seg.nrrd" and kind not in READABLE and not is_dicom_file(path):
        raise InputError(
            f"{path}: unknown kind of file; known are {' '.join(READABLE)} and DICOM folders"
        )
    try:
        with quiet():
            reader = sitk.ImageFileReader()
            reader.SetFileName(str(path))
            if kind in (".nii", ".nii.gz"):
                reader.ReadImageInformation()
                _check_complete(path, reader)
            return reader.Execute()
    except RuntimeError as error:
        if kind in NIFTI and "orthonormal" in str(error):
            return _open_sheared_nifti(path)
        if kind in PICTURES and "PixelType" in str(error):
            return _open_grey_with_alpha(path)
        raise InputError(f"{path}: cannot be read ({reason(error)}); export it again") from None


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


def reason(error: Exception) -> str:
    """The last telling line of an ITK error, without addresses and source lines."""
    if "Unable to determine ImageIO" in str(error):
        return "its content is of another kind than its name"
    if "cannot be read" in str(error) or "while reading" in str(error):
        return "it is damaged or cut short"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = lines[-1] if lines else type(error).__name__
    for mark in ("ITK ERROR:", "ITK Error:", "Description:"):
        telling = telling.split(mark)[-1]
    if "): " in telling:
        telling = telling.split("): ", 1)[1]
    return telling.strip().rstrip(".")[:160] or "the file is damaged"


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A new name in the folder of ``path``, of the same format. When the block ends well that
    file takes the place of ``path`` at once; else it is removed and ``path`` is as it was.

    Raises:
        InputError: the folder cannot be made or written to.
    """
    kind = extension(path) or path.suffix
    temporary = path.with_name(f".{uuid4().hex}{kind}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None
    try:
        yield temporary
        temporary.replace(path)
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


@contextmanager
def quiet() -> Iterator[None]:
    """Without ITK's warnings on the terminal: what matters is said in our own words."""
    import SimpleITK as sitk

    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


def _check_complete(path: Path, header: Any) -> None:
    """Refuse a NIfTI file that was cut short, which ITK fills up with zeros in silence."""
    sizes = [max(1, int(header.GetMetaData(f"dim[{n}]"))) for n in range(1, 8)]
    needed = 348 + math.prod(sizes) * int(header.GetMetaData("bitpix")) // 8
    if extension(path) == ".nii":
        complete = path.stat().st_size >= needed
    else:
        with path.open("rb") as file:
            file.seek(-4, os.SEEK_END)
            told = int.from_bytes(file.read(4), "little")
        # A gzip file ends with its content's length. Where that does not fit (several members
        # in one file, or a cut), all of it is counted.
        extensions = (told - needed) % 2**32
        complete = extensions < 2**16 or _unpacked_length(path) >= needed
    if not complete:
        raise InputError(f"{path}: the file is cut short; copy or export it again")


def _unpacked_length(path: Path) -> int:
    length = 0
    try:
        with gzip.open(path) as file:
            while chunk := file.read(1 << 22):
                length += len(chunk)
    except (OSError, EOFError, zlib.error):
        return 0
    return length


def _open_grey_with_alpha(path: Path) -> Any:
    """A grey picture with transparency, which ITK does not read, without the transparency."""
    import SimpleITK as sitk
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return sitk.GetImageFromArray(np.asarray(picture.convert("L")))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error}); export it again") from None


def _open_sheared_nifti(path: Path) -> Any:
    """A NIfTI file whose matrix is not quite a rotation, with the nearest rotation in its place.

    ITK does this on request, which is made through an environment variable it looks at.
    """
    import SimpleITK as sitk

    key = "ITK_NIFTI_SFORM_PERMISSIVE"
    before = os.environ.get(key)
    os.environ[key] = "ON"
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError:
        raise InputError(
            f"{path}: its axes are not at right angles; resample it to a regular grid first"
        ) from None
    finally:
        if before is None:
            del os.environ[key]
        else:
            os.environ[key] = before
    shear = _nifti_shear(image)
    if shear > _LARGEST_SHEAR:
        raise InputError(
            f"{path}: its axes are not at right angles (off by {shear:.2f}); "
            "resample it to a regular grid first"
        )
    return image


def _nifti_shear(image: Any) -> float:
    """Largest difference of the header's unit axes from the directions that were taken."""
    rows = [image.GetMetaData(f"srow_{row}").split() for row in "xyz"]
    axes = np.array(rows, dtype=float)[:, :3] * [[-1], [-1], [1]]
    axes /= np.linalg.norm(axes, axis=0)
    direction = np.asarray(image.GetDirection())
    taken = direction.reshape(image.GetDimension(), -1)[:3, :3]
    return float(np.abs(axes - taken).max())
