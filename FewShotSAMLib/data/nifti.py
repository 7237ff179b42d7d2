"""NIfTI files: voxels are read with ITK where it can, else with nibabel, which is slow to load."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .errors import InputError
from .itk_messages import quiet, reason
from .nifti_axes import read_straightened, set_place
from .nifti_fields import LONGEST, affine_of, is_analyze, is_nifti_2
from .nifti_header import nibabel_package, read_header, stored_voxels
from .nifti_places import FORMS, NiftiPlaces, largest_shift
from .packed_checksum import read_checked

_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_ONE_BIT = 1


@dataclass(frozen=True)
class NiftiImage:
    """A ``SimpleITK.Image``, the places that the file tells, and what a person should know."""

    image: Any
    places: NiftiPlaces | None
    notes: tuple[str, ...] = ()


def open_nifti(path: Path, form: str | None = None) -> NiftiImage:
    """A NIfTI-1 or NIfTI-2 file (.nii, .nii.gz, .hdr/.img), whatever its name says of gzip.

    Args:
        path: the file.
        form: "qform" or "sform", where they tell two places; by default what ITK and 3D Slicer
            take.

    Raises:
        InputError: cut short, damaged, voxels of 1 bit, or axes far from right angles.
    """
    if form not in (None, *FORMS):
        raise InputError(f"form {form!r} is unknown; use one of {', '.join(FORMS)}")
    header, zipped = read_header(path)
    if int(header["datatype"]) == _ONE_BIT:
        raise InputError(
            f"{path}: its voxels have 1 bit, which is not read; save it with 8 bits a voxel "
            "(unsigned char)"
        )
    stored = stored_voxels(path, header)

    def read(more: bool) -> Any:
        more = more and zipped and stored.files == (path,)
        if not is_analyze(header) and (more or _only_nibabel(header, path, zipped)):
            return _read_with_nibabel(path, header, zipped, stored.start + stored.length)
        return _read_with_itk(path)

    image = read_checked(path, stored, read)
    return NiftiImage(image, None) if is_analyze(header) else _placed(image, header, path, form)


def _only_nibabel(header: Any, path: Path, zipped: bool) -> bool:
    """ITK reads neither NIfTI-2 nor gzip under another name, and unpacks what follows the voxels;
    what is named .gz and is not compressed it reads."""
    return is_nifti_2(header) or (zipped and not _named_zipped(path))


def _named_zipped(path: Path) -> bool:
    return path.name.lower().endswith(".gz")


def _read_with_itk(path: Path) -> Any:
    import SimpleITK as sitk

    try:
        with quiet():
            return sitk.ReadImage(str(path), imageIO="NiftiImageIO")
    except RuntimeError as error:
        if "orthonormal" in str(error):
            return read_straightened(path)
        raise InputError(f"{path}: cannot be read ({reason(error)}); export it again") from None


def _read_with_nibabel(path: Path, header: Any, zipped: bool, length: int) -> Any:
    import SimpleITK as sitk

    nibabel = nibabel_package()
    try:
        with gzip.open(path, "rb") if zipped else path.open("rb") as file:
            content = file.read(length + LONGEST)
        kind = nibabel.Nifti2Image if is_nifti_2(header) else nibabel.Nifti1Image
        with nibabel.imageglobals.LoggingOutputSuppressor():
            loaded = kind.from_bytes(content)
            voxels = np.asanyarray(loaded.dataobj)
    except (OSError, EOFError, zlib.error, ValueError, nibabel.spatialimages.HeaderDataError):
        raise InputError(f"{path}: is damaged or cut short; copy or export it again") from None
    colour = voxels.dtype.names is not None
    if colour:
        voxels = np.stack([voxels[name] for name in voxels.dtype.names], axis=-1)
    order = tuple(range(voxels.ndim - colour))[::-1]
    voxels = voxels.transpose(*order, *((voxels.ndim - 1,) if colour else ()))
    if voxels.dtype == np.float16 or voxels.dtype.itemsize > 8:
        raise InputError(f"{path}: its voxels are {voxels.dtype}; save them as float32")
    image = sitk.GetImageFromArray(
        np.ascontiguousarray(voxels, voxels.dtype.newbyteorder("=")), isVector=colour
    )
    steps = [float(s) for s in loaded.header.get_zooms()[: image.GetDimension()]]
    image.SetSpacing([step if step > 0 else 1.0 for step in steps])
    affine = _TO_LPS @ loaded.affine
    if _is_placed(loaded.header) and image.GetDimension() >= 3:
        set_place(image, affine, path)
    return image


def _is_placed(header: Any) -> bool:
    return int(header["qform_code"]) > 0 or int(header["sform_code"]) > 0


def _placed(image: Any, header: Any, path: Path, form: str | None) -> NiftiImage:
    """The image at the place that is asked for, with all places and notes."""
    size = tuple((*image.GetSize(), 1, 1)[:3])
    affines, codes = _affines(header)
    if not affines:
        places = NiftiPlaces({}, codes, "", size)
        note = (
            "its header tells neither place nor orientation (qform and sform codes are 0); masks "
            "of the same size are taken voxel by voxel"
        )
        return NiftiImage(image, places, (note,) if image.GetDimension() > 2 else ())
    if image.GetDimension() < 3:
        return NiftiImage(image, None)
    here = _affine_of(image)
    taken = form if form in affines else min(
        affines, key=lambda one: largest_shift(affines[one], here, size)
    )  # fmt: skip
    places = NiftiPlaces(affines, codes, taken, size, chosen=form in affines)
    if form in affines:
        set_place(image, affines[form], path)
    if places.other is None:
        return NiftiImage(image, places)
    apart = largest_shift(affines["qform"], affines["sform"], size)
    why = "as asked for" if places.chosen else "as ITK and 3D Slicer do; form= chooses"
    note = (
        f"its header tells two places, {apart:.1f} mm apart (qform code {codes['qform']}, sform "
        f"code {codes['sform']}); {taken} is taken, {why}"
    )
    return NiftiImage(image, places, (note,))


def _affines(header: Any) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    affines, codes = {}, {form: int(header[f"{form}_code"]) for form in FORMS}
    for form in FORMS:
        if codes[form] > 0:
            affine = affine_of(header, form)
            if np.isfinite(affine).all() and abs(np.linalg.det(affine[:3, :3])) > 1e-9:
                affines[form] = _TO_LPS @ affine
    return affines, codes


def _affine_of(image: Any) -> np.ndarray:
    dimension = image.GetDimension()
    affine = np.eye(4)
    direction = np.asarray(image.GetDirection()).reshape(dimension, dimension)[:3, :3]
    affine[:3, :3] = direction * np.asarray(image.GetSpacing()[:3])
    affine[:3, 3] = image.GetOrigin()[:3]
    return affine
