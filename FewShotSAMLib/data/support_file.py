"""A support in one NRRD file: its slices as an image whose last component holds the labels, and
everything else as JSON in the header."""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .errors import InputError
from .files import extension, open_image, save_image
from .intensity import IntensityRange
from .overview import SIDE, SLICES, Overview
from .slicing import GRID_AXIS, FieldOfView
from .standard import Standard
from .support_schema import check_header, parse_header
from .volume import Segment, Volume

_KEY = "FewShotSAM_support"
_VERSION = 1


def write_parts(
    support: Mapping[str, Any], path: str | Path, *, keep_name: bool = False
) -> None:
    """Write a support, given as the values of its fields by their names, to a .nrrd file, whole
    or not at all.

    Args:
        support: field -> value.
        path: where to.
        keep_name: keep the names of the scan's and the drawing's files, which may tell who the
            patient is, and the notes on how they were read, which may name files as well.

    Raises:
        InputError: another extension, values that no support has, or it cannot be written there.
    """
    path = Path(path)
    if extension(path) != ".nrrd":
        raise InputError(f"{path}: a support is kept as .nrrd; choose a name that ends so")
    image, drawing = support["volume"], support["labels"]
    labels = drawing.voxels
    colours = image.voxels if image.is_rgb else image.voxels[..., None]
    common = np.result_type(colours.dtype, labels.dtype)
    pixels = np.concatenate((colours.astype(common), labels[..., None].astype(common)), axis=-1)
    header = {
        "version": _VERSION,
        "axis": support["axis"],
        "slices": support["slices"],
        "drawn": {str(value): indices for value, indices in support["drawn"].items()},
        "count": support["count"],
        "intensity": vars(support["intensity"]),
        "field": vars(support["field"]),
        "standard": vars(support["standard"]) if support["standard"] else None,
        "overview": _packed(support["overview"]),
        "image": {
            "dtype": str(image.voxels.dtype),
            "spacing": image.spacing,
            "origin": image.origin,
            "direction": image.direction.tolist(),
            "modality": image.modality,
            "name": image.name if keep_name else "",
            "notes": image.notes if keep_name else (),
        },
        "labels": {
            "dtype": str(labels.dtype),
            "name": drawing.name if keep_name else "",
            "notes": drawing.notes if keep_name else _nameless(drawing.notes, image, drawing),
            "segments": {str(v): vars(s) for v, s in drawing.segments.items()},
        },
    }
    stored = _vector_image(pixels, image)
    kept = json.dumps(header)
    try:
        check_header(json.loads(kept))
    except ValueError as error:
        raise InputError(f"{path}: the support cannot be kept ({error})") from None
    stored.SetMetaData(_KEY, kept)
    save_image(stored, path)


def read_parts(path: str | Path) -> dict[str, Any]:
    """The values of the fields of the support in a file that ``write_parts`` made.

    Raises:
        InputError: missing or unreadable, no support, damaged, or made by a later version.
    """
    import SimpleITK as sitk

    path = Path(path)
    try:
        stored = open_image(path)
    except InputError:
        if extension(path) == ".nrrd" or not path.exists():
            raise
        raise _no_support(path) from None
    if not stored.HasMetaDataKey(_KEY):
        raise _no_support(path)
    try:
        header = parse_header(stored.GetMetaData(_KEY))
        version = header["version"]
        if version <= _VERSION:
            check_header(header)
            _check_pixels(header, stored)
            return _parts(header, sitk.GetArrayFromImage(stored))
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:  # or InputError
        raise InputError(f"{path}: its support is damaged ({error}); make it again") from None
    raise InputError(f"{path}: made by a later FewShotSAM (format {version}); update FewShotSAM")


def _no_support(path: Path) -> InputError:
    return InputError(
        f"{path}: holds no support; make one with `fewshotsam support IMAGE MASK -o OUT.nrrd`"
    )


def _parts(header: dict[str, Any], pixels: np.ndarray) -> dict[str, Any]:
    image, labels = dict(header["image"]), dict(header["labels"])
    colours = pixels[..., :-1].astype(image.pop("dtype"))
    image["notes"] = tuple(image["notes"])
    volume = Volume(colours if colours.shape[-1] == 3 else colours[..., 0], **image)
    segments = {
        int(value): Segment(one["name"], tuple(one["colour"]), one["terminology"])
        for value, one in labels["segments"].items()
    }
    field = header["field"]
    drawn = {int(value): tuple(indices) for value, indices in header["drawn"].items()}
    return dict(
        volume=volume,
        labels=Volume(
            pixels[..., -1].astype(labels["dtype"]),
            volume.spacing,
            volume.origin,
            volume.direction,
            name=labels["name"],
            segments=segments,
            notes=tuple(labels["notes"]),
        ),
        axis=header["axis"],
        slices=tuple(header["slices"]),
        drawn=drawn,
        count=header["count"],
        intensity=IntensityRange(**header["intensity"]),
        field=FieldOfView(tuple(field["centre_mm"]), field["side_mm"]),
        standard=Standard(**header["standard"]) if header.get("standard") else None,
        overview=_unpacked(header.get("overview")),
    )


def _nameless(notes: Sequence[str], *named: Volume) -> list[str]:
    """Notes without the names of files."""
    for volume in named:
        if volume.name:
            notes = [note.replace(volume.name, "the file") for note in notes]
    return list(notes)


def _check_pixels(header: Mapping[str, Any], stored: Any) -> None:
    """The pixels must be those that the header tells of."""
    axis = GRID_AXIS[header["axis"]]
    if stored.GetDimension() != 3 or stored.GetSize()[axis] != len(header["slices"]):
        raise ValueError("its pixels and its slices do not fit together")
    components = 4 if header["image"]["modality"] == "RGB" else 2
    if stored.GetNumberOfComponentsPerPixel() != components:
        raise ValueError("its pixels have another number of components")


def _packed(overview: Overview | None) -> dict[str, Any] | None:
    """As JSON can hold it."""
    if overview is None:
        return None
    grey = base64.b64encode(zlib.compress(np.ascontiguousarray(overview.grey).tobytes(), 9))
    return {
        "size": overview.grey.shape, "grey": grey.decode("ascii"),
        "shape": overview.shape, "spacing": overview.spacing,
    }


def _unpacked(kept: Mapping[str, Any] | None) -> Overview | None:
    if kept is None:
        return None
    size = tuple(kept["size"])
    most = math.prod(size)
    if most > SIDE * SIDE * SLICES:
        raise ValueError(f"its overview of {size} pixels is none")
    try:
        packed = base64.b64decode(kept["grey"], validate=True)
        unpacked = zlib.decompressobj().decompress(packed, most + 1)
    except zlib.error as error:
        raise ValueError(f"its overview cannot be read: {error}") from None
    grey = np.frombuffer(unpacked, np.uint8).reshape(size)
    return Overview(grey, tuple(map(int, kept["shape"])), tuple(map(float, kept["spacing"])))


def _vector_image(pixels: np.ndarray, like: Volume) -> Any:
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(pixels, isVector=True)
    image.SetSpacing(like.spacing)
    image.SetOrigin(like.origin)
    image.SetDirection(like.direction.ravel().tolist())
    return image
