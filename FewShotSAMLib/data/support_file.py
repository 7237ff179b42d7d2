"""A support in one NRRD file: its slices as an image whose last component holds the labels, and
everything else as JSON in the header."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .errors import InputError
from .files import extension, open_image, save_image
from .intensity import IntensityRange
from .overview import SIDE, SLICES, Overview
from .slicing import AXES, FieldOfView
from .standard import Standard
from .volume import Segment, Volume

_KEY = "FewShotSAM_support"
_VERSION = 1


def write_parts(support: Mapping[str, Any], path: str | Path) -> None:
    """Write a support, given as the values of its fields by their names, to a .nrrd file, whole
    or not at all.

    Raises:
        InputError: another extension, or it cannot be written there.
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
            "name": image.name,
            "notes": image.notes,
        },
        "labels": {
            "dtype": str(labels.dtype),
            "name": drawing.name,
            "notes": drawing.notes,
            "segments": {str(v): vars(s) for v, s in drawing.segments.items()},
        },
    }
    stored = _vector_image(pixels, image)
    stored.SetMetaData(_KEY, json.dumps(header))
    save_image(stored, path)


def read_parts(path: str | Path) -> dict[str, Any]:
    """The values of the fields of the support in a file that ``write_parts`` made.

    Raises:
        InputError: missing or unreadable, no support, damaged, or made by a later version.
    """
    import SimpleITK as sitk

    path = Path(path)
    stored = open_image(path)
    if not stored.HasMetaDataKey(_KEY):
        raise InputError(
            f"{path}: holds no support; make one with `fewshotsam support IMAGE MASK -o OUT.nrrd`"
        )
    try:
        header = json.loads(stored.GetMetaData(_KEY))
        version = header["version"]
        if version > _VERSION:
            raise InputError(
                f"{path}: made by a later FewShotSAM (format {version}); update FewShotSAM"
            )
        return _parts(header, sitk.GetArrayFromImage(stored))
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: its support is damaged ({error}); make it again") from None


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
    slices = tuple(header["slices"])
    if header["axis"] not in AXES or not set(drawn) <= set(segments):
        raise ValueError("its parts do not fit together")
    if set(slices) != set().union(*drawn.values()):
        raise ValueError("its slices do not fit together")
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
        slices=slices,
        drawn=drawn,
        count=int(header["count"]),
        intensity=IntensityRange(**header["intensity"]),
        field=FieldOfView(tuple(field["centre_mm"]), field["side_mm"]),
        standard=Standard(**header["standard"]) if header.get("standard") else None,
        overview=_unpacked(header.get("overview")),
    )


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
    size = tuple(int(n) for n in kept["size"])
    most = int(np.prod(size, dtype=object))
    if len(size) != 3 or not 0 < most <= SIDE * SIDE * SLICES:
        raise ValueError(f"its overview of {size} pixels is none")
    try:
        unpacked = zlib.decompressobj().decompress(base64.b64decode(kept["grey"]), most + 1)
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
