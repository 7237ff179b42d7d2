"""Axes of NIfTI headers, which may be any matrix, made the rotations that volumes have."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from .errors import InputError
from .itk_messages import quiet

# How far (mm per mm) a matrix may be from a rotation and still be repaired by rounding.
_LARGEST_SHEAR = 0.02


def set_place(image: Any, affine: np.ndarray, path: Path) -> None:
    """Give an image the place of a 4x4, whose axes are made orthogonal.

    Raises:
        InputError: they are far from it.
    """
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    axes = affine[:3, :3] / spacing
    left, _, right = np.linalg.svd(axes)
    _check_shear(float(np.abs(axes - left @ right).max()), path)
    dimension = image.GetDimension()
    direction = np.eye(dimension)
    direction[:3, :3] = left @ right
    image.SetDirection(direction.ravel().tolist())
    image.SetSpacing((*spacing.tolist(), *image.GetSpacing()[3:]))
    image.SetOrigin((*affine[:3, 3].tolist(), *image.GetOrigin()[3:]))


def read_straightened(path: Path) -> Any:
    """A file whose matrix is not quite a rotation, with the nearest rotation in its place.

    ITK does this on request, which is made through an environment variable it looks at.
    """
    import SimpleITK as sitk

    key = "ITK_NIFTI_SFORM_PERMISSIVE"
    before = os.environ.get(key)
    os.environ[key] = "ON"
    try:
        with quiet():
            image = sitk.ReadImage(str(path), imageIO="NiftiImageIO")
    except RuntimeError:
        raise InputError(
            f"{path}: its axes are not at right angles; resample it to a regular grid first"
        ) from None
    finally:
        if before is None:
            del os.environ[key]
        else:
            os.environ[key] = before
    rows = [image.GetMetaData(f"srow_{row}").split() for row in "xyz"]
    axes = np.array(rows, dtype=float)[:, :3] * [[-1], [-1], [1]]
    axes /= np.linalg.norm(axes, axis=0)
    direction = np.asarray(image.GetDirection()).reshape(image.GetDimension(), -1)[:3, :3]
    _check_shear(float(np.abs(axes - direction).max()), path)
    return image


def _check_shear(shear: float, path: Path) -> None:
    if shear > _LARGEST_SHEAR:
        raise InputError(
            f"{path}: its axes are not at right angles (off by {shear:.2f}); "
            "resample it to a regular grid first"
        )
