"""Which slice of a volume a slice view shows, and how to go to another.

Slices are counted along an axis of the volume's array (k, j, i = 0, 1, 2) from 0. Views may be
rotated and volumes oblique, mirrored or under a transform: everything goes through world
millimetres, never through a view's own slice numbers, which depend on its rotation.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .placement import local_to_world, to_array, volume_affine
from .volumes import grid_of

# A view further than this from a slice's plane shows no slice of that direction.
_WIDEST_ANGLE = np.cos(np.radians(45.0))


def array_axis(volume_node: Any, axis: str) -> int:
    """The axis of a volume node's array that axial, coronal or sagittal slices lie along.

    Raises:
        InputError: another word, or a volume without voxels or under a bending transform.
    """
    from FewShotSAMLib.data.slicing import GRID_AXIS, check_axis

    _, orientation = grid_of(volume_node).canonical()
    return 2 - orientation.permutation[GRID_AXIS[check_axis(axis)]]


def view_of(volume_node: Any, axis: int, slice_nodes: Iterable[Any]) -> Any | None:
    """The slice node whose view is closest to the volume's slices along an array axis.

    Returns:
        None when every view is turned by 45 degrees or more; of equally good ones the first.
    """
    plane = _plane_normal(volume_node, axis)
    plane = plane / np.linalg.norm(plane)
    best, closest = None, float(_WIDEST_ANGLE)
    for node in slice_nodes:
        through = to_array(node.GetSliceToRAS())[:3, 2]
        cosine = abs(float(plane @ through)) / np.linalg.norm(through)
        if cosine > closest + 1e-6:
            best, closest = node, cosine
    return best


def slice_shown(volume_node: Any, axis: int, slice_node: Any) -> int | None:
    """The slice along an array axis that lies under the middle of a view; None beside the volume.

    A view between two slices shows the nearer one.
    """
    middle = to_array(slice_node.GetSliceToRAS())[:, 3]
    position = np.linalg.inv(_affine(volume_node)) @ middle
    index = int(np.floor(position[2 - axis] + 0.5))
    count = volume_node.GetImageData().GetDimensions()[2 - axis]
    return index if 0 <= index < count else None


def show_slice(volume_node: Any, axis: int, index: int, slice_node: Any) -> None:
    """Moves a view along its own direction to a slice, without turning or panning it."""
    affine = _affine(volume_node)
    normal = _plane_normal(volume_node, axis)
    view = to_array(slice_node.GetSliceToRAS())
    corner = np.zeros(4)
    corner[2 - axis], corner[3] = index, 1.0
    on_slice = (affine @ corner)[:3]
    # Along the view's own direction, from its middle to the plane of the slice.
    steps = normal @ (on_slice - view[:3, 3]) / (normal @ view[:3, 2])
    target = view[:3, 3] + steps * view[:3, 2]
    slice_node.JumpSliceByOffsetting(*(float(value) for value in target))


def _affine(volume_node: Any) -> np.ndarray:
    """4x4, voxel (i, j, k, 1) -> RAS millimetres of the world."""
    return local_to_world(volume_node) @ volume_affine(volume_node)


def _plane_normal(volume_node: Any, axis: int) -> np.ndarray:
    """Across the plane of a slice (not along the step from slice to slice, where axes are skewed);
    not of unit length."""
    affine = _affine(volume_node)
    first, second = (affine[:3, n] for n in range(3) if n != 2 - axis)
    return np.cross(first, second)
