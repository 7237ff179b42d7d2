"""Which studies a batch has: folders that are looked through, or a list of rows in CSV or JSON."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from ...data.errors import InputError
from ...data.files import extension
from ...data.links import real_path
from ..image_places import Place, find_places
from .drawings import is_drawing
from .names import safe_name, study_names
from .records import LOCK
from .study import Study

LISTS = (".csv", ".json")
COLUMNS = ("image", "support", "mask", "series", "output")
_SEPARATOR = ";"  # between several supports in a cell of a CSV file


def find_studies(
    inputs: Sequence[Path],
    tell: Callable[[str], None],
    *,
    series: str | None = None,
    leave_out: Iterable[Path] = (),
) -> list[Study]:
    """The studies of files, folders and lists, in the order of the inputs.

    Args:
        inputs: images; folders, looked through to the bottom, DICOM by series; CSV or JSON lists
            with the columns `COLUMNS` (see `read_list`).
        tell: called with a line for what is passed over: DICOM series that are no stack of images,
            drawings beside images, results of batches.
        series: take only the DICOM series with this UID or description (`*` and `?` stand for
            anything); files are taken in any case.
        leave_out: files and folders to pass over.

    Raises:
        InputError: an input is not there, a list cannot be used, or nothing is found.
    """
    lists = [path for path in inputs if extension(path) in LISTS]
    others = [path for path in inputs if path not in lists]
    passed = [*leave_out, *lists]
    passed += _results(others, tell, {real_path(path) for path in leave_out})
    places = [p for p in find_places(others, tell, passed) if _wanted(p, series)]
    places = [place for place in places if not _left_out(place, tell)]
    studies = [
        Study(name, place.path, place.files, place.series)
        for name, place in zip(study_names(places), places, strict=True)
    ]
    for path in lists:
        studies += read_list(path, tell)
    if not studies:
        raise InputError(f"{', '.join(map(str, inputs))}: no image or DICOM series is there")
    _check_names(studies)
    return studies


def _results(
    inputs: Iterable[Path], tell: Callable[[str], None], known: Container[Path]
) -> Iterator[Path]:
    """Folders of batches among folders of images; of `known` ones nothing is told."""
    for root in inputs:
        for lock in sorted(root.rglob(f"records/{LOCK}")) if root.is_dir() else ():
            folder = lock.parent.parent
            if real_path(folder) not in known:
                tell(f"left out: {folder}: results of a batch")
            yield from folder.iterdir()  # the folder itself may be the input


def _left_out(place: Place, tell: Callable[[str], None]) -> bool:
    """Whether it is a drawing in a folder, which is told."""
    if place.series or place.path == place.root or not is_drawing(place.path, place.root):
        return False
    tell(f"left out: {place.path}: a drawing by its name and content; name the file to take it")
    return True


def _wanted(place: Place, series: str | None) -> bool:
    if series is None or not place.series:
        return True
    return place.series == series or fnmatch(place.description.lower(), series.lower())


def _check_names(studies: Sequence[Study]) -> None:
    seen: dict[str, Study] = {}
    for study in studies:
        other = seen.setdefault(study.name.casefold(), study)
        if other is not study:
            raise InputError(
                f"{study.path} and {other.path}: both would be written as {study.name}; "
                "give them output names in a list, or batch them into two folders"
            )


def read_list(path: Path, tell: Callable[[str], None]) -> list[Study]:
    """The studies of a list: CSV with a head, or JSON with a list of objects.

    `image` is a file or DICOM folder (`series` says which of several), `support` one or more kept
    supports (a list, or separated by ";") in place of the batch's, `mask` a drawing on the image
    itself, `output` a name without extension. Only `image` must be there. Paths are relative to
    the list's folder.

    Raises:
        InputError: not readable, an unknown column, no image, or a file that is not there.
    """
    rows = _csv_rows(path) if extension(path) == ".csv" else _json_rows(path)
    if not rows:
        raise InputError(f"{path}: has no rows; give one for each image")
    found = [_from_row(path, number, row, tell) for number, row in enumerate(rows, start=1)]
    names = study_names([place for place, _ in found])
    return [
        Study(
            safe_name(row["output"]) if row.get("output") else name,
            place.path, place.files, place.series,
            tuple(_file(path, one) for one in _several(row.get("support"))),
            _file(path, row["mask"]) if row.get("mask") else None,
        )
        for name, (place, row) in zip(names, found, strict=True)
    ]  # fmt: skip


def _csv_rows(path: Path) -> list[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as problem:
        raise InputError(f"{path}: cannot be read ({problem}); save it as CSV in UTF-8") from None
    head = text.splitlines()[0] if text else ""
    # Spreadsheets of half of the world write semicolons.
    separator = max(",;\t", key=head.count)
    rows = list(csv.DictReader(text.splitlines(), delimiter=separator))
    return [{k: v for k, v in row.items() if k} for row in rows if any(row.values())]


def _json_rows(path: Path) -> list[dict[str, Any]]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as problem:
        raise InputError(f"{path}: cannot be read as JSON ({problem})") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{path}: is no list of objects such as {{\"image\": \"a.nii.gz\"}}")
    return rows


def _from_row(
    path: Path, number: int, row: dict[str, Any], tell: Callable[[str], None]
) -> tuple[Place, dict[str, Any]]:
    row = {str(key).strip().lower(): value for key, value in row.items()}
    unknown = sorted(set(row) - set(COLUMNS))
    if unknown:
        raise InputError(f"{path}: unknown column {unknown[0]!r}; known are {', '.join(COLUMNS)}")
    if not row.get("image"):
        raise InputError(f"{path}: row {number} has no image")
    image = _file(path, row["image"])
    places = find_places([image], tell)
    if row.get("series"):
        places = [p for p in places if _wanted(p, str(row["series"]))]
    if len(places) != 1:
        what = "no image" if not places else f"{len(places)} images; name one, or its series"
        raise InputError(f"{path}: row {number}: {image} holds {what}")
    return places[0], row


def _several(value: Any) -> list[str]:
    parts = value if isinstance(value, list) else str(value or "").split(_SEPARATOR)
    return [str(part).strip() for part in parts if str(part).strip()]


def _file(path: Path, name: Any) -> Path:
    found = path.parent / str(name).strip()
    if not found.exists():
        raise InputError(f"{path}: {found}: no such file or folder")
    return found
