"""NIfTI files that lie on the image they belong to, whichever form of the header is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .errors import InputError
from .files import atomic_path, check_name, save_image
from .nifti_places import FORMS, NiftiPlaces
from .volume import Volume
from .written_images import check_written

_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def save_nifti(volume: Volume, path: Path) -> None:
    """Write a volume, whole or not at all. Both forms tell its place; where the image that it
    lies on was read from a header that tells two places, or none, the file tells the same.

    Raises:
        InputError: it cannot be written there.
    """
    places = volume.places
    ambiguous = places is not None and not places.chosen and (
        not places.is_placed or places.other is not None
    )  # fmt: skip
    if not ambiguous or volume.is_rgb:
        save_image(volume.to_sitk(), path)
        return
    check_name(path)
    with atomic_path(path) as temporary:
        try:
            _write(volume, places, temporary)
        except (ValueError, OSError) as error:
            raise InputError(f"{path}: cannot be written ({error})") from None
        check_written(temporary, volume.size, path)


def _write(volume: Volume, places: NiftiPlaces, path: Path) -> None:
    import nibabel

    image = nibabel.Nifti1Image(np.asarray(volume.voxels).transpose(2, 1, 0), None)
    image.header.set_xyzt_units("mm")
    image.header.set_zooms(volume.spacing)
    for form in FORMS:
        affine = places.affines.get(form)
        set_form = image.set_qform if form == "qform" else image.set_sform
        if affine is None:
            set_form(None, 0)
        else:
            set_form(_TO_RAS @ affine, places.codes[form])
    nibabel.save(image, path)
