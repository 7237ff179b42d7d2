"""What is painted becomes a file, and a slice of a result becomes part of what is painted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import qt
import slicer
from slicer.i18n import tr as _

from FewShotSAMLib import InputError

from ..runs.kept_review import KeptReview
from ..scene.slice_edits import fill_slice, read_slice, segments_by_label
from ..scene.supports import read_supports
from .context import Context
from .structures_list import StructuresList


class SupportSection:
    """Saves supports, and adds to them.

    Args:
        structures: those that are ticked are saved.
        review: the result that a slice is taken from.
        segment: runs again when a slice was added.
    """

    def __init__(
        self,
        context: Context,
        structures: StructuresList,
        review: KeptReview,
        segment: Callable[[], None],
    ) -> None:
        self._context, self._structures, self._review = context, structures, review
        self._segment = segment
        ui = context.ui
        ui.saveSupportButton.connect("clicked(bool)", self._on_save)
        ui.addSupportButton.connect("clicked(bool)", self._on_add)

    def save(self, path: Path) -> Path:
        """Writes the ticked structures as one support.

        Args:
            path: where to; its suffix becomes .nrrd.

        Returns:
            The file written.

        Raises:
            InputError: nothing is painted, or what is painted does not fit into one support.
        """
        p = self._context.parameters
        supports, _segments = read_supports(
            p.volume, p.supportSegmentation, self._structures.chosen, axis=p.axis.value
        )
        if len(supports) > 1:
            raise InputError(
                _("The painted segments overlap, and a file holds one label a voxel: tick "
                  "those that do not overlap.")
            )  # fmt: skip
        target = path.with_suffix(".nrrd")
        supports[0].save(target)
        return target

    def _on_save(self, _checked: bool) -> None:
        context = self._context
        path = qt.QFileDialog.getSaveFileName(
            slicer.util.mainWindow(), _("Save support"),
            f"{context.volume.GetName()} support.nrrd", _("Support (*.nrrd)"),
        )  # fmt: skip
        if not path:
            return
        try:
            context.say(_("Saved {path}").format(path=self.save(Path(path))))
        except InputError as problem:
            context.say(str(problem))

    def _on_add(self, _checked: bool) -> None:
        """Copies the slice shown from the result into the support, and runs again."""
        context, review = self._context, self._review
        place = context.place()
        if place is None or review.node is None:
            return
        axis, index, _view = place
        try:
            labels = read_slice(context.volume, review.node, review.segment_ids, axis, index)
            if not labels.any():
                context.say(_("Slice {index} holds nothing to mark.").format(index=index))
                return
            self._fill(axis, index, labels)
        except InputError as problem:
            context.say(str(problem))
            return
        self._segment()

    def _fill(self, axis: int, index: int, labels: np.ndarray) -> None:
        context, review = self._context, self._review
        support = context.parameters.supportSegmentation
        context.last = fill_slice(
            context.volume, support, segments_by_label(review.node, review.segment_ids), axis,
            index, labels, overwrite="unlocked", before_change=context.before_change(support),
        )  # fmt: skip
