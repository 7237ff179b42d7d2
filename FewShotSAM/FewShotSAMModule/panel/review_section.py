"""The review section: the strip of slices, the way through the doubtful ones, accept and reject."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import qt
import slicer
from slicer.i18n import tr as _

from FewShotSAMLib import InputError

from ..runs.review import ACCEPTED, REJECTED, UNDECIDED, Review, judged
from ..scene.slice_edits import clear_slice, fill_slice, segments_by_label
from ..scene.viewing import array_axis, show_slice

if TYPE_CHECKING:
    import numpy as np

    from .panel import Panel

# Where a review is kept on its segmentation node, so that it is there when the scene is loaded.
ATTRIBUTE = "FewShotSAM.Review"

# Told apart without red and green.
_COLOURS = {
    "empty": "#c8c8c8",
    "drawn": "#f0d020",
    "sure": "#3f7fbf",
    "doubtful": "#f08030",
    "accepted": "#2f9f7f",
    "rejected": "#404040",
}
_MOST_CELLS = 100


@dataclass(frozen=True)
class Change:
    """Something that a person can take back; `undo` raises InputError when it cannot be."""

    undo: Callable[[], None]


class ReviewPanel:
    """Shows a review and keeps it with its segmentation.

    Attributes:
        node: the segmentation under review, or None.
        review: what is known of its slices, or None.
        segment_ids: label -> id of its segment.
    """

    def __init__(self, panel: Panel) -> None:
        self._panel = panel
        self.node: Any = None
        self.review: Review | None = None
        self.segment_ids: dict[int, str] = {}
        # What rejected slices held, while the application runs.
        self._removed: dict[int, np.ndarray] = {}
        self._shown: int | None = None
        ui = panel.ui
        strip = ui.reviewStrip
        strip.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)
        strip.verticalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)
        strip.setEditTriggers(qt.QAbstractItemView.NoEditTriggers)
        strip.connect("currentCellChanged(int,int,int,int)", self._on_cell)
        strip.connect("cellClicked(int,int)", lambda _row, column: self._go_to_cell(column))
        ui.previousDoubtfulButton.connect("clicked(bool)", lambda _: self._step(-1))
        ui.nextDoubtfulButton.connect("clicked(bool)", lambda _: self._step(1))
        ui.acceptSliceButton.connect("clicked(bool)", lambda _: self._decide(ACCEPTED))
        ui.rejectSliceButton.connect("clicked(bool)", lambda _: self._decide(REJECTED))

    def take(self, volume: Any, run: Any) -> None:
        """Reviews the result of a volume."""
        axis = array_axis(volume, run.result.axis)
        self.segment_ids = dict(run.segment_ids)
        below = self._panel.parameters.doubtfulBelow
        self.show(run.node, Review.of(run.result.slices, run.result.names, axis, below))
        self._keep()

    def take_slice(self, volume: Any, axis: int, run: Any) -> None:
        """Reviews a slice that was segmented on its own: joins the review at hand, if it is one of
        the same segmentation and direction."""
        entries = judged(run.answer.preview.results)
        if self.node is run.node and self.review and self.review.array_axis == axis:
            self.review.update(entries)
            self.segment_ids.update(run.segment_ids)
            self._removed.pop(run.answer.preview.index, None)
            self._fill_strip()
        else:
            self.segment_ids = dict(run.segment_ids)
            names = {label: info.name for label, info in run.segments.items()}
            below = self._panel.parameters.doubtfulBelow
            self.show(run.node, Review(entries, names, axis, below))
        self._keep()

    def show(self, node: Any, review: Review | None) -> None:
        """Shows a review; None for none."""
        self.node, self.review = node, review
        self._removed.clear()
        self._shown = None
        self._fill_strip()

    def find(self) -> None:
        """Shows the newest review that the scene keeps of the chosen volume."""
        self.show(None, None)
        volume = self._panel.parameters.volume if self._panel.parameters else None
        if volume is None:
            return
        for node in reversed(slicer.util.getNodesByClass("vtkMRMLSegmentationNode")):
            kept = node.GetAttribute(ATTRIBUTE)
            if not kept or node.GetNodeReference("referenceImageGeometryRef") is not volume:
                continue
            try:
                content = json.loads(kept)
                self.segment_ids = {int(k): v for k, v in content["segment_ids"].items()}
                self.show(node, Review.from_json(content["review"]))
            except (ValueError, KeyError, TypeError, AttributeError):
                continue  # of another version, or edited by hand
            return

    def forget(self, node: Any) -> None:
        """A result was taken back: its review goes, whether or not its segmentation stays."""
        if node is not None and node.GetScene() is not None:
            node.RemoveAttribute(ATTRIBUTE)
        self.find()

    def decision(self, place: tuple[int, int, Any] | None) -> str:
        """What was decided about the slice at a place."""
        if self.review is None or place is None or place[0] != self.review.array_axis:
            return UNDECIDED
        return self.review.decision(place[1])

    def follow(self, place: tuple[int, int, Any] | None) -> None:
        """The views show another slice."""
        index = place[1] if place and self.review and place[0] == self.review.array_axis else None
        ui = self._panel.ui
        if self.review is None:
            ui.reviewText.text = _("Nothing to review yet")
        elif index is None:
            ui.reviewText.text = _("No view shows a slice of the result")
        else:
            ui.reviewText.text = self.review.text(index)
        if index != self._shown:
            self._shown = index
            cell = self.review.cell_of(index, _MOST_CELLS) if index is not None else None
            blocked = ui.reviewStrip.blockSignals(True)
            ui.reviewStrip.setCurrentCell(0, -1 if cell is None else cell)
            ui.reviewStrip.blockSignals(blocked)

    def _keep(self) -> None:
        if self.node is None or self.review is None:
            return
        ids = {str(label): segment_id for label, segment_id in self.segment_ids.items()}
        content = {"segment_ids": ids, "review": self.review.to_json()}
        self.node.SetAttribute(ATTRIBUTE, json.dumps(content))

    def _fill_strip(self) -> None:
        strip = self._panel.ui.reviewStrip
        cells = self.review.strip(_MOST_CELLS) if self.review else ()
        blocked = strip.blockSignals(True)
        strip.clear()
        strip.setColumnCount(len(cells))
        for column, cell in enumerate(cells):
            item = qt.QTableWidgetItem()
            item.setBackground(qt.QBrush(qt.QColor(_COLOURS[cell.kind])))
            item.setToolTip(cell.text)
            strip.setItem(0, column, item)
        strip.blockSignals(blocked)
        self._shown = None

    def _on_cell(self, _row: int, column: int, _old_row: int, _old_column: int) -> None:
        self._go_to_cell(column)

    def _go_to_cell(self, column: int) -> None:
        cells = self.review.strip(_MOST_CELLS) if self.review else ()
        if 0 <= column < len(cells):
            self._go_to(cells[column].target)

    def _step(self, step: int) -> None:
        place = self._panel.place()
        here = place[1] if place and place[0] == self.review.array_axis else None
        target = self.review.next_doubtful(here, step)
        if target is not None:
            self._go_to(target)

    def _go_to(self, index: int) -> None:
        view = self._panel.view(self.review.array_axis)
        if view is None:
            self._panel.say(_("No slice view shows this direction."))
            return
        show_slice(self._panel.parameters.volume, self.review.array_axis, index, view)

    def _decide(self, decision: str) -> None:
        panel = self._panel
        place = panel.place()
        if place is None or place[0] != self.review.array_axis or self.node.GetScene() is None:
            return
        axis, index, _view = place
        if index not in self.review.slices:
            panel.say(self.review.text(index))
            return
        volume = panel.parameters.volume
        before_change = panel.runs.before_change(self.node)
        before, held = self.review.decision(index), self._removed.get(index)
        change = None
        try:
            if decision == REJECTED:
                self._removed[index], change = clear_slice(
                    volume, self.node, self.segment_ids, axis, index, before_change
                )
            elif held is not None:
                change = fill_slice(
                    volume, self.node, segments_by_label(self.node, self.segment_ids), axis, index,
                    self._removed.pop(index), before_change=before_change,
                )  # fmt: skip
        except InputError as problem:
            panel.say(str(problem))
            return

        def undo() -> None:
            change.undo()
            self._removed.pop(index, None)
            if held is not None:
                self._removed[index] = held
            self._set_decision(index, before)

        if change is not None:
            panel.runs.last = Change(undo)
        self._set_decision(index, decision)
        panel.refresh()

    def _set_decision(self, index: int, decision: str) -> None:
        self.review.decide(index, decision)
        self._keep()
        self._fill_strip()
