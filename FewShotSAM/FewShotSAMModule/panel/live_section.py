"""Live: the slices around the one that is painted follow each stroke of the brush."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer

from FewShotSAMLib import InputError

from ..runs.live import LiveView, segment_around
from .context import Context
from .request import Request
from .timers import once_timer

# A stroke is many events; the slices follow when the brush has come to rest.
_REST_MS = 100
_POLL_MS = 30
# Slices up and down.
_AROUND = 3


class LiveSection(slicer.util.VTKObservationMixin):
    """Watches what is painted, and shows what a run would make of it next to it.

    The panel stays free; a newer stroke takes the place of the one that is being worked on. A run
    that a person asks for ends it.

    Args:
        request: what the panel's choices ask for.
        ready: whether everything is there that networks need.
    """

    def __init__(self, context: Context, request: Request, ready: Callable[[], bool]) -> None:
        slicer.util.VTKObservationMixin.__init__(self)
        self._context, self._request, self._ready = context, request, ready
        self._node: Any = None
        self._run: Any = None
        self._view: LiveView | None = None
        self._again = False
        self._rest = once_timer(_REST_MS, self._on_rest)
        self._timer = qt.QTimer()
        self._timer.setInterval(_POLL_MS)
        self._timer.connect("timeout()", self._on_timer)
        context.ui.liveBox.connect("toggled(bool)", self._on_toggled)

    @property
    def busy(self) -> bool:
        """Whether slices are being worked on."""
        return self._run is not None

    def follow(self) -> None:
        """What is chosen may be another segmentation, and a run may have begun."""
        p = self._context.parameters
        node = p.supportSegmentation if p is not None else None
        if node is not self._node:
            self._observe(node)
        if not self._context.idle or not self._context.ui.liveBox.checked:
            self.stop()

    def stop(self) -> None:
        """Nothing is shown any more, and nothing worked on."""
        self._rest.stop()
        self._timer.stop()
        self._again = False
        run, self._run = self._run, None
        if run is not None:
            run.abandon()
        if self._view is not None:
            self._view.remove()
            self._view = None

    def close(self) -> None:
        """The scene or the widget goes away."""
        self.stop()
        self._observe(None)

    def _observe(self, node: Any) -> None:
        self.removeObservers()
        self.stop()
        self._node = node
        if node is not None:
            segmentation = node.GetSegmentation()
            for event in (segmentation.SourceRepresentationModified, segmentation.SegmentRemoved):
                self.addObserver(segmentation, event, self._on_stroke)

    def _on_toggled(self, live: bool) -> None:
        if live:
            self._rest.start()
        else:
            self.stop()

    def _on_stroke(self, _caller: Any, _event: Any) -> None:
        if self._context.ui.liveBox.checked and self._context.idle:
            self._rest.start()

    def _on_rest(self) -> None:
        if self._run is not None:
            self._again = True
            self._run.cancel()
        elif self._context.idle and self._ready() and not self._request.from_file:
            self._begin()

    def _begin(self) -> None:
        context, place = self._context, self._context.place()
        if place is None or self._node is None:
            return
        if self._view is None or self._view.volume_node is not context.volume:
            self.stop()
            self._view = LiveView(context.volume)
        axis, index, _view = place
        last = context.volume.GetImageData().GetDimensions()[2 - axis] - 1
        around = max(index - _AROUND, 0), min(index + _AROUND, last)
        options = self._request.slice_options()
        del options["overwrite"]
        try:
            self._run = segment_around(
                self._view, self._node, around, worker=context.logic.worker(), **options
            )
        except InputError as problem:
            context.say(str(problem))
        else:
            self._timer.start()

    def _on_timer(self) -> None:
        run = self._run
        run.poll()
        if run is not self._run or not run.over:
            return
        self._timer.stop()
        self._run = None
        if self._again:
            self._again = False
            self._on_rest()
        elif run.state == "failed":
            self._context.say(run.message)
