"""Reading images and labels from files and DICOM folders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .dicom import read_series
from .errors import InputError
from .files import DICOM, PICTURES, extension, is_dicom_file, open_image
from .intensity import check_varied, detect_modality
from .label_values import colour_labels, present_labels, segment_labels, whole_numbers
from .resampling import resample_labels
from .volume import MODALITIES, Segment, Volume


def read_volume(
    path: str | Path,
    *,
    modality: str | None = None,
    series: str | int | None = None,
    component: int | None = None,
) -> Volume:
    """An image from a file (NIfTI, NRRD, MHA/MHD, DICOM, PNG, JPG ...) or a DICOM folder.

    Voxels keep their stored type, axis order and direction. RGBA loses its alpha. A picture
    becomes one axial slice of 1 mm pixels, grey where its three colours are equal all through.
    Whether it is a CT is read from DICOM tags, else from its values (``detect_modality``).

    Args:
        path: the file or folder.
        modality: "CT", "MR", "RGB" or "other", where the file does not tell rightly.
        series: which DICOM series, where the folder holds several.
        component: which frame of a 4-D image or component of a vector image, from 0.

    Raises:
        InputError: missing, unreadable or unknown file; several series or frames and none
            chosen; complex or vector values; no voxels; no contrast.
    """
    path = Path(path)
    tagged, notes = "", ()
    if path.is_dir():
        image, tagged, notes = read_series(path, series, component)
        component = None
    else:
        image = open_image(path)
        tagged = _tagged_modality(image)
    volume = Volume.from_sitk(_one_frame(image, path, component), name=path.name, notes=notes)
    if extension(path) in PICTURES and not path.is_dir():
        volume = _picture(volume)
        if volume.is_rgb and (volume.voxels == volume.voxels[..., :1]).all():
            volume = replace(volume, voxels=volume.voxels[..., 0])
    if volume.voxels.dtype.kind == "f":
        missing = sum(s.size - np.count_nonzero(np.isfinite(s)) for s in volume.voxels)
        if missing:
            note = f"{missing} voxels are not numbers or infinite; they count as background"
            volume = replace(volume, notes=(*volume.notes, note))
    check_varied(volume)
    return replace(volume, modality=_modality(volume, modality, tagged, path))


def read_labels(
    path: str | Path,
    like: Volume | None = None,
    *,
    segments: Mapping[int, Segment] | None = None,
) -> Volume:
    """Labels from a label map, a Slicer segmentation (.seg.nrrd) or a coloured PNG.

    Values are whole numbers from 0 to 65535; uint8 where they fit, else uint16. Decimal values
    are taken where they are whole, and cut at 0.5 where all lie in [0, 1] (probabilities). A
    segmentation keeps its names and colours; where its segments overlap, upper layers lie on top.
    In a colour picture each colour other than black is a label, numbered by (R, G, B), and in a
    grey one 255 alone counts as 1.

    Args:
        path: the file.
        like: the image they belong to; labels on another grid are brought to its grid by their
            place in patient space.
        segments: label value -> known name and colour. Colours of a picture take the values of
            the known colours.

    Raises:
        InputError: missing, unreadable or unknown file; negative, fractional or too many labels;
            more than one frame; nothing drawn within ``like``.
    """
    path = Path(path)
    if path.is_dir() or extension(path) in DICOM or is_dicom_file(path):
        raise InputError(
            f"{path}: labels in DICOM are not read; convert them to .seg.nrrd or NIfTI "
            "(for example in 3D Slicer)"
        )
    if extension(path) in (".jpg", ".jpeg"):
        raise InputError(f"{path}: JPG changes colours, so it holds no labels; save it as PNG")
    image = open_image(path)
    if image.HasMetaDataKey("Segment0_ID") or image.HasMetaDataKey("Segment0_LabelValue"):
        labels = segment_labels(image, path.name)
    else:
        labels = _from_image(image, path)
        if labels.is_rgb:
            labels = colour_labels(labels, segments)
        else:
            labels = labels.with_voxels(whole_numbers(labels.voxels, path.name))
    if extension(path) in PICTURES:
        labels = _picture(labels)
        if present_labels(labels.voxels) == [255]:
            labels = labels.with_voxels((labels.voxels > 0).astype(np.uint8))
        if like is not None and like.shape == labels.shape:
            labels = replace(labels, spacing=like.spacing, origin=like.origin)
            labels = replace(labels, direction=like.direction)
    known = {v: s for v, s in (segments or {}).items() if v in present_labels(labels.voxels)}
    labels = replace(labels, name=path.name, segments={**labels.segments, **known})
    return labels if like is None else resample_labels(labels, like)


def _from_image(image: Any, path: Path) -> Volume:
    return Volume.from_sitk(_one_frame(image, path, None), name=path.name)


def _one_frame(image: Any, path: Path, component: int | None) -> Any:
    """A 2-D or 3-D image of one grey or three colour components out of what a file holds."""
    import SimpleITK as sitk

    if "complex" in image.GetPixelIDTypeAsString():
        raise InputError(f"{path}: its voxels are complex numbers; save their magnitude")
    if 0 in image.GetSize():
        raise InputError(f"{path}: holds no voxels; export it again")
    wanted = component
    while image.GetDimension() > 3:
        last = image.GetDimension() - 1
        frames = image.GetSize()[last]
        at = 0 if frames == 1 else wanted
        if frames > 1:
            _check_component(path, wanted, frames, "frames")
            wanted = None
        size = list(image.GetSize())
        size[last] = 0
        index = [0] * last + [at]
        image = sitk.Extract(image, size, index)
    components = image.GetNumberOfComponentsPerPixel()
    if components == 1:
        if wanted not in (None, 0):
            raise InputError(f"{path}: has one frame; component= {wanted} is not there")
        return image
    if wanted is None:
        colours = image.GetPixelIDTypeAsString().endswith("unsigned integer")
        if components == 3 and colours:
            return image
        if components == 4 and colours:
            keep = [sitk.VectorIndexSelectionCast(image, n) for n in range(3)]
            return sitk.Compose(keep)
        if components == 2 and extension(path) in PICTURES:
            return sitk.VectorIndexSelectionCast(image, 0)
    _check_component(path, wanted, components, "components")
    return sitk.VectorIndexSelectionCast(image, wanted)


def _check_component(path: Path, wanted: int | None, number: int, what: str) -> None:
    if wanted is None:
        raise InputError(
            f"{path}: holds {number} {what}; choose one with component= 0 to {number - 1}"
        )
    if not 0 <= wanted < number:
        raise InputError(
            f"{path}: component= {wanted} is not there; it holds {number} {what}, from 0"
        )


def _picture(volume: Volume) -> Volume:
    """Without the spacing that pictures carry for printers."""
    return replace(volume, spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0), direction=np.eye(3))


def _tagged_modality(image: Any) -> str:
    for key in ("0008|0060", "modality", "Modality", "DICOM.Modality"):
        if image.HasMetaDataKey(key):
            return image.GetMetaData(key).strip().upper()
    return ""


def _modality(volume: Volume, given: str | None, tagged: str, path: Path) -> str:
    if given is not None:
        known = {name.lower(): name for name in MODALITIES}
        if given.lower() not in known:
            raise InputError(f"modality {given!r} is unknown; use one of {', '.join(MODALITIES)}")
        chosen = known[given.lower()]
        if (chosen == "RGB") != volume.is_rgb:
            kind = "RGB" if volume.is_rgb else "grey"
            raise InputError(f"{path}: is a {kind} image; modality {chosen} does not fit it")
        return chosen
    if volume.is_rgb:
        return "RGB"
    if tagged:
        return tagged if tagged in ("CT", "MR") else "other"
    if extension(path) in PICTURES:
        return "other"
    return detect_modality(volume.voxels)
