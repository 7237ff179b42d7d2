"""Which slices the views show of the volume, counted along the direction that was painted in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer

from FewShotSAMLib import InputError

from ..runs.kept_review import KeptReview
from ..scene.viewing import array_axis, slice_shown, view_of
from .choices import Axis
from .context import Place


class ShownSlices:
    """Looks anew each time.

    Attributes:
        painted: "axial", "coronal" or "sagittal", as the painted slices say; None where they are
            silent.
        marked: first and last painted slice along it, or None.

    Args:
        parameters: tells the `FewShotSAMParameters`.
        review: its slices count where nothing is painted.
    """

    def __init__(self, parameters: Callable[[], Any], review: KeptReview) -> None:
        self._parameters, self._review = parameters, review
        self.painted: str | None = None
        self.marked: tuple[int, int] | None = None

    def nodes(self) -> list[Any]:
        """The slice views that are shown now."""
        manager = slicer.app.layoutManager()
        if manager is None:
            return []
        nodes = [manager.sliceWidget(name).mrmlSliceNode() for name in manager.sliceViewNames()]
        return [node for node in nodes if node.IsMappedInLayout()]

    def axis(self) -> str | None:
        """The direction of the painted slices; None while it is not known."""
        chosen = self._parameters().axis
        return self.painted if chosen is Axis.auto else chosen.value

    def place(self) -> Place | None:
        """Which slice of the volume is shown, or None."""
        volume, word, review = self._volume(), self.axis(), self._review.review
        if volume is None or not (word or review):
            return None
        try:
            axis = array_axis(volume, word) if word else review.array_axis
            view = self.view(axis)
            index = slice_shown(volume, axis, view) if view is not None else None
        except InputError:
            return None
        return None if index is None else (axis, index, view)

    def view(self, axis: int) -> Any | None:
        """The slice view of the volume's slices along an array axis, or None."""
        return view_of(self._parameters().volume, axis, self.nodes())

    def count(self) -> int:
        """Slices of the volume along the painted direction; 0 while it is not known."""
        volume, word = self._volume(), self.axis()
        if volume is None or word is None:
            return 0
        try:
            return volume.GetImageData().GetDimensions()[2 - array_axis(volume, word)]
        except InputError:
            return 0

    def _volume(self) -> Any | None:
        """The chosen volume, where it has voxels."""
        volume = self._parameters().volume
        return None if volume is None or volume.GetImageData() is None else volume
