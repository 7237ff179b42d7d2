"""Segments whose voxels a result may not take, on the grid of what is segmented."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from FewShotSAMLib import Volume

from .existing_results import protected_segments, target_segments
from .segments import SegmentInfo, among, on_grid
from .supports import Painting, look_at_painting


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The segmentation that a result goes into, as it was found.

    Attributes:
        painting: its segments.
        protected: ids of those that keep every voxel.
    """

    painting: Painting
    protected: frozenset[str]

    def copy(self) -> Neighbours:
        """With label maps of its own."""
        return replace(self, painting=self.painting.copy())

    def voxels(self, grid: Volume, segments: Mapping[int, SegmentInfo]) -> Volume | None:
        """Those of the protected segments, 1 on the grid of a volume; None where there are none.
        Touches no node, so any thread may call it.

        Args:
            segments: label -> what is segmented. The segments that it goes into do not count.
        """
        targets = set(target_segments(self.painting.infos, segments).values())
        found = np.zeros(grid.shape, np.uint8)
        for layer in self.painting.layers:
            values = [v for i, v in layer.values.items() if i in self.protected - targets]
            there = on_grid(layer.labels, grid, values) if values else None
            if there is not None:
                found |= among(there, values)
        if not found.any():
            return None
        return grid.with_voxels(found, name=self.painting.name, modality="other")


def look_at_neighbours(grid: Volume, segmentation_node: Any, overwrite: str) -> Neighbours | None:
    """The quick part, on the main thread; None where every voxel may be taken.

    Args:
        grid: the volume, or its grid.
        segmentation_node: what the result goes into.
        overwrite: as for `ResultWriter`.

    Raises:
        InputError: a transform that cannot be used.
    """
    protected = protected_segments(segmentation_node, overwrite)
    if not protected:
        return None
    painting = look_at_painting(grid, segmentation_node, sorted(protected))
    # All of its segments count when names are looked for, as they do when the result is written.
    everything = look_at_painting(grid, segmentation_node).infos
    return Neighbours(replace(painting, infos=everything), frozenset(protected))
