"""A few slices around the one that is being painted, shown and never written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..scene.preview import Preview
from ..scene.segments import SegmentInfo
from . import logic
from .run import Run, Work
from .source import Choice, Preparation, Source
from .worker import Worker


class LiveView:
    """Shows the slices of one run after the other, without a gap between them.

    Args:
        volume_node: what is painted on.
    """

    segment_ids: Mapping[int, str] = {}
    held_back: Mapping[int, int] = {}

    def __init__(self, volume_node: Any) -> None:
        self._volume_node = volume_node
        self._shown: Preview | None = None
        self._segments: Mapping[int, SegmentInfo] = {}
        self._begun = False

    @property
    def volume_node(self) -> Any:
        """What is painted on."""
        return self._volume_node

    def begin(self, segments: Mapping[int, SegmentInfo]) -> None:
        """Another run: what the last one showed goes with its first slice."""
        if segments != self._segments:
            self.remove()
        self._segments, self._begun = segments, True

    def preview(self, axis: int, index: int, labels: np.ndarray) -> None:
        """Shows the labels of one slice; see ``Preview.fill``."""
        if self._volume_node.GetScene() is None:
            return
        if self._shown is None or self._shown.node.GetScene() is None:
            self._shown = Preview(self._volume_node, self._segments)
        elif self._begun:
            self._shown.clear()
        self._begun = False
        self._shown.fill(axis, index, labels)

    def discard(self) -> None:
        """A run was given up: another one follows, and what is shown stays until then."""

    def remove(self) -> None:
        """Shows nothing any more."""
        if self._shown is not None:
            self._shown.remove()
            self._shown = None


def segment_around(
    view: LiveView,
    support_segmentation: Any,
    range: tuple[int, int],
    *,
    segment_ids: Sequence[str] | None = None,
    axis: str = "auto",
    seed: int = 0,
    worker: Worker | None = None,
    **networks: Any,
) -> Run:
    """Segments a few slices and shows them; returns at once.

    Args:
        view: takes the slices.
        support_segmentation, range, segment_ids, axis, seed: as for `logic.segment`.
        networks: of `FewShotSAMLib.load_segmenter`.

    Raises:
        InputError: what was given is unusable.
    """
    ids = None if segment_ids is None else tuple(segment_ids)
    # Nobody else is segmented by it, so that nothing has to be measured of the whole volume.
    choice = Choice(ids, axis=axis, overview=False)
    preparation = Preparation(view.volume_node, support_segmentation, choice)
    options = {"range": range, "seed": seed}

    def begin(source: Source) -> Work:
        view.begin(source.segments)
        job = (worker or logic.shared_worker()).segment(
            source.volume, source.supports, model=networks, options=options
        )
        return Work(job, view, lambda result: _rest(view, result))

    return Run(preparation, begin, preparation.nodes)


def _rest(view: LiveView, result: Any) -> None:
    """What has not been shown yet: the whole range, as it is at the end."""
    from FewShotSAMLib.data.slicing import GRID_AXIS

    volume = result.labels
    _, orientation = volume.canonical()
    axis = 2 - orientation.permutation[GRID_AXIS[result.axis]]
    for index in sorted({one.index for one in result.slices}):
        view.preview(axis, index, volume.voxels.take(index, axis))
