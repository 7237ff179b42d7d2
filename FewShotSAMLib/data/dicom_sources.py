"""The DICOM headers that a volume was read from: those whose slices lie where its slices lie."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .volume import Volume

if TYPE_CHECKING:
    from pydicom import Dataset

_NEAR = 0.05  # of the distance of slices, or of their spacing in the plane


def find_sources(files: Iterable[Path], volume: Volume, series: str = "") -> list[Dataset]:
    """Headers of the images that a volume's slices were read from, in the slices' order.

    Args:
        files: among others, those that it was read from, or folders of them; what is no DICOM
            image is passed over.
        volume: on the grid of the images.
        series: the series' UID, its end, or its description, where several lie in one place.

    Returns:
        One a slice, or the one of a multi-frame image; none where no series fits.
    """
    groups: dict[str, list[Dataset]] = {}
    for path in _all_files(files):
        header = _header(path)
        if header is not None and _is_of(header, series):
            groups.setdefault(str(header.SeriesInstanceUID), []).append(header)
    for headers in groups.values():
        if ordered := _in_place(headers, volume):
            return ordered
    return []


def _all_files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from (below for below in sorted(path.rglob("*")) if below.is_file())
        else:
            yield path


def _header(path: Path) -> Dataset | None:
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    try:
        header = dcmread(path, stop_before_pixels=True)
    except (InvalidDicomError, OSError, ValueError, EOFError):
        return None
    return header if "SeriesInstanceUID" in header and "Rows" in header else None


def _is_of(header: Dataset, series: str) -> bool:
    if not series:
        return True
    uid = str(header.SeriesInstanceUID)
    return uid.endswith(series) or str(header.get("SeriesDescription", "")) == series


def _in_place(headers: Sequence[Dataset], volume: Volume) -> list[Dataset]:
    """The headers that fit the volume's slices, one each; none where one is missing."""
    if any("NumberOfFrames" in one and int(one.NumberOfFrames or 1) > 1 for one in headers):
        return [headers[0]] if len(headers) == 1 else []
    fitting: dict[int, Dataset] = {}
    for one in headers:
        number = _slice_number(one, volume)
        if number is not None:
            fitting.setdefault(number, one)
    if len(fitting) < volume.shape[0]:
        return []
    return [fitting[number] for number in range(volume.shape[0])]


def _slice_number(header: Dataset, volume: Volume) -> int | None:
    """Which slice of the volume an image is, by its first pixel's place."""
    if (int(header.Rows), int(header.Columns)) != volume.shape[1:]:
        return None
    if "ImagePositionPatient" not in header:
        return None
    index = volume.world_to_index(np.array([float(x) for x in header.ImagePositionPatient]))
    number = round(float(index[2]))
    off = np.abs(index - (0, 0, number)) * volume.spacing
    near = off.max() <= _NEAR * min(volume.spacing)
    return number if near and 0 <= number < volume.shape[0] else None
