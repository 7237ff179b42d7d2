"""DICOM RTSTRUCT: contours in patient space, drawn into the slices of the image they belong to."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from .colours import default_colour
from .dicom_labels import needs_extra
from .errors import InputError
from .label_maps import split_maps
from .volume import Segment, Volume

_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
# Voxels: how far the points of a contour may lie from one slice's plane.
_FLAT = 0.25


@dataclass(frozen=True, eq=False)
class _Structure:
    """A region of interest with its closed contours, LPS mm (n, 3) each."""

    number: int
    segment: Segment
    contours: list[np.ndarray] = field(default_factory=list)


def rtstruct_maps(path: Path, like: Volume | None) -> list[Volume]:
    """Label maps of a structure set on the grid of ``like``: ROI number -> name and colour.

    Contours of one structure in one plane that lie in each other make holes (even-odd rule).

    Raises:
        InputError: no image to draw into, scikit-image is not installed, the file is damaged, no
            closed contour, or contours that lie in no slices of the image.
    """
    try:
        import skimage  # noqa: F401
    except ModuleNotFoundError:
        raise needs_extra("scikit-image", f"{path}: drawing an RTSTRUCT's contours") from None
    if like is None:
        raise InputError(f"{path}: holds contours; give the image that they were drawn on (like=)")
    structures = _read(path)
    drawn = [one for one in structures if one.contours]
    if not drawn:
        raise InputError(f"{path}: holds no closed contour; choose another structure set")
    segments = {one.number: one.segment for one in structures}
    grid = replace(like, name=path.name, notes=(), segments={}, modality="other")
    maps = split_maps(_layers(drawn, like, path), grid, segments)
    empty = [one.segment.name for one in structures if not one.contours]
    notes = (f"without a closed contour: {', '.join(empty)}",) if empty else ()
    return [replace(maps[0], notes=notes), *maps[1:]]


def _read(path: Path) -> list[_Structure]:
    import pydicom

    try:
        with warnings.catch_warnings(), pydicom.config.disable_value_validation():
            warnings.simplefilter("ignore")
            data = pydicom.dcmread(path, force=True)
            return _structures(data)
    except Exception as error:  # pydicom's parsers raise what their input makes them stumble on
        what = " ".join(str(error).split())[:160] or type(error).__name__
        raise InputError(f"{path}: its RTSTRUCT cannot be read ({what}); export it again") from None


def _structures(data: Any) -> list[_Structure]:
    names = {
        int(roi.ROINumber): str(roi.get("ROIName", "") or "").strip()
        for roi in data.get("StructureSetROISequence") or ()
    }
    usable = all(0 < number < 65536 for number in names)
    labels = {number: number if usable else n for n, number in enumerate(names, 1)}
    found: dict[int, _Structure] = {}
    for number, name in names.items():
        label = labels[number]
        found[number] = _Structure(label, Segment(name or f"ROI {number}", default_colour(label)))
    for item in data.get("ROIContourSequence") or ():
        number = int(item.ReferencedROINumber)
        if number not in found:
            continue
        one = found[number]
        colour = item.get("ROIDisplayColor")
        if colour is not None and len(colour) == 3:
            red, green, blue = (min(max(float(c) / 255, 0.0), 1.0) for c in colour)
            one = replace(one, segment=replace(one.segment, colour=(red, green, blue)))
        contours = [
            np.array(contour.ContourData, dtype=float).reshape(-1, 3)
            for contour in item.get("ContourSequence") or ()
            if str(contour.get("ContourGeometricType", "")).upper() in _CLOSED
        ]
        found[number] = replace(one, contours=[c for c in contours if len(c) >= 3])
    return list(found.values())


def _layers(drawn: Sequence[_Structure], like: Volume, path: Path) -> Iterator[np.ndarray]:
    seen = False
    for one in drawn:
        layer = np.zeros(like.shape, bool)
        for (axis, index), mask in _masks(one, like, path):
            plane = [slice(None)] * 3
            plane[2 - axis] = index
            layer[tuple(plane)] = mask
        seen |= bool(layer.any())
        yield layer * np.uint16(one.number)
    if not seen:
        raise InputError(
            f"{path}: none of its contours lies within {like.name or 'the image'}; choose the "
            "structure set of this image"
        )


def _masks(
    one: _Structure, like: Volume, path: Path
) -> Iterator[tuple[tuple[int, int], np.ndarray]]:
    """((grid axis i, j, k = 0, 1, 2, slice), mask) of each slice with contours of a structure.

    Of several planes of contours in one slice (contours finer than the image) the one nearest to
    its middle is drawn.
    """
    from skimage.draw import polygon2mask

    planes: dict[tuple[int, float], list[np.ndarray]] = {}
    for contour in one.contours:
        index = like.world_to_index(contour)
        spread = np.ptp(index, axis=0)
        axis = int(spread.argmin())
        if spread[axis] > _FLAT:
            raise InputError(
                f"{path}: the contours of {one.segment.name} do not lie in slices of "
                f"{like.name or 'the image'}; choose the image that they were drawn on"
            )
        planes.setdefault((axis, round(float(index[:, axis].mean()), 2)), []).append(index)
    nearest: dict[tuple[int, int], float] = {}
    for axis, place in planes:
        key = (axis, int(np.floor(place + 0.5)))
        before = nearest.get(key)
        if before is None or abs(place - key[1]) < abs(before - key[1]):
            nearest[key] = place
    for (axis, index), place in sorted(nearest.items()):
        if not 0 <= index < like.size[axis]:
            continue
        columns, rows = (n for n in range(3) if n != axis)
        mask = np.zeros((like.size[rows], like.size[columns]), bool)
        for contour in planes[axis, place]:
            mask ^= polygon2mask(mask.shape, contour[:, [rows, columns]])
        yield (axis, index), mask
