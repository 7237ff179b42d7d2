"""3D Slicer's segmentation files (.seg.nrrd): one component per layer, the segments' names, colours
and label values in the header."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .errors import InputError
from .label_maps import split_maps
from .label_values import present_labels, whole_numbers
from .volume import Segment, Volume

_ENTRY = re.compile(r"Segment(\d+)_(ID|Name|LabelValue|Layer)$")


@dataclass(frozen=True)
class _Entry:
    """What the header says of one segment; None where it says nothing."""

    number: int
    value: int | None
    layer: int | None
    segment: Segment


def is_segmentation(image: Any) -> bool:
    """Whether the header of a ``SimpleITK.Image`` tells of segments."""
    return bool(_numbers(image))


def segmentation_maps(image: Any, name: str) -> list[Volume]:
    """Label maps of a segmentation, as few as hold every segment whole.

    Values are kept where every segment has its own, else the segments are numbered 1, 2, 3 ... in
    their order. Entries that a file lacks are taken as Slicer takes them: without layers, each
    segment has the component of its number (files of Slicer up to 4.10); without a label value,
    it has 1.

    Raises:
        InputError: two segments claim the same voxels, or values that cannot be labels.
    """
    import SimpleITK as sitk

    layers = whole_numbers(sitk.GetArrayFromImage(image), name)
    plain = image
    if image.GetNumberOfComponentsPerPixel() == 1:
        layers = layers[..., None]
    else:
        plain = sitk.VectorIndexSelectionCast(image, 0)
    entries = _with_defaults([_read(image, n, name) for n in _numbers(image)], layers, name)
    labels = _labels(entries)
    segments = {label: entry.segment for label, entry in zip(labels, entries)}
    separate, notes = [], []
    for layer in range(layers.shape[-1]):
        table = np.zeros(65536, np.uint16)
        for label, entry in zip(labels, entries):
            if entry.layer == layer:
                table[entry.value] = label
        stray = [v for v in present_labels(layers[..., layer]) if not table[v]]
        if stray:
            values = ", ".join(map(str, stray[:8]))
            notes.append(f"the value {values} belongs to no segment and is left out")
        separate.append(table[layers[..., layer]])
    maps = split_maps(separate, Volume.from_sitk(plain, name=name), segments)
    return [replace(maps[0], notes=tuple(notes)), *maps[1:]]


def _numbers(image: Any) -> list[int]:
    found = (_ENTRY.match(key) for key in image.GetMetaDataKeys())
    return sorted({int(match[1]) for match in found if match})


def _read(image: Any, number: int, file: str) -> _Entry:
    def field(key: str) -> str:
        full = f"Segment{number}_{key}"
        return _unicode(image.GetMetaData(full)).strip() if image.HasMetaDataKey(full) else ""

    def whole(key: str) -> int | None:
        return int(field(key)) if field(key) else None

    try:
        colour = tuple(float(x) for x in (field("Color") or "0.5 0.5 0.5").split())
        entry = _Entry(number, whole("LabelValue"), whole("Layer"), Segment("", colour))
    except ValueError:
        raise InputError(
            f"{file}: segment {number} has a damaged header; export it again"
        ) from None
    name = field("Name") or field("ID") or f"segment {number + 1}"
    if len(colour) != 3 or not np.isfinite(colour).all():
        raise InputError(f"{file}: segment {name} has a damaged header; export it again")
    tags = (tag for tag in field("Tags").split("|") if tag.startswith("TerminologyEntry:"))
    terminology = next(tags, "").removeprefix("TerminologyEntry:")
    seen = tuple(min(max(part, 0.0), 1.0) for part in colour)
    return replace(entry, segment=Segment(name, seen, terminology))


def _unicode(text: str) -> str:
    """Text of a file that is not UTF-8 is taken as Latin-1, in which all bytes are letters."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape").decode("latin-1")
    return text


def _with_defaults(entries: Sequence[_Entry], layers: np.ndarray, file: str) -> list[_Entry]:
    """All entries with a layer and a value.

    Raises:
        InputError: a layer or a value that cannot be, or that another segment has as well.
    """
    count = layers.shape[-1]
    own = count == len(entries) and all(entry.layer is None for entry in entries)
    complete, taken = [], {}
    for place, entry in enumerate(entries):
        layer = entry.layer if entry.layer is not None else (place if own else 0)
        value = entry.value if entry.value is not None else 1
        name = entry.segment.name
        if not (0 <= layer < count and 0 < value < 65536):
            raise InputError(f"{file}: segment {name} has a damaged header; save it again")
        if (layer, value) in taken:
            raise InputError(
                f"{file}: the segments {taken[layer, value]} and {name} have the same label value "
                f"{value} in layer {layer}, so none can be told from the other; save it again from "
                "3D Slicer"
            )
        taken[layer, value] = name
        complete.append(replace(entry, layer=layer, value=value))
    return complete


def _labels(entries: Sequence[_Entry]) -> list[int]:
    values = [entry.value for entry in entries]
    return values if len(set(values)) == len(values) else list(range(1, len(values) + 1))
