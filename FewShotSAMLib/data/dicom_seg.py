"""DICOM SEG, read with highdicom: binary, fractional and label map segmentations."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .colours import default_colour
from .dicom_labels import needs_extra
from .errors import InputError
from .label_maps import split_maps
from .volume import Segment, Volume


def seg_maps(path: Path) -> list[Volume]:
    """Label maps of a SEG, on its own grid: segment number -> name and colour.

    Fractional segments are cut at half.

    Raises:
        InputError: highdicom is not installed, the file is damaged, or its frames form no volume.
    """
    try:
        import highdicom
    except ModuleNotFoundError:
        raise needs_extra("highdicom", f"{path}: reading a DICOM SEG") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            stored = highdicom.seg.segread(path)
            numbers = [int(n) for n in stored.segment_numbers]
            segments = {n: _segment(stored.get_segment_description(n), n) for n in numbers}
            grid = _grid(stored, numbers[0], path)
            maps = split_maps(_layers(stored, numbers), grid, segments)
    except (ValueError, RuntimeError, AttributeError, KeyError, IndexError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        what = " ".join(str(error).split())[:160]
        raise InputError(f"{path}: its SEG cannot be read ({what}); export it again") from None
    empty = [s.name for n, s in segments.items() if not any((m.voxels == n).any() for m in maps)]
    notes = (f"holds no voxel of {', '.join(empty)}",) if empty else ()
    return [replace(maps[0], notes=notes), *maps[1:]]


def _volume(stored: Any, number: int) -> Any:
    return stored.get_volume(segment_numbers=[number], rescale_fractional=True)


def _layers(stored: Any, numbers: list[int]) -> Iterator[np.ndarray]:
    for number in numbers:
        mask = _volume(stored, number).array[..., 0]
        yield (mask > 0.5 if mask.dtype.kind == "f" else mask > 0) * np.uint16(number)


def _grid(stored: Any, number: int, path: Path) -> Volume:
    """Where the frames lie. highdicom's axes are slices, rows and columns, in LPS mm."""
    if stored.get_volume_geometry(allow_missing_positions=True) is None:
        raise InputError(
            f"{path}: its frames lie at uneven positions, so they form no volume; convert it to "
            ".seg.nrrd (for example in 3D Slicer)"
        )
    found = _volume(stored, number)
    columns = found.affine[:3, [2, 1, 0]]
    spacing = np.linalg.norm(columns, axis=0)
    voxels = np.zeros(found.array.shape[:3], np.uint8)
    return Volume(
        voxels, tuple(spacing), tuple(found.affine[:3, 3]), columns / spacing, name=path.name
    )


def _segment(description: Any, number: int) -> Segment:
    name = str(description.get("SegmentLabel", "") or "").strip() or f"segment {number}"
    return Segment(name, _colour(description, number), _terminology(description))


def _colour(description: Any, number: int) -> tuple[float, float, float]:
    """RGB of the recommended CIELab colour (PS3.3 C.10.7.1.1), else one of our own."""
    stored = description.get("RecommendedDisplayCIELabValue")
    if stored is None or len(stored) != 3:
        return default_colour(number)
    from skimage.color import lab2rgb

    lightness, a, b = (float(value) / 65535 for value in stored)
    red, green, blue = lab2rgb((lightness * 100, a * 255 - 128, b * 255 - 128))
    return float(red), float(green), float(blue)


def _terminology(description: Any) -> str:
    """3D Slicer's entry for the segment's category and type."""

    def code(keyword: str) -> str:
        sequence = description.get(keyword)
        if not sequence:
            return "^^"
        one = sequence[0]
        return "^".join(
            str(one.get(k, "")) for k in ("CodingSchemeDesignator", "CodeValue", "CodeMeaning")
        )

    kinds = [code(f"SegmentedProperty{part}CodeSequence") for part in ("Category", "Type")]
    if kinds == ["^^", "^^"]:
        return ""
    return f"Segmentation category and type - DICOM master list~{kinds[0]}~{kinds[1]}~^^"
