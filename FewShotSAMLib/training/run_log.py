"""The log of a training run: rows in a CSV file and for a person on stderr, and the run's clock.

The file is written whole with each row, and begun again from the step that a run goes on from: what
a killed run did after it was last saved is done, and logged, once more.
"""

from __future__ import annotations

import csv
import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from ..data.whole_files import atomic_path


def keep_rows(path: Path, step: int) -> None:
    """Leaves the rows of a CSV file up to a step.

    Raises:
        InputError: it cannot be written.
    """
    rows = _rows(path)
    kept = [row for row in rows if _step(row) <= step]
    if not kept:
        path.unlink(missing_ok=True)
    elif len(kept) < len(rows):
        _write(path, kept)


def append_row(path: Path, row: Mapping[str, float]) -> None:
    """Adds a row to a CSV file, which is new or has a header.

    Raises:
        InputError: it cannot be written.
    """
    _write(path, [*_rows(path), row])


def _rows(path: Path) -> list[Mapping[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8", errors="replace") as stream:
        return list(csv.DictReader(stream, restkey="", restval=""))


def _step(row: Mapping[str, str]) -> float:
    """Of a row; beyond all others where it is none."""
    step = row.get("step", "")
    return int(step) if step.isdecimal() else math.inf


def _write(path: Path, rows: Sequence[Mapping[str, float | str]]) -> None:
    names = dict.fromkeys(name for row in rows for name in row if name)
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


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
