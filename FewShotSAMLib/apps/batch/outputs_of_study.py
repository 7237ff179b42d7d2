"""A study's files: written beside each other, then put in place, and its record last."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...data.errors import InputError
from ...data.files import is_dicom_file
from ...data.volume import Volume
from ...data.writing import check_grid, write_labels
from ...segmentation.results import VolumeResult
from ...weights.resources import sha256_of
from ..outputs import write_text
from .records import Records
from .settings import BatchSettings
from .study import Study

_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
_PROBE = 1 << 16  # bytes


class DiskFull(Exception):
    """There is no room for another output: the batch cannot go on."""


def check_formats(study: Study, volume: Volume, settings: BatchSettings) -> None:
    """What cannot be written of a study, said before the work on it.

    Raises:
        InputError: a format cannot hold labels of this volume.
    """
    for kind in settings.formats:
        check_grid(volume, Path(f"{study.name}{kind}"))
        if kind == ".dcm" and not any(map(is_dicom_file, study.files)):
            raise InputError(
                f"{study.path}: is no DICOM series, to which a DICOM SEG belongs; use .seg.nrrd"
            )


def write_outputs(
    records: Records, study: Study, volume: Volume, result: VolumeResult, settings: BatchSettings
) -> dict[str, dict[str, Any]]:
    """Write what the settings ask for; each file takes its place when all are whole.

    Returns:
        By extension: "file" (its name in the folder), "bytes", "sha256".

    Raises:
        InputError: a format cannot hold the result, or it cannot be written.
        DiskFull: there is no room.
    """
    try:
        name, staging = study.name, records.staging(study.name)
        for kind in settings.formats:
            write_labels(
                result, staging / f"{name}{kind}", sources=study.files, seg_type=settings.seg_type
            )
        if settings.report:
            write_text(staging / f"{name}.html", _report(volume, result))
        return {kind: _put(staging / f"{name}{kind}", records.folder) for kind in settings.kinds}
    except (OSError, InputError) as problem:
        raise explained(problem, records.folder) from None


def write_record(records: Records, record: Mapping[str, Any]) -> None:
    """Keep a study's record. Raises DiskFull where there is no room."""
    try:
        records.write(record)
    except (OSError, InputError) as problem:
        raise explained(problem, records.folder) from None


def _report(volume: Volume, result: VolumeResult) -> str:
    from ..report.report import report_html

    return report_html(volume, result)


def _put(path: Path, folder: Path) -> dict[str, Any]:
    said = {"file": path.name, "bytes": path.stat().st_size, "sha256": sha256_of(path)}
    path.replace(folder / path.name)
    return said


def explained(problem: Exception, folder: Path) -> Exception:
    """The problem of writing, or `DiskFull` where that is what it was: libraries that write
    images do not tell."""
    if getattr(problem, "errno", None) in _FULL or not _has_room(folder):
        return DiskFull(f"{folder}: the disk is full; make room and start again")
    return problem


def _has_room(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:  # which no kill leaves there
            file.write(os.urandom(_PROBE))
            file.flush()
            os.fsync(file.fileno())
    except OSError as problem:
        return problem.errno not in _FULL
    return True
