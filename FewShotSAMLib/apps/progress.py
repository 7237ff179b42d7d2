"""A bar on standard error, and Ctrl-C (or SIGTERM) that stops the work between two steps."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from ..segmentation.results import Cancelled, Progress
from .interrupts import asked_to_stop


class ProgressBar:
    """Shows each stage of each volume as a bar of its own; call it with every `Progress`."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._stage = ""

    def __call__(self, progress: Progress) -> None:
        if self._bar is None or progress.stage != self._stage or progress.done < self._bar.n:
            self.close()
            self._stage = progress.stage
            self._bar = tqdm(
                total=progress.total,
                desc=progress.stage,
                file=sys.stderr,
                # A log file gets a line now and then, not ten a second.
                mininterval=0.1 if sys.stderr.isatty() else 5.0,
            )
        self._bar.update(progress.done - self._bar.n)

    def close(self) -> None:
        """Leaves the last bar as it stands."""
        if self._bar is not None:
            self._bar.close()


@contextmanager
def showing_progress() -> Iterator[tuple[ProgressBar, threading.Event]]:
    """A progress bar and an event that Ctrl-C sets; a second Ctrl-C stops at once.

    Raises:
        KeyboardInterrupt: at the end, where the event was set meanwhile.
    """
    bar = ProgressBar()
    try:
        with asked_to_stop() as cancel:
            yield bar, cancel
    except Cancelled:
        pass
    finally:
        bar.close()
    if cancel.is_set():
        raise KeyboardInterrupt
