"""Progress, cancelling and the time of each stage."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from .results import Cancelled, Progress, ProgressCallback


class Monitor:
    """Passes progress on, stops when asked to, and keeps seconds per stage."""

    def __init__(
        self, progress: ProgressCallback | None = None, cancel: threading.Event | None = None
    ) -> None:
        self._progress, self._cancel = progress, cancel
        self.seconds: dict[str, float] = {}

    def check(self) -> None:
        """Raises Cancelled when the caller's event is set."""
        if self._cancel is not None and self._cancel.is_set():
            raise Cancelled

    def report(self, stage: str, done: int, total: int, message: str = "") -> None:
        """Tells the caller how far it is; stops if it is cancelled."""
        self.check()
        if self._progress is not None:
            self._progress(Progress(stage, done, total, message))
        self.check()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Counts the time spent within."""
        self.check()
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
