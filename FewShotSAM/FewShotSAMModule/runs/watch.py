"""Watches a run from a timer, so that the window never waits for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt

from .progress_text import Pace, progress_line

# How often a run is asked. A poll takes some milliseconds, so the window stays at hand.
_EVERY_MS = 60
_OVER = ("done", "cancelled", "failed")


class RunWatch:
    """One run at a time.

    Args:
        ui: the panel's widgets.
        say: shows one line.
    """

    def __init__(self, ui: Any, say: Callable[[str], None]) -> None:
        self._ui, self._say = ui, say
        self._run: Any = None
        self._over: Callable[[Any], None] | None = None
        self.cancelling = False
        self.pace = Pace()
        self._timer = qt.QTimer()
        self._timer.setInterval(_EVERY_MS)
        self._timer.connect("timeout()", self._on_timer)

    @property
    def busy(self) -> bool:
        """Whether a run is being watched."""
        return self._run is not None

    def start(self, run: Any, over: Callable[[Any], None]) -> None:
        """Polls a run until it is over, then calls ``over`` with it."""
        self._run, self._over, self.cancelling = run, over, False
        self.pace = Pace()
        self._ui.progressBar.setRange(0, 0)
        self._timer.start()

    def cancel(self) -> None:
        """Asks the run to stop; it is over once it says so."""
        if self._run is not None and not self.cancelling:
            self.cancelling = True
            self._say("Cancelling...")
            self._run.cancel()

    def keep(self) -> None:
        """Asks the run to stop, and to keep what has come."""
        if self._run is not None and not self.cancelling:
            self.cancelling = True
            self._say("Stopping...")
            self._run.keep()

    def drop(self, ended: Callable[[], None]) -> None:
        """Cancels the run, whose scene goes away: what became of it is told to nobody, and
        ``ended`` is called once it is over."""
        if self._run is not None:
            self._over = lambda run: ended()
            self.cancel()

    def stop(self) -> None:
        """The panel goes away: nobody will look any more."""
        self._timer.stop()
        run, self._run, self._over = self._run, None, None
        if run is not None:
            run.abandon()

    def _on_timer(self) -> None:
        run = self._run
        run.poll()
        if run.state in _OVER:
            over, self._run, self._over = self._over, None, None
            self._timer.stop()
            if over is not None:
                over(run)
        elif run.progress is not None and not self.cancelling:
            step = run.progress
            left = self.pace.seen(step.stage, step.done, step.total)
            self._ui.progressBar.setRange(0, step.total if step.total > 1 else 0)
            self._ui.progressBar.setValue(step.done)
            self._say(progress_line(step.stage, step.done, step.total, left, step.message))
