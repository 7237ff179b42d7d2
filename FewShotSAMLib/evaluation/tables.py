"""Scores as a table: a row per organ, a column per patient, and the means."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .intervals import bootstrap_interval
from .protocol import Score


@dataclass(frozen=True, eq=False)
class Table:
    """One measure of many scores.

    values: (organs, cases); NaN where there is none. means: (organs,), over patients, without
    NaN. mean: of the organs' means, as the papers print it.
    """

    measure: str
    organs: tuple[str, ...]
    cases: tuple[str, ...]
    values: np.ndarray
    means: np.ndarray
    mean: float

    def to_json(self) -> dict[str, Any]:
        """Plain data; None for NaN and infinity."""
        return {
            "measure": self.measure,
            "mean": _plain(self.mean),
            "organs": {
                organ: {
                    "mean": _plain(self.means[row]),
                    "interval": [_plain(end) for end in bootstrap_interval(self.values[row])],
                    "cases": {
                        case: _plain(self.values[row, column])
                        for column, case in enumerate(self.cases)
                    },
                }
                for row, organ in enumerate(self.organs)
            },
        }

    def to_markdown(self, digits: int = 3) -> str:
        """A Markdown table; a dash for NaN."""
        head = [self.measure, *self.cases, "mean", "95 % interval"]
        lines = [_line(head), _line(["---"] + ["---:"] * (len(head) - 1))]
        for row, organ in enumerate(self.organs):
            numbers = [*self.values[row], self.means[row]]
            ends = _ends(bootstrap_interval(self.values[row]), digits)
            lines.append(_line([organ, *(_text(number, digits) for number in numbers), ends]))
        mean = f"**{_text(self.mean, digits)}**"
        over_patients = bootstrap_interval([_mean(column) for column in self.values.T])
        lines.append(
            _line(["mean", *[""] * len(self.cases), mean, _ends(over_patients, digits)])
        )
        return "\n".join(lines)


def build_table(scores: Iterable[Score], measure: str = "whole") -> Table:
    """Organs and cases in the order they come in; `measure` is a number of `Score`.

    Raises ValueError for a measure that `Score` does not have, or no scores.
    """
    scores = list(scores)
    if not scores:
        raise ValueError("there are no scores to tabulate")
    if measure not in ("given", "whole", "nsd", "assd", "hd95", "volume", "truth"):
        raise ValueError(f"{measure!r} is not a measure of a score")
    organs = tuple(dict.fromkeys(score.organ for score in scores))
    cases = tuple(dict.fromkeys(score.case for score in scores))
    values = np.full((len(organs), len(cases)), np.nan)
    for score in scores:
        values[organs.index(score.organ), cases.index(score.case)] = getattr(score, measure)
    return table_of(measure, organs, cases, values)


def table_of(
    measure: str, organs: tuple[str, ...], cases: tuple[str, ...], values: ArrayLike
) -> Table:
    """A table of values (organs, cases), NaN where there is none, with its means."""
    values = np.asarray(values, np.float64)
    means = np.array([_mean(row) for row in values])
    return Table(measure, organs, cases, values, means, _mean(means))


def side_by_side(tables: Sequence[Table], names: Sequence[str]) -> Table:
    """The organs' means of each of several tables of one measure as columns with these names."""
    organs = tuple(dict.fromkeys(organ for table in tables for organ in table.organs))
    columns = [dict(zip(table.organs, table.means, strict=True)) for table in tables]
    values = [[column.get(organ, float("nan")) for column in columns] for organ in organs]
    return table_of(tables[0].measure, organs, tuple(names), values)


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _text(value: float, digits: int) -> str:
    return "–" if np.isnan(value) else f"{value:.{digits}f}"


def _ends(interval: tuple[float, float], digits: int) -> str:
    low, high = interval
    return "–" if np.isnan(low) else f"{low:.{digits}f} to {high:.{digits}f}"


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
