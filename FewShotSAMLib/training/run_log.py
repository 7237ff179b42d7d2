"""The log of a training run: rows in a CSV file, and for a person on stderr."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping
from pathlib import Path


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
