"""Label values out of what files store: numbers, colours, Slicer's segments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .errors import InputError
from .volume import Segment, Volume

MOST_COLOURS = 64


def whole_numbers(values: np.ndarray, name: str) -> np.ndarray:
    """Label values as uint8 where they fit, else uint16. NaN counts as 0.

    Raises:
        InputError: negative, fractional (unless all lie in [0, 1]: cut at 0.5) or above 65535.
    """
    if values.dtype.kind == "f":
        values = np.where(np.isfinite(values), values, 0)
        rounded = np.rint(values)
        if np.abs(values - rounded).max(initial=0) > 1e-3:
            if values.min() >= 0 and values.max() <= 1:
                return (values > 0.5).astype(np.uint8)
            raise InputError(f"{name}: holds fractions, so it is no label map; choose the labels")
        values = rounded
    low, high = values.min(initial=0), values.max(initial=0)
    if low < 0:
        raise InputError(f"{name}: holds the negative label {low:g}; labels are 1, 2, 3 ...")
    if high > 65535:
        raise InputError(f"{name}: holds the label {high:g}; the highest possible is 65535")
    return values.astype(np.uint8 if high <= 255 else np.uint16)


def present_labels(voxels: np.ndarray) -> list[int]:
    """The labels above 0 in an array (k, j, i) of whole numbers, rising."""
    counts = np.zeros(int(voxels.max(initial=0)) + 1, np.int64)
    for plane in voxels:
        counts += np.bincount(plane.ravel(), minlength=len(counts))
    return [int(value) for value in np.flatnonzero(counts) if value]


def colour_labels(picture: Volume, known: Mapping[int, Segment] | None = None) -> Volume:
    """An RGB picture's colours as labels 1, 2, ... in the order of (R, G, B); black is 0.

    Colours of ``known`` segments take their values, other colours the free ones.

    Raises:
        InputError: there are too many colours for a mask.
    """
    pixels = picture.voxels.astype(np.int64)
    codes = (pixels[..., 0] << 32) | (pixels[..., 1] << 16) | pixels[..., 2]
    colours = [int(code) for code in np.unique(codes) if code]
    if len(colours) > MOST_COLOURS:
        raise InputError(
            f"{picture.name or 'picture'}: has {len(colours)} colours, so it is no mask; "
            "draw each structure in one flat colour on black"
        )
    full = np.iinfo(picture.voxels.dtype).max
    places = {_code(segment.colour, full): value for value, segment in (known or {}).items()}
    free = (n for n in range(1, 65536) if n not in places.values())
    voxels = np.zeros(codes.shape, np.uint16)
    segments = {}
    for code in colours:
        parts = (code >> 32, code >> 16 & 0xFFFF, code & 0xFFFF)
        value = places.get(code) or next(free)
        voxels[codes == code] = value
        if code not in places:
            bytes_ = [round(part * 255 / full) for part in parts]
            name = "#{:02x}{:02x}{:02x}".format(*bytes_)
            segments[value] = Segment(name, tuple(part / full for part in parts))
    labels = picture.with_voxels(whole_numbers(voxels, picture.name), modality="other")
    return Volume(
        labels.voxels, labels.spacing, labels.origin, labels.direction, "other", segments=segments
    )


def _code(colour: tuple[float, float, float], full: int) -> int:
    red, green, blue = (round(part * full) for part in colour)
    return (red << 32) | (green << 16) | blue


def segment_labels(image: Any, name: str) -> Volume:
    """Labels of a Slicer segmentation file: an image of one component per layer, with the
    segments' names, colours and values in its header.

    Values are kept where every segment has its own, else the segments are numbered 1, 2, 3 ...
    in their order. Upper layers lie on top of lower ones.

    Raises:
        InputError: values that cannot be labels.
    """
    import SimpleITK as sitk

    layers = whole_numbers(sitk.GetArrayFromImage(image), name)
    if image.GetNumberOfComponentsPerPixel() == 1:
        layers = layers[..., None]
        plain = image
    else:
        plain = sitk.VectorIndexSelectionCast(image, 0)
    found = []
    while image.HasMetaDataKey(f"Segment{len(found)}_ID") or image.HasMetaDataKey(
        f"Segment{len(found)}_LabelValue"
    ):
        found.append(_read_segment(image, len(found)))
    values = [value for value, _, _ in found]
    unique = len(set(values)) == len(values)
    tables = np.zeros((layers.shape[-1], 65536), np.uint16)
    segments, covered = {}, 0
    for number, (value, layer, segment) in enumerate(found, 1):
        if not (0 <= layer < len(tables) and 0 < value < 65536):
            raise InputError(f"{name}: segment {segment.name} has a damaged header; save it again")
        label = value if unique else number
        tables[layer, value] = label
        segments[label] = segment
    voxels = tables[0][layers[..., 0]]
    for layer in range(1, len(tables)):
        upper = tables[layer][layers[..., layer]]
        covered += np.count_nonzero(upper.astype(bool) & voxels.astype(bool))
        np.copyto(voxels, upper, where=upper > 0)
    notes = (f"segments overlap in {covered} voxels; upper layers lie on top",) if covered else ()
    labels = Volume.from_sitk(plain, name=name, segments=segments, notes=notes)
    return labels.with_voxels(whole_numbers(voxels, name))


def _read_segment(image: Any, number: int) -> tuple[int, int, Segment]:
    """(label value, layer, name and colour) of the segment ``number`` in the file's header."""

    def field(key: str, otherwise: str) -> str:
        full = f"Segment{number}_{key}"
        return image.GetMetaData(full) if image.HasMetaDataKey(full) else otherwise

    try:
        colour = tuple(float(x) for x in field("Color", "0.5 0.5 0.5").split())[:3]
        value, layer = int(field("LabelValue", "1")), int(field("Layer", "0"))
    except ValueError:
        raise InputError(f"segment {number} has a damaged header; export it again") from None
    terminology = ""
    for tag in field("Tags", "").split("|"):
        if tag.startswith("TerminologyEntry:"):
            terminology = tag.removeprefix("TerminologyEntry:")
    name = field("Name", "") or field("ID", f"label_{value}")
    return value, layer, Segment(name, colour, terminology)
