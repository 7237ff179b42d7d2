"""The log of a training run: rows in a CSV file and for a person on stderr, and the run's clock."""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol


def append_row(path: Path, row: Mapping[str, float]) -> None:
    """Adds a row to a CSV file, with a header where the file is new."""
    fresh = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, row)
        if fresh:
            writer.writeheader()
        writer.writerow(row)


def print_row(row: Mapping[str, float]) -> None:
    """A row for a person."""
    print("  ".join(f"{name} {value}" for name, value in row.items()), file=sys.stderr, flush=True)


class TimedRun(Protocol):
    """A run that knows how many seconds it has taken."""

    seconds: float


class Clock:
    """Counts a run's seconds without those of its checks, and says when a check is due.

    Args:
        run: goes on from its own seconds.
        every: seconds between two checks.
    """

    def __init__(self, run: TimedRun, every: float) -> None:
        self._run, self._every = run, every
        self.restart()

    def tick(self) -> None:
        """A step is done."""
        now = time.monotonic()
        self._run.seconds, self._last = self._run.seconds + now - self._last, now

    @property
    def due(self) -> bool:
        """Whether the next check is due."""
        return self._run.seconds >= self._next

    def restart(self) -> None:
        """A check is done."""
        self._last, self._next = time.monotonic(), self._run.seconds + self._every
