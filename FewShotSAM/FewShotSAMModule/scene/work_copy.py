"""A copy of a result beside its volume's file, so that a crash of the application costs nothing."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import slicer

from FewShotSAMLib import InputError

ENDING = " FewShotSAM.seg.nrrd"
_VOLUME_ENDINGS = (".nii.gz", ".nrrd", ".nii", ".mha", ".mhd")


def copy_path(volume_node: Any) -> Path:
    """Where the copy lies: beside the file of the volume, named after it.

    Raises:
        InputError: the volume came from no file, or its folder is gone.
    """
    storage = volume_node.GetStorageNode()
    file = Path(storage.GetFileName() or "") if storage is not None else Path()
    if not file.name or not file.parent.is_dir():
        raise InputError(
            f"{volume_node.GetName()}: lies in no file that a copy could be kept beside; save the "
            "volume first, or save the scene yourself"
        )
    known = (ending for ending in _VOLUME_ENDINGS if file.name.lower().endswith(ending))
    stem = file.name[: -len(next(known, file.suffix)) or None]
    return file.with_name(stem + ENDING)


def save_copy(volume_node: Any, segmentation_node: Any) -> Path:
    """Writes a segmentation beside its volume, whole or not at all. What the segmentation itself
    is saved as does not change.

    Returns:
        The file written.

    Raises:
        InputError: there is no such place, or it cannot be written to.
    """
    path = copy_path(volume_node)
    write_segmentation(segmentation_node, path)
    return path


def write_segmentation(segmentation_node: Any, path: Path) -> None:
    """Writes a segmentation into a file, whole or not at all. What the segmentation itself is saved
    as does not change.

    Raises:
        InputError: it cannot be written there.
    """
    storage = slicer.vtkMRMLSegmentationStorageNode()
    problem = ""
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".FewShotSAM") as folder:
            temporary = Path(folder) / path.name
            storage.SetFileName(str(temporary))
            if storage.WriteData(segmentation_node) and temporary.is_file():
                os.replace(temporary, path)
                return
    except OSError as error:
        problem = f" ({error.strerror or error})"
    raise InputError(f"{path}: the result cannot be written{problem}; save the scene")
