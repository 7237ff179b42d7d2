"""Whether an image that was just written is whole: SimpleITK reports no error of a full disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .errors import InputError
from .file_kinds import NIFTI, PICTURES, extension
from .nifti_header import nifti_voxels
from .stored_voxels import StoredVoxels, check_stored, unpacked_length
from .volume_header import volume_header


def check_written(written: Path, size: Sequence[int], path: Path) -> None:
    """Read a file again: its header, all that is packed with its checksum, and its length.

    Args:
        written: the file.
        size: voxels along its axes.
        path: the name that it is to take, for the message.

    Raises:
        InputError: it is not whole.
    """
    try:
        if extension(written) in PICTURES:
            whole = _is_whole_picture(written, size)
        else:
            whole = _is_whole_volume(written, size)
    except InputError:
        whole = False
    if not whole:
        raise InputError(
            f"{path}: cannot be written (it did not arrive whole; is the disk full?)"
        )


def _is_whole_picture(written: Path, size: Sequence[int]) -> bool:
    from PIL import Image

    try:
        with Image.open(written) as picture:
            picture.load()
            return tuple(picture.size) == tuple(size)[:2]
    except (OSError, SyntaxError, ValueError):
        return False


def _is_whole_volume(written: Path, size: Sequence[int]) -> bool:
    stored = nifti_voxels(written) if extension(written) in NIFTI else volume_header(written)[1]
    check_stored(written, stored)
    return _same_size(stored, size) and _is_packed_well(stored)


def _same_size(stored: StoredVoxels, size: Sequence[int]) -> bool:
    """A vector image has one axis more in the file, and a thin one fewer."""
    there, wanted = ([n for n in sizes if n > 1] for sizes in (stored.size, size))
    return all(n in there for n in wanted) and len(there) - len(wanted) in (0, 1)


def _is_packed_well(stored: StoredVoxels) -> bool:
    """Everything that is packed can be unpacked, and its checksum is right."""
    if stored.packing not in ("gzip", "zlib"):
        return True
    there = sum(unpacked_length(f, stored.packing, stored.start, None) for f in stored.files)
    return there >= stored.length
