"""Between the query's file, in whatever order it lies, and canonical slices."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..data.errors import InputError
from ..data.slicing import put_slices
from ..data.support import Support
from ..data.volume import Volume
from .monitor import ShowSlice
from .preparation import Query, common_segments
from .results import PreviewCallback, SlicePreview, SliceResult
from .work import Work


def canonical_range(query: Query, asked: tuple[int, int] | None) -> tuple[int, int]:
    """First and last canonical slice of a range in file indices, or of all slices.

    Raises:
        InputError: not two whole numbers, or they lie outside of the volume.
    """
    count = len(query.stack)
    if asked is None:
        return 0, count - 1
    try:
        first, last = (operator.index(value) for value in asked)
    except (TypeError, ValueError):
        raise InputError(
            f"range {asked!r}: give the first and the last slice as two whole numbers"
        ) from None
    if not 0 <= first <= last < count:
        raise InputError(
            f"slices {first} to {last}: {query.volume.name or 'the volume'} has {count} "
            f"{query.axis} slices, 0 to {count - 1}"
        )
    ends = sorted((query.file_index(first), query.file_index(last)))
    return ends[0], ends[1]


def labels_in_file(query: Query, work: Work, supports: Sequence[Support]) -> Volume:
    """The work's labels in the query's own grid and order, with the supports' names."""
    volume, labels = query.volume, query.orientation.restore(put_slices(work.labels, query.axis))
    return Volume(
        np.ascontiguousarray(labels), volume.spacing, volume.origin, volume.direction,
        "other", volume.name, common_segments(supports), places=volume.places,
    )


def show_in_file(query: Query, preview: PreviewCallback | None) -> ShowSlice | None:
    """From slices in canonical orientation to previews of the file's."""
    if preview is None:
        return None

    def show(index: int, plane: np.ndarray, results: Sequence[SliceResult]) -> None:
        preview(SlicePreview(
            query.file_axis, query.file_index(index), query.in_file(plane),
            tuple(result_in_file(r, query) for r in results),
        ))

    return show


def result_in_file(result: SliceResult, query: Query) -> SliceResult:
    """A canonical slice's result with the file's own index."""
    return replace(result, index=query.file_index(result.index))
