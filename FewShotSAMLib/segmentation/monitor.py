"""Progress, cancelling and the time of each stage."""

from __future__ import annotations

import threading
import time
import zlib
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
        self.previews = show
        self._shown: dict[int, int] = {}  # checksums of labels, by slice
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

    def show(self, index: int, labels: np.ndarray, results: Sequence[SliceResult]) -> None:
        """Passes one slice's labels (H, W) on, where somebody looks."""
        if self.previews is not None:
            self._shown[index] = zlib.crc32(np.ascontiguousarray(labels))
            self.previews(index, labels, results)

    def show_changed(self, labels: np.ndarray, results: Sequence[SliceResult]) -> None:
        """Shows those of the finished slices (S, H, W) that were last shown otherwise."""
        if self.previews is None:
            return
        by_slice: dict[int, list[SliceResult]] = {}
        for one in results:
            by_slice.setdefault(one.index, []).append(one)
        for index, here in sorted(by_slice.items()):
            plane = np.ascontiguousarray(labels[index])
            known = self._shown.get(index)
            if plane.any() if known is None else known != zlib.crc32(plane):
                self.show(index, plane, here)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Counts the time spent within."""
        self.check()
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
