"""Labels in DICOM: which file of a folder holds them, and what to do with other objects."""

from __future__ import annotations

from pathlib import Path

from .dicom_headers import read_modality
from .errors import InputError
from .files import check_file
from .volume import Volume

_KINDS = ("SEG", "RTSTRUCT")


def read_dicom_labels(path: Path, like: Volume | None) -> list[Volume]:
    """Label maps of a SEG or RTSTRUCT file, or of the only one in a folder.

    Args:
        path: the file, or a folder.
        like: the image they belong to; an RTSTRUCT's contours are drawn into its slices.

    Raises:
        InputError: another kind of object, several in the folder, a package that is not installed,
            or contours that lie in no slices of ``like``.
    """
    path = _only_one(path) if path.is_dir() else path
    check_file(path)
    kind = read_modality(path)
    if kind == "SEG":
        from .dicom_seg import seg_maps

        return seg_maps(path)
    if kind == "RTSTRUCT":
        from .dicom_rtstruct import rtstruct_maps

        return rtstruct_maps(path, like)
    what = f"is a DICOM {kind}, not labels" if kind else "is no DICOM file that can be read"
    raise InputError(f"{path}: {what}; labels in DICOM are SEG and RTSTRUCT")


def _only_one(folder: Path) -> Path:
    found = [p for p in sorted(folder.rglob("*")) if p.is_file() and read_modality(p) in _KINDS]
    if len(found) == 1:
        return found[0]
    if not found:
        raise InputError(f"{folder}: holds neither a DICOM SEG nor an RTSTRUCT; name a mask file")
    names = ", ".join(str(path.relative_to(folder)) for path in found[:5])
    raise InputError(f"{folder}: holds {len(found)} DICOM SEG or RTSTRUCT ({names}); name one")


def needs_extra(package: str, what: str) -> InputError:
    """The error where a package of the extra is not installed."""
    return InputError(
        f"{what} needs the package {package}; install it with: pip install 'fewshotsam[dicom]'"
    )
