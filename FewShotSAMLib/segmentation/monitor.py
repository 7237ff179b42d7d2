"""Progress, cancelling and the time of each stage."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from .results import Cancelled, Progress, ProgressCallback, SliceResult

# Called with a slice's index, its labels (H, W) and its results, all in canonical orientation.
ShowSlice = Callable[[int, np.ndarray, Sequence[SliceResult]], None]


class Monitor:
    """Passes progress and first labels on, stops when asked to, and keeps seconds per stage."""

    def __init__(
        self,
        progress: ProgressCallback | None = None,
        cancel: threading.Event | None = None,
        show: ShowSlice | None = None,
    ) -> None:
        self._progress, self._cancel = progress, cancel
        self.show = show
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
