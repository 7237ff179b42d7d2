"""Which reader a volume file is for, and what its header says of its voxels."""

from __future__ import annotations

from pathlib import Path

from .errors import InputError
from .file_kinds import extension
from .meta_header import meta_voxels
from .nrrd_header import is_nrrd, nrrd_voxels
from .stored_voxels import StoredVoxels


def volume_header(path: Path) -> tuple[str, StoredVoxels]:
    """The name of SimpleITK's reader, and where the voxels lie: NRRD and MetaImage, told by their
    content, so that what is read is what was checked.

    Raises:
        InputError: of another format, or its header is damaged.
    """
    with path.open("rb") as file:
        start = file.read(8)
    try:
        if is_nrrd(start):
            return "NrrdImageIO", nrrd_voxels(path)
        if extension(path) in (".mha", ".mhd"):
            return "MetaImageIO", meta_voxels(path)
    except InputError:
        raise
    except (KeyError, ValueError, OverflowError):  # a field is missing or no number
        raise InputError(f"{path}: its header is damaged; export it again") from None
    raise InputError(
        f"{path}: cannot be read (its content is of another kind than its name); export it again"
    )
