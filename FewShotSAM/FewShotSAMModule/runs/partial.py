"""What a run that was stopped in the middle leaves: the slices that had come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..scene.slice_edits import read_slice

if TYPE_CHECKING:
    from FewShotSAMLib.segmentation.results import SlicePreview, SliceResult

    from ..scene.layer_edits import Region
    from ..scene.results import ResultWriter
    from .source import Source


@dataclass(frozen=True, eq=False)
class PartialResult:
    """The part of a `VolumeResult` that is known of some slices.

    Attributes:
        slices: of the slices that had come, by slice and structure.
        names: label -> name.
        axis: "axial", "coronal" or "sagittal".
        count: how many slices that are.
    """

    slices: tuple[SliceResult, ...]
    names: Mapping[int, str]
    axis: str
    count: int


def partial_result(source: Source, came: Sequence[SlicePreview]) -> PartialResult:
    """What is known of the slices that came."""
    ordered = sorted(came, key=lambda one: one.index)
    return PartialResult(
        tuple(result for one in ordered for result in one.results),
        {label: info.name for label, info in source.segments.items()},
        source.supports[0].axis,
        len(ordered),
    )


def write_part(
    source: Source, writer: ResultWriter, output: Any, came: Sequence[SlicePreview]
) -> Any:
    """Writes the slices that came, as one change; returns the segmentation node.

    Args:
        output: the segmentation that it goes into, None for a new one: it keeps what it holds of
            its segments on slices between those that came.
    """
    axis = came[0].axis
    labels = np.zeros(source.volume.shape[:3], came[0].labels.dtype)
    slices = np.moveaxis(labels, axis, 0)
    for one in came:
        slices[one.index] = one.labels
    done = {one.index for one in came}
    region: Region = axis, min(done), max(done)
    if output is not None:
        ids = writer.targets
        for index in sorted(set(range(region[1], region[2] + 1)) - done):
            slices[index] = read_slice(source.nodes[0], output, ids, axis, index)
    return writer.commit(labels, region)
