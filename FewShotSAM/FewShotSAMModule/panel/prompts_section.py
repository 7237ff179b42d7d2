"""The points of the slice shown, to be seen and moved, and its confidence map."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import slicer

from ..runs.kept_review import KeptReview
from ..scene import overlays
from ..scene.point_lists import PromptPoints
from .context import Context, Place
from .timers import once_timer

# A dragged point moves many times a second; the slice follows when it has come to rest.
_REST_MS = 400
_OVERLAY_OPACITY = 0.4


class SegmentSlice(Protocol):
    """Segments the slice that is shown; see `RunSection.segment_slice`."""

    def __call__(
        self,
        prompts: Any = None,
        *,
        commit: bool = True,
        done: Callable[[Any], None] = ...,
        undone: Callable[[], None] = ...,
    ) -> None:
        """``done`` is called with the run, ``undone`` when what it wrote was taken back."""
        ...


class PromptsSection:
    """Shows what the network is given on the slice shown.

    Args:
        segment: called for the slice's points, and again when one was moved.
        kept: keeps the points that were moved.
    """

    def __init__(self, context: Context, segment: SegmentSlice, kept: KeptReview) -> None:
        self._context, self._segment, self._kept = context, segment, kept
        self._points: PromptPoints | None = None
        self._overlay: Any = None
        self._before: list[tuple[Any, str | None, float]] = []
        self._answer: Any = None
        self._place: tuple[int, int] | None = None
        self._chosen: dict[int, Any] = {}  # points by label, as the method put them
        self._changed: dict[int, Any] = {}  # and as a person did
        ui = context.ui
        ui.showPromptsBox.connect("toggled(bool)", lambda _: self._look())
        ui.showConfidenceBox.connect("toggled(bool)", lambda _: self._look())
        ui.promptStructureBox.connect("currentIndexChanged(int)", lambda _: self._show())
        self._rest = once_timer(_REST_MS, self._run_again)
        self._moved = once_timer(_REST_MS, self._look)

    @property
    def shown(self) -> bool:
        """Whether points or a confidence map are shown now."""
        return self._answer is not None

    @property
    def _wanted(self) -> bool:
        ui = self._context.ui
        return ui.showPromptsBox.checked or ui.showConfidenceBox.checked

    def hide(self) -> None:
        """Takes points and map away, and unticks the boxes."""
        self._rest.stop()
        self._moved.stop()
        ui = self._context.ui
        for box in (ui.showPromptsBox, ui.showConfidenceBox):
            blocked = box.blockSignals(True)
            box.checked = False
            box.blockSignals(blocked)
        self._clear()

    def follow(self, place: Place | None) -> None:
        """The views show another slice: its points are looked up once the view has come to rest."""
        here = place[:2] if place else None
        if self._wanted and here != self._place:
            self._take_away()
            self._moved.start()

    def _look(self) -> None:
        """Asks for the points of the slice shown, or takes them away."""
        if not self._wanted:
            self._clear()
            self._context.refresh_soon()
            return
        place = self._context.place()
        if place is None:
            return
        if self.shown and place[:2] == self._place:
            self._show()
            return
        if self._context.running:
            self._moved.start()  # when the run is over
            return
        here = place[:2]
        self._place, self._changed = here, self._kept.points_of(here)
        self._segment(commit=False, done=lambda run: self._take(run, here))

    def _run_again(self) -> None:
        """A point was moved, added or deleted, and rests."""
        label = self._label()
        # Where points can be placed the mouse moves one that is not placed yet.
        if label is None or self._points is None or not self._points.changed:
            return
        if self._context.running:
            self._rest.start()
            return
        place = self._context.place()
        if place is None or place[:2] != self._place:
            return
        before = place[:2], dict(self._changed)
        self._changed[label] = self._points.prompts()
        here, points = place[:2], dict(self._changed)

        def done(run: Any) -> None:
            self._kept.keep_points(here, points)
            self._take_again(run)

        self._segment(points, done=done, undone=lambda: self._put_back(*before))

    def _take(self, run: Any, place: tuple[int, int]) -> None:
        # Meanwhile the boxes may have been unticked, or the view may have gone to another slice,
        # whose points are asked for next.
        if not self._wanted or self._place != place:
            return
        self._answer, self._chosen = run.answer, dict(run.answer.prompts)
        box = self._context.ui.promptStructureBox
        before = box.currentText
        blocked = box.blockSignals(True)
        box.clear()
        for label in run.answer.prompts:
            box.addItem(run.segments[label].name, label)
        box.setCurrentIndex(max(box.findText(before), 0))
        box.blockSignals(blocked)
        self._show()
        self._context.refresh()

    def _take_again(self, run: Any) -> None:
        # The points stay where the person put them; only the map may have changed.
        if self.shown:
            self._answer = run.answer
            self._show_overlay()

    def _put_back(self, place: tuple[int, int], changed: dict[int, Any]) -> None:
        """What moved points gave was taken back, and so is their moving."""
        if self.shown and place == self._place:
            self._changed = dict(changed)
            self._show()

    def _label(self) -> int | None:
        data = self._context.ui.promptStructureBox.currentData
        return None if data is None else int(data)

    def _show(self) -> None:
        context, label = self._context, self._label()
        if self._answer is None or label is None:
            return
        if context.ui.showPromptsBox.checked:
            if self._points is None:
                self._points = PromptPoints(context.volume)
                self._points.observe(self._rest.start)
            self._points.show(*self._place, self._changed.get(label, self._chosen[label]))
        elif self._points is not None:
            self._points.remove()
            self._points = None
        self._show_overlay()

    def _show_overlay(self) -> None:
        context, label = self._context, self._label()
        self._remove_overlay()
        place = context.place()
        if not context.ui.showConfidenceBox.checked or label is None or place is None:
            return
        axis, index = self._place
        self._overlay = overlays.show_confidence(
            context.volume, axis, index, self._answer.confidence[label]
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
        box = self._context.ui.promptStructureBox
        blocked = box.blockSignals(True)
        box.clear()
        box.blockSignals(blocked)
