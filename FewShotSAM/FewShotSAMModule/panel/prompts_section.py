"""The points of the slice shown, to be seen and moved, and its confidence map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import qt
import slicer

from ..scene import overlays
from ..scene.point_lists import PromptPoints

if TYPE_CHECKING:
    from .panel import Panel

# A dragged point moves many times a second; the slice follows when it has come to rest.
_REST_MS = 400
_OVERLAY_OPACITY = 0.4


class PromptsPanel:
    """Shows what the network is given on the slice shown.

    Attributes:
        shown: whether points or a confidence map are shown now.
    """

    def __init__(self, panel: Panel) -> None:
        self._panel = panel
        self._points: PromptPoints | None = None
        self._overlay: Any = None
        self._before: list[tuple[Any, str | None, float]] = []
        self._answer: Any = None
        self._place: tuple[int, int] | None = None
        self._changed: dict[int, Any] = {}
        ui = panel.ui
        ui.showPromptsBox.connect("toggled(bool)", lambda _: self._look())
        ui.showConfidenceBox.connect("toggled(bool)", lambda _: self._look())
        ui.promptStructureBox.connect("currentIndexChanged(int)", lambda _: self._show())
        self._rest = qt.QTimer()
        self._rest.setSingleShot(True)
        self._rest.setInterval(_REST_MS)
        self._rest.connect("timeout()", self._run_again)
        self._moved = qt.QTimer()
        self._moved.setSingleShot(True)
        self._moved.setInterval(_REST_MS)
        self._moved.connect("timeout()", self._look)

    @property
    def shown(self) -> bool:
        return self._answer is not None

    @property
    def _wanted(self) -> bool:
        ui = self._panel.ui
        return ui.showPromptsBox.checked or ui.showConfidenceBox.checked

    def hide(self) -> None:
        """Takes points and map away, and unticks the boxes."""
        self._rest.stop()
        self._moved.stop()
        ui = self._panel.ui
        for box in (ui.showPromptsBox, ui.showConfidenceBox):
            blocked = box.blockSignals(True)
            box.checked = False
            box.blockSignals(blocked)
        self._clear()

    def follow(self, place: tuple[int, int, Any] | None) -> None:
        """The views show another slice: its points are looked up once the view has come to rest."""
        here = place[:2] if place else None
        if self._wanted and here != self._place:
            self._take_away()
            self._moved.start()

    def _look(self) -> None:
        """Asks for the points of the slice shown, or takes them away."""
        panel = self._panel
        if not self._wanted:
            self._clear()
            panel.refresh_soon()
            return
        place = panel.place()
        if place is None:
            return
        if self.shown and place[:2] == self._place:
            self._show()
            return
        if panel.runs.watch.busy:
            self._moved.start()  # when the run is over
            return
        here = place[:2]
        self._place, self._changed = here, {}
        panel.runs.segment_slice(commit=False, done=lambda run: self._take(run, here))

    def _run_again(self) -> None:
        """A point was moved, added or deleted, and rests."""
        panel = self._panel
        label = self._label()
        if label is None or self._points is None:
            return
        if panel.runs.watch.busy:
            self._rest.start()
            return
        place = panel.place()
        if place is None or place[:2] != self._place:
            return
        self._changed[label] = self._points.prompts()
        panel.runs.segment_slice(dict(self._changed), done=self._take_again)

    def _take(self, run: Any, place: tuple[int, int]) -> None:
        # Meanwhile the boxes may have been unticked, or the view may have gone to another slice,
        # whose points are asked for next.
        if not self._wanted or self._place != place:
            return
        self._answer = run.answer
        box = self._panel.ui.promptStructureBox
        before = box.currentText
        blocked = box.blockSignals(True)
        box.clear()
        for label in run.answer.prompts:
            box.addItem(run.segments[label].name, label)
        box.setCurrentIndex(max(box.findText(before), 0))
        box.blockSignals(blocked)
        self._show()
        self._panel.refresh()

    def _take_again(self, run: Any) -> None:
        # The points stay where the person put them; only the map may have changed.
        if self.shown:
            self._answer = run.answer
            self._show_overlay()

    def _label(self) -> int | None:
        data = self._panel.ui.promptStructureBox.currentData
        return None if data is None else int(data)

    def _show(self) -> None:
        panel, label = self._panel, self._label()
        if self._answer is None or label is None:
            return
        if panel.ui.showPromptsBox.checked:
            if self._points is None:
                self._points = PromptPoints(panel.parameters.volume)
                self._points.observe(self._rest.start)
            self._points.show(*self._place, self._changed.get(label, self._answer.prompts[label]))
        elif self._points is not None:
            self._points.remove()
            self._points = None
        self._show_overlay()

    def _show_overlay(self) -> None:
        panel, label = self._panel, self._label()
        self._remove_overlay()
        place = panel.place()
        if not panel.ui.showConfidenceBox.checked or label is None or place is None:
            return
        axis, index = self._place
        self._overlay = overlays.show_confidence(
            panel.parameters.volume, axis, index, self._answer.confidence[label]
        )
        manager = slicer.app.layoutManager()
        widget = manager.sliceWidget(place[2].GetLayoutName())
        composite = widget.mrmlSliceCompositeNode()
        self._before = [
            (composite, composite.GetForegroundVolumeID(), composite.GetForegroundOpacity())
        ]
        composite.SetForegroundVolumeID(self._overlay.GetID())
        composite.SetForegroundOpacity(_OVERLAY_OPACITY)

    def _remove_overlay(self) -> None:
        for composite, volume_id, opacity in self._before:
            composite.SetForegroundVolumeID(volume_id)
            composite.SetForegroundOpacity(opacity)
        self._before = []
        if self._overlay is not None:
            overlays.remove(self._overlay)
            self._overlay = None

    def _take_away(self) -> None:
        self._remove_overlay()
        if self._points is not None:
            self._points.remove()
            self._points = None
        self._answer = self._place = None
        self._changed = {}

    def _clear(self) -> None:
        self._take_away()
        box = self._panel.ui.promptStructureBox
        blocked = box.blockSignals(True)
        box.clear()
        box.blockSignals(blocked)
