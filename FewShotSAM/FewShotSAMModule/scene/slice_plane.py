"""One slice of a volume node: its pixels as the library shows them, and their place."""

from __future__ import annotations

from typing import Any

import numpy as np

from FewShotSAMLib import InputError

from .placement import RAS_TO_LPS
from .volumes import grid_of


class SlicePlane:
    """Between pixels (x, y) of a slice as shown and RAS millimetres of the world.

    A slice as shown is that of ``FewShotSAMLib.data.slicing``: axial with columns to the left of
    the patient and rows to the back; coronal and sagittal with the head at the top. Pixel
    centres are at whole numbers.

    Args:
        volume_node: its parent transforms are applied, as they are now.
        axis: array axis of the node's voxels (k, j, i = 0, 1, 2) that counts slices.
        index: of the slice along it.

    Attributes:
        shape: (rows, columns) as shown.

    Raises:
        InputError: no such slice; a transform that is not linear.
    """

    def __init__(self, volume_node: Any, axis: int, index: int) -> None:
        grid = grid_of(volume_node)
        if not 0 <= index < grid.shape[axis]:
            raise InputError(
                f"{grid.name}: has no slice {index}; it has {grid.shape[axis]} along this axis"
            )
        canonical, orientation = grid.canonical()
        # Canonical grid axis (i, j, k = 0, 1, 2) that the array axis became.
        along = orientation.permutation.index(2 - axis)
        columns, rows = {2: (0, 1), 1: (0, 2), 0: (1, 2)}[along]
        first = np.zeros(3)
        first[along] = orientation.canonical_index(along, index)
        steps = np.zeros((3, 3))
        steps[columns, 0] = 1
        if rows == 2:  # the head at the top, though k runs towards it
            first[2] = canonical.size[2] - 1
            steps[2, 1] = -1
        else:
            steps[rows, 1] = 1
        steps[along, 2] = 1
        pixel = np.eye(4)
        pixel[:3, :3], pixel[:3, 3] = steps, first
        self._to_world = RAS_TO_LPS @ canonical.affine @ pixel
        self._to_pixel = np.linalg.inv(self._to_world)
        self.shape = (canonical.size[rows], canonical.size[columns])

    def to_world(self, points: np.ndarray) -> np.ndarray:
        """Pixels (n, 2) as (x, y) -> RAS millimetres (n, 3) of the world."""
        points = np.asarray(points, float).reshape(-1, 2)
        homogeneous = np.c_[points, np.zeros(len(points)), np.ones(len(points))]
        return (homogeneous @ self._to_world.T)[:, :3]

    def to_pixels(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """RAS millimetres (n, 3) of the world -> pixels (n, 2) as (x, y), and how many slices
        (n,) each point lies before or behind this one."""
        points = np.asarray(points, float).reshape(-1, 3)
        pixels = np.c_[points, np.ones(len(points))] @ self._to_pixel.T
        return pixels[:, :2], pixels[:, 2]

    def holds(self, points: np.ndarray) -> np.ndarray:
        """Which RAS points (n, 3) lie within the slice's thickness and its picture, bool (n,)."""
        pixels, distance = self.to_pixels(points)
        last = np.array(self.shape[::-1]) - 0.5
        inside = np.all((pixels >= -0.5) & (pixels <= last), axis=1)
        return inside & (np.abs(distance) <= 0.5 + 1e-6)
