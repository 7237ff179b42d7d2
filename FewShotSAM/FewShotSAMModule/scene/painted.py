"""The slices that a person painted and their direction, found quickly enough for a panel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from .segments import among, read_layers
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
    from FewShotSAMLib.data.drawn_planes import drawn_axis

    most, found = 0, None
    for layer in read_layers(segmentation_node, segment_ids, grid_of(volume_node)):
        near = _drawn_part(layer.labels.voxels)
        painted = np.isin(near, list(layer.values.values()))
        count = int(np.count_nonzero(painted))
        if count > most:
            # Where it lies does not matter here, only the directions of its axes.
            drawing, _ = replace(layer.labels, voxels=painted).canonical()
            most, found = count, drawn_axis(drawing.voxels, drawing.spacing)
    return found


def painted_range(
    volume_node: Any, segmentation_node: Any, segment_ids: Sequence[str] | None, axis: int
) -> tuple[int, int] | None:
    """First and last slice of a volume that is painted on; None while nothing is.

    Args:
        axis: array axis of the volume node's voxels (k, j, i = 0, 1, 2) that counts slices.

    Raises:
        InputError: a transform that is not linear.
    """
    grid = grid_of(volume_node)
    found = []
    for layer in read_layers(segmentation_node, segment_ids, grid):
        there = among(layer.labels.voxels, list(layer.values.values()))
        spans = [np.flatnonzero(there.any(axis=tuple({0, 1, 2} - {n}))) for n in (2, 1, 0)]
        if not len(spans[0]):
            continue
        corners = np.array(list(product(*((span[0], span[-1]) for span in spans))), float)
        places = grid.world_to_index(layer.labels.index_to_world(corners))[:, 2 - axis]
        found += [places.min(), places.max()]
    if not found:
        return None
    first, last = (int(np.rint(value)) for value in (min(found), max(found)))
    return max(first, 0), min(last, grid.shape[axis] - 1)


def _drawn_part(voxels: np.ndarray) -> np.ndarray:
    """The box of an array that holds everything but zeros: of a large array with one painted
    slice, that slice."""
    for axis in range(3):
        others = tuple({0, 1, 2} - {axis})
        there = np.flatnonzero(voxels.any(axis=others))
        ends = (there[0], there[-1] + 1) if len(there) else (0, 0)
        voxels = np.moveaxis(np.moveaxis(voxels, axis, 0)[slice(*ends)], 0, axis)
    return voxels
