"""Where the voxels of a node lie in the patient: the one place that turns RAS into LPS.

Slicer speaks RAS and local coordinates under parent transforms, the library LPS and the world.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import vtk

from FewShotSAMLib import InputError, Volume

# RAS <-> LPS; its own inverse.
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])

# The library works on slices of rectangular pixels. Axes further than this from a right angle
# (a scanner's gantry tilts by up to 30 degrees) would show it shapes that are not there.
_LARGEST_SKEW_DEGREES = 35.0
_NOTED_SKEW_DEGREES = 1.0


def to_array(matrix: vtk.vtkMatrix4x4) -> np.ndarray:
    """A 4x4 float64 array with the elements of ``matrix``."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def to_matrix(array: np.ndarray) -> vtk.vtkMatrix4x4:
    """A VTK matrix with the elements of a 4x4 array."""
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy([float(value) for value in np.asarray(array).ravel()])
    return matrix


def local_to_world(node: Any) -> np.ndarray:
    """4x4, a transformable node's own RAS -> RAS of the world: all its parent transforms.

    Raises:
        InputError: one of them is not linear, or is degenerate.
    """
    transform = node.GetParentTransformNode()
    if transform is None:
        return np.eye(4)
    advice = f"harden the transform {transform.GetName()!r} on it first (Transforms module)"
    if not transform.IsTransformToWorldLinear():
        raise InputError(f"{node.GetName()}: lies under a transform that bends it; {advice}")
    matrix = vtk.vtkMatrix4x4()
    transform.GetMatrixTransformToWorld(matrix)
    world = to_array(matrix)
    usable = np.isfinite(world).all() and np.allclose(world[3], (0, 0, 0, 1), atol=1e-9)
    if not usable or abs(np.linalg.det(world[:3, :3])) < 1e-9:
        raise InputError(f"{node.GetName()}: lies under a degenerate transform; {advice}")
    return world


def volume_affine(volume_node: Any) -> np.ndarray:
    """4x4, voxel (i, j, k, 1) of a volume node -> its own RAS millimetres, transforms left out."""
    matrix = vtk.vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(matrix)
    return to_array(matrix)


def image_affine(image: Any) -> np.ndarray:
    """4x4, element (i, j, k, 1) of the *array* of a ``vtkOrientedImageData`` -> its RAS
    millimetres. The array begins at the image's extent, which need not begin at 0."""
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    extent = image.GetExtent()
    first = np.eye(4)
    first[:3, 3] = extent[0], extent[2], extent[4]
    return to_array(matrix) @ first


def placed_volume(voxels: np.ndarray, affine: np.ndarray, name: str, **fields: Any) -> Volume:
    """A library volume of voxels (k, j, i[, 3]) that ``affine`` places in the world.

    Args:
        voxels: kept as they are, not copied.
        affine: 4x4, voxel (i, j, k, 1) -> RAS millimetres of the world. Any orientation, either
            handedness. Moderately skewed axes are kept exactly, with a note.
        name: for messages.
        fields: further fields of ``Volume``.

    Raises:
        InputError: no voxels, or axes that are degenerate or far from right angles.
    """
    lps = RAS_TO_LPS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    if not np.isfinite(lps).all() or not (spacing > 1e-9).all():
        raise InputError(f"{name}: its IJK to RAS matrix is degenerate; repair its header")
    direction = lps[:3, :3] / spacing
    skew = _skew(direction)
    if skew > _LARGEST_SKEW_DEGREES:
        raise InputError(
            f"{name}: its axes are skewed by {skew:.0f} degrees; resample it to a grid with right "
            "angles first (Resample Scalar Volume module)"
        )
    notes = tuple(fields.pop("notes", ()))
    if skew > _NOTED_SKEW_DEGREES:
        notes += (f"its axes are skewed by {skew:.0f} degrees; its slices are shown unskewed",)
    return Volume(
        voxels, tuple(spacing), tuple(lps[:3, 3]), direction, name=name, notes=notes, **fields
    )


def _skew(direction: np.ndarray) -> float:
    """Degrees that the columns of a 3x3 of unit vectors are off right angles, at most."""
    cosines = np.abs(direction.T @ direction - np.eye(3)).max()
    return float(np.degrees(np.arcsin(min(1.0, cosines))))
