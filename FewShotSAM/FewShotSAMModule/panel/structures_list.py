"""The list of structures: a segment a line, with a tick."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import qt

from ..scene.segments import SegmentInfo

_ID = qt.Qt.UserRole


class StructuresList:
    """Shows the segments of a segmentation; tells which of them are ticked.

    Args:
        ui: the panel's widgets.
        changed: called with the ids of the segments that are not ticked when a person changes it.
    """

    def __init__(self, ui: Any, changed: Callable[[list[str]], None]) -> None:
        self._list = ui.structuresList
        self._changed = changed
        self._filling = False
        self.segments: tuple[SegmentInfo, ...] = ()
        self._list.connect("itemChanged(QListWidgetItem*)", self._on_changed)
        ui.allStructuresButton.connect("clicked(bool)", lambda _: self._tick_all(True))
        ui.noStructuresButton.connect("clicked(bool)", lambda _: self._tick_all(False))
        ui.someStructuresBox.connect("toggled(bool)", self._on_some)

    @property
    def chosen(self) -> list[str]:
        """Ids of the ticked segments, in their order."""
        skipped = set(self._skipped())
        return [info.id for info in self.segments if info.id not in skipped]

    def show(self, segments: Iterable[SegmentInfo], skipped: Iterable[str]) -> None:
        """Lists segments; ``skipped`` ones, by their ids, are not ticked."""
        before = self.segments
        self.segments = tuple(segments)
        skipped = set(skipped)
        self._filling = True
        # The same lines stay: a tick tells of itself in the middle of Qt's own work on its line,
        # and the keyboard keeps its place.
        if self.segments != before:
            self._fill()
        for row, info in enumerate(self.segments):
            state = qt.Qt.Unchecked if info.id in skipped else qt.Qt.Checked
            self._list.item(row).setCheckState(state)
        self._filling = False

    def _fill(self) -> None:
        self._list.clear()
        for info in self.segments:
            item = qt.QListWidgetItem(info.name)
            item.setData(_ID, info.id)
            swatch = qt.QPixmap(12, 12)
            swatch.fill(qt.QColor.fromRgbF(*info.colour))
            item.setIcon(qt.QIcon(swatch))
            self._list.addItem(item)

    def _skipped(self) -> list[str]:
        items = (self._list.item(row) for row in range(self._list.count))
        return [item.data(_ID) for item in items if item.checkState() != qt.Qt.Checked]

    def _tick_all(self, ticked: bool) -> None:
        self._filling = True
        for row in range(self._list.count):
            self._list.item(row).setCheckState(qt.Qt.Checked if ticked else qt.Qt.Unchecked)
        self._filling = False
        self._changed(self._skipped())

    def _on_some(self, some: bool) -> None:
        """Without the list everything that is painted counts."""
        if not some:
            self._tick_all(True)
        else:
            self._changed(self._skipped())

    def _on_changed(self, _item: Any) -> None:
        if not self._filling:
            self._changed(self._skipped())
