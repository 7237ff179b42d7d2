"""Labels in DICOM."""

from __future__ import annotations

from pathlib import Path

from .errors import InputError
from .volume import Volume


def read_dicom_labels(path: Path, like: Volume | None) -> list[Volume]:
    raise InputError(f"{path}: is a DICOM MR, not labels; labels in DICOM are not read")
