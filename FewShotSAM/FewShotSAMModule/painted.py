"""The direction of the slices that a person painted, found quickly enough for a panel."""

from __future__ import annotations

from collections.abc import Sequence
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
        painted = np.isin(layer.labels.voxels, list(layer.values.values()))
        count = int(np.count_nonzero(painted))
        if count > most:
            drawing, _ = layer.labels.with_voxels(painted).canonical()
            most, found = count, find_axis(drawing.voxels, drawing.spacing)
    return found
