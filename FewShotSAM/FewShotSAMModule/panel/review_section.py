"""The review section: the strip of slices, the way through the doubtful ones, accept and reject."""

from __future__ import annotations

import qt
from slicer.i18n import tr as _

from FewShotSAMLib import InputError

from ..runs.kept_review import KeptReview
from ..runs.review import ACCEPTED, REJECTED, Cell
from ..scene.viewing import show_slice
from .context import Context, Place

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


class ReviewSection:
    """Shows a review and what is decided in it."""

    def __init__(self, context: Context, review: KeptReview) -> None:
        self._context, self._kept = context, review
        self._shown: int | None = None
        ui = context.ui
        strip = ui.reviewStrip
        strip.horizontalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)
        strip.verticalHeader().setSectionResizeMode(qt.QHeaderView.Stretch)
        strip.setEditTriggers(qt.QAbstractItemView.NoEditTriggers)
        strip.connect("currentCellChanged(int,int,int,int)", self._on_cell)
        strip.connect("cellClicked(int,int)", lambda _row, column: self._go_to_cell(column))
        ui.previousDoubtfulButton.connect("clicked(bool)", lambda _: self._step(-1))
        ui.nextDoubtfulButton.connect("clicked(bool)", lambda _: self._step(1))
        ui.nextMarkButton.connect("clicked(bool)", lambda _: self._show_next_mark())
        ui.acceptSliceButton.connect("clicked(bool)", lambda _: self._decide(ACCEPTED))
        ui.rejectSliceButton.connect("clicked(bool)", lambda _: self._decide(REJECTED))
        review.changed = self._fill_strip

    def follow(self, place: Place | None) -> None:
        """The views show another slice."""
        index, ui, review = self._kept.slice_at(place), self._context.ui, self._kept.review
        if review is None:
            ui.reviewText.text = _("Nothing to review yet")
        elif index is None:
            ui.reviewText.text = _("No view shows a slice of the result")
        else:
            ui.reviewText.text = review.text(index)
        if index != self._shown:
            self._shown = index
            cell = review.cell_of(index, _MOST_CELLS) if index is not None else None
            blocked = ui.reviewStrip.blockSignals(True)
            ui.reviewStrip.setCurrentCell(0, -1 if cell is None else cell)
            ui.reviewStrip.blockSignals(blocked)
            if cell is not None:
                ui.reviewStrip.styleSheet = _framed(_COLOURS[self._cells()[cell].kind])

    def _cells(self) -> tuple[Cell, ...]:
        return self._kept.review.strip(_MOST_CELLS) if self._kept.review else ()

    def _fill_strip(self) -> None:
        strip, cells = self._context.ui.reviewStrip, self._cells()
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
        cells = self._cells()
        if 0 <= column < len(cells):
            self._go_to(cells[column].target)

    def _step(self, step: int) -> None:
        here = self._kept.slice_at(self._context.place())
        target = self._kept.review.next_doubtful(here, step)
        if target is not None:
            self._go_to(target)

    def _show_next_mark(self) -> None:
        target = self._kept.review.next_to_mark
        if target is None:
            self._context.say(_("Nothing was found that could be marked in more slices."))
            return
        self._go_to(target)
        self._context.say(
            _("Slice {index} promises most: paint it, or correct its result and add it to the "
              "marked slices, then segment again.").format(index=target)
        )

    def _go_to(self, index: int) -> None:
        axis = self._kept.review.array_axis
        view = self._context.view(axis)
        if view is None:
            self._context.say(_("No slice view shows this direction."))
            return
        show_slice(self._context.volume, axis, index, view)

    def _decide(self, decision: str) -> None:
        context, kept = self._context, self._kept
        index = kept.slice_at(context.place())
        if index is None or kept.gone:
            return
        if index not in kept.review.slices:
            context.say(kept.review.text(index))
            return
        try:
            change = kept.decide(context.volume, index, decision, context.before_change(kept.node))
        except InputError as problem:
            context.say(str(problem))
            return
        if change is not None:
            context.last = change
        context.say(_still_doubtful(index, decision, len(kept.review.doubtful)))
        context.refresh()


def _framed(colour: str) -> str:
    """The current cell keeps its colour, which Qt would paint over, and gets a frame."""
    return (
        f"QTableWidget {{ selection-background-color: {colour}; }} "
        "QTableWidget::item:selected { border: 2px solid black; }"
    )


def _still_doubtful(index: int, decision: str, left: int) -> str:
    """What a decision leaves to look at, in place of what the run said of it."""
    if not left:
        rest = _("no slice is in doubt any more")
    elif left == 1:
        rest = _("1 slice is still in doubt")
    else:
        rest = _("{n} slices are still in doubt").format(n=left)
    said = _("Slice {index} is {decision}; {rest}.")
    return said.format(index=index, decision=decision, rest=rest)
