"""What `speed.py` measures: ratios with their noise, as a table, kept in a file, compared."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

SHARE = 0.1  # growth of a ratio that counts, where it measured no more noise
LEAST = 0.02  # growth below which nothing counts: a stage that takes no time


@dataclass(frozen=True)
class Ratio:
    """What was measured, over what it is compared with.

    Attributes:
        value: of the least of several turns each.
        noise: largest less smallest ratio of the turns.
    """

    value: float
    noise: float

    @classmethod
    def of(cls, measured: Sequence[float], against: Sequence[float]) -> Ratio:
        """From the turns of both, measured one beside the other."""
        each = [one / other for one, other in zip(measured, against, strict=True)]
        return cls(min(measured) / min(against), max(each) - min(each))


Rows = Mapping[str, Ratio]


def save(path: Path, setting: Mapping, rows: Rows) -> None:
    """Writes ratios, rounded, and what they were measured with."""
    kept = {
        name: {key: round(number, 3) for key, number in asdict(row).items()}
        for name, row in rows.items()
    }
    text = json.dumps({"setting": setting, "rows": kept}, indent=1)
    path.write_text(text + "\n", encoding="utf-8")


def read(path: Path, setting: Mapping) -> Rows:
    """Ratios that `save` wrote.

    Raises:
        ValueError: they were measured with another setting.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    if content["setting"] != json.loads(json.dumps(setting)):
        raise ValueError(f"{path}: measured with {content['setting']}, not with {setting}")
    return {name: Ratio(**row) for name, row in content["rows"].items()}


def slower(now: Rows, before: Rows) -> list[str]:
    """The rows that grew by more than the noise of both."""
    return [
        name for name, row in now.items()
        if name in before and row.value - before[name].value
        > max(row.noise + before[name].noise, SHARE * before[name].value, LEAST)
    ]


def lines(now: Rows, before: Rows | None = None) -> list[str]:
    """The table, with the change where there is something to compare with."""
    width = max(map(len, now))
    worse = slower(now, before) if before else []
    found = [f"{'':{width}}   ratio   noise" + ("   before" if before else "")]
    for name, row in now.items():
        line = f"{name:{width}} {row.value:7.2f} {row.noise:7.2f}"
        if before and name in before:
            line += f" {before[name].value:8.2f}" + ("  slower" if name in worse else "")
        found.append(line)
    return found
