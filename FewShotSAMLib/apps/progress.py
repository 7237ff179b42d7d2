"""A bar on standard error, and Ctrl-C (or SIGTERM) that stops the work between two steps."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from tqdm import tqdm

from ..segmentation.results import Cancelled, Progress
from .interrupts import asked_to_stop

_Patient = TypeVar("_Patient")


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


class PatientsBar:
    """One bar over all patients of a measurement; what is done with the present one stands at its
    end. Call it with every `Progress`."""

    def __init__(self, total: int) -> None:
        self._bar = tqdm(
            total=total, desc="patients", unit="patient", smoothing=0, miniters=0,
            file=sys.stderr, mininterval=0.1 if sys.stderr.isatty() else 5.0,
        )  # fmt: skip

    def __call__(self, progress: Progress) -> None:
        said = f"{progress.stage} {progress.done}/{progress.total}"
        self._bar.set_postfix_str(said, refresh=False)
        self._bar.update(0)  # shows it, when the last time is long enough ago

    def over(self, patients: Iterable[_Patient]) -> Iterator[_Patient]:
        """Counts each patient when the next one is asked for."""
        for patient in patients:
            yield patient
            self._bar.update()

    def __enter__(self) -> PatientsBar:
        return self

    def __exit__(self, *_problem: object) -> None:
        self._bar.set_postfix_str("", refresh=False)
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
