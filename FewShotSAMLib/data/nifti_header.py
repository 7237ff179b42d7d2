"""What the header of a NIfTI or Analyze file says, read before ITK does, and checked."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from .errors import InputError
from .nifti_fields import LONGEST, is_analyze, parsed
from .nifti_places import FORMS
from .stored_voxels import (
    StoredVoxels,
    check_numbers,
    check_part,
    check_size,
    check_steps,
)

_GZIP = b"\x1f\x8b"
_PAIR = (".hdr", ".hdr.gz", ".img", ".img.gz")


def nibabel_package() -> Any:
    """nibabel.

    Raises:
        InputError: it is not installed; the line says how to.
    """
    try:
        import nibabel
    except ModuleNotFoundError:
        raise InputError(
            "this NIfTI file needs the package nibabel; install it with: pip install nibabel"
        ) from None
    return nibabel


def read_header(path: Path) -> tuple[Any, bool]:
    """The header of a file (`nifti_fields.parsed`), checked, and whether the file is compressed.

    Raises:
        InputError: damaged, of another kind, or it says what no image is.
    """
    source = _header_file(path)
    zipped = _is_zipped(source)
    try:
        with gzip.open(source, "rb") if zipped else source.open("rb") as file:
            start = file.read(LONGEST)
    except (OSError, EOFError, zlib.error):
        raise InputError(f"{path}: is damaged or cut short; copy or export it again") from None
    header = parsed(start)
    if header is None:
        raise InputError(
            f"{path}: cannot be read (it is damaged, or its content is of another kind than its "
            "name); export it again"
        )
    _check(path, header)
    return header, zipped


def nifti_voxels(path: Path) -> StoredVoxels:
    """Where the voxels of a file lie.

    Raises:
        InputError: as `read_header`, and where half of a pair is not there.
    """
    return stored_voxels(path, read_header(path)[0])


def stored_voxels(path: Path, header: Any) -> StoredVoxels:
    """The same of a header that was read already."""
    size = tuple(int(n) for n in header["dim"][1 : 1 + int(header["dim"][0])])
    length = math.prod(size) * int(header["bitpix"]) // 8
    start = 0 if _is_pair(path) else max(int(header["sizeof_hdr"]), int(header["vox_offset"]))
    file = _voxel_file(path)
    check_part(path, file)
    if _is_zipped(file):  # the header is packed as well
        return StoredVoxels(size, start + length, (file,), 0, "gzip", before=start)
    return StoredVoxels(size, length, (file,), start)


def _is_zipped(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(2) == _GZIP


def _check(path: Path, header: Any) -> None:
    """Refuse what no image is, and what ITK would replace in silence."""
    dimensions = int(header["dim"][0])
    check_size(path, (1,) * max(dimensions, 0))
    check_size(path, [int(n) for n in header["dim"][1 : 1 + dimensions]])
    check_steps(path, [float(mm) for mm in header["pixdim"][1 : 1 + min(dimensions, 3)]])
    if int(header["bitpix"]) not in (1, 8, 16, 24, 32, 64, 80, 96, 128, 256):
        raise InputError(f"{path}: its header is damaged; export it again")
    offset = float(header["vox_offset"])
    if not 0 <= offset < 2**31:
        raise InputError(f"{path}: its header is damaged; export it again")
    if is_analyze(header):
        return
    for form, names in zip(FORMS, (("quatern_b", "quatern_c", "quatern_d"), ()), strict=True):
        if int(header[f"{form}_code"]) > 0:
            values = [float(header[name]) for name in names]
            values += _numbers(header, form)
            check_numbers(path, values, form)


def _numbers(header: Any, form: str) -> list[float]:
    names = [f"qoffset_{axis}" for axis in "xyz"] if form == "qform" else [
        f"srow_{axis}" for axis in "xyz"
    ]  # fmt: skip
    return [float(x) for name in names for x in np.atleast_1d(header[name])]


def _is_pair(path: Path) -> bool:
    return path.name.lower().endswith(_PAIR)


def _header_file(path: Path) -> Path:
    """The file that holds the header: of a pair, the .hdr."""
    if not path.name.lower().endswith((".img", ".img.gz")):
        return path
    stem = path.name[: path.name.lower().rindex(".img")]
    for ending in (".hdr", ".hdr.gz", ".HDR"):
        if (header := path.with_name(stem + ending)).is_file():
            return header
    raise InputError(f"{path}: its header {stem}.hdr is not there; put it beside the file")


def _voxel_file(path: Path) -> Path:
    """The file that holds the voxels: of a pair, the .img."""
    if not _is_pair(path) or path.name.lower().endswith((".img", ".img.gz")):
        return path
    stem = path.name[: path.name.lower().rindex(".hdr")]
    for ending in (".img", ".img.gz", ".IMG"):
        if (file := path.with_name(stem + ending)).exists():
            return file
    return path.with_name(stem + ".img")
