"""The direction of the slices that a person painted, found quickly enough for a panel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .segments import read_layers
from .volumes import grid_of


def painted_axis(
    volume_node: Any, segmentation_node: Any, segment_ids: Sequence[str] | None = None
) -> str | None:
    """ "axial", "coronal" or "sagittal"; None while nothing is painted.

    Looks at the label maps on their own grids, which reach as far as the painting does: a painted
    slice is looked at as one slice. Of several label maps the one with the most voxels tells.

    Raises:
        InputError: a transform that is not linear.
    """
    from FewShotSAMLib.data.slicing import find_axis

    most, found = 0, None
    for layer in read_layers(segmentation_node, segment_ids, grid_of(volume_node)):
        near = _drawn_part(layer.labels.voxels)
        painted = np.isin(near, list(layer.values.values()))
        count = int(np.count_nonzero(painted))
        if count > most:
            # Where it lies does not matter here, only the directions of its axes.
            drawing, _ = replace(layer.labels, voxels=painted).canonical()
            most, found = count, find_axis(drawing.voxels, drawing.spacing)
    return found


def _drawn_part(voxels: np.ndarray) -> np.ndarray:
    """The box of an array that holds everything but zeros: of a large array with one painted
    slice, that slice."""
    for axis in range(3):
        others = tuple({0, 1, 2} - {axis})
        there = np.flatnonzero(voxels.any(axis=others))
        ends = (there[0], there[-1] + 1) if len(there) else (0, 0)
        voxels = np.moveaxis(np.moveaxis(voxels, axis, 0)[slice(*ends)], 0, axis)
    return voxels
