"""Reading images from files and DICOM folders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .dicom import read_file, read_series
from .errors import InputError
from .files import DICOM, NIFTI, PICTURES, check_kind, extension, is_dicom_file, open_image
from .hounsfield import modality_of
from .intensity import check_varied
from .label_reading import read_labels
from .nifti import open_nifti
from .nifti_places import NiftiPlaces
from .volume import MODALITIES, Volume

__all__ = ["read_labels", "read_volume"]


def read_volume(
    path: str | Path,
    *,
    modality: str | None = None,
    series: str | int | None = None,
    component: int | None = None,
    form: str | None = None,
) -> Volume:
    """An image from a file (NIfTI, NRRD, MHA/MHD, DICOM, PNG, JPG ...) or a DICOM folder.

    Voxels keep their stored type, axis order and direction. RGBA loses its alpha. A picture
    becomes one axial slice of 1 mm pixels, grey where its three colours are equal all through.
    Whether it is a CT is told by DICOM tags and by its values together, by these alone where there
    is no tag (``hounsfield``).

    Args:
        path: the file or folder.
        modality: "CT", "MR", "RGB" or "other", where the file does not tell rightly.
        series: which DICOM series, where the folder holds several.
        component: which frame of a 4-D image or component of a vector image, from 0.
        form: of a NIfTI file that tells two places, "qform" or "sform".

    Raises:
        InputError: missing, unreadable or unknown file; several series or frames and none
            chosen; complex or vector values; no voxels; no contrast.
    """
    path = Path(path)
    image, tagged, notes, places = _stored(path, series, component, form)
    if places is None and (path.is_dir() or _is_dicom(path)):
        component = None
    volume = Volume.from_sitk(
        _one_frame(image, path, component), name=path.name, notes=notes, places=places
    )
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
    if modality is not None:
        return replace(volume, modality=_given_modality(volume, modality, path))
    if extension(path) in PICTURES and not path.is_dir() and not volume.is_rgb:
        return replace(volume, modality="other")
    found, note = modality_of(volume.voxels, tagged)
    return replace(volume, modality=found, notes=(*volume.notes, *((note,) if note else ())))


def _stored(
    path: Path, series: str | int | None, component: int | None, form: str | None
) -> tuple[Any, str, tuple[str, ...], NiftiPlaces | None]:
    """The image as stored, its tagged modality, notes and NIfTI places."""
    if path.is_dir():
        return *read_series(path, series, component), None
    kind = check_kind(path)
    if _is_dicom(path):
        return *read_file(path, component), None
    if kind in NIFTI:
        opened = open_nifti(path, form)
        return opened.image, "", opened.notes, opened.places
    image = open_image(path)
    return image, _tagged_modality(image), (), None


def _is_dicom(path: Path) -> bool:
    return extension(path) in DICOM or is_dicom_file(path)


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
    """What a header calls the modality; "" where it does not know (MetaImage says so in words)."""
    for key in ("0008|0060", "modality", "Modality", "DICOM.Modality"):
        if image.HasMetaDataKey(key):
            tagged = image.GetMetaData(key).strip().upper().removeprefix("MET_MOD_")
            return "" if tagged in ("UNKNOWN", "OTHER") else tagged
    return ""


def _given_modality(volume: Volume, given: str, path: Path) -> str:
    """The modality that a person gave, as it is written here.

    Raises:
        InputError: it is unknown, or no colours have it.
    """
    known = {name.lower(): name for name in MODALITIES}
    if given.lower() not in known:
        raise InputError(f"modality {given!r} is unknown; use one of {', '.join(MODALITIES)}")
    chosen = known[given.lower()]
    if (chosen == "RGB") != volume.is_rgb:
        kind = "RGB" if volume.is_rgb else "grey"
        raise InputError(f"{path}: is a {kind} image; modality {chosen} does not fit it")
    return chosen
