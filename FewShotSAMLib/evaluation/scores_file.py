"""Scores as CSV: a row for each patient and organ, then the means with their intervals."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import astuple, fields

import numpy as np
from numpy.typing import ArrayLike

from .intervals import bootstrap_interval
from .protocol import Score

_COLUMNS = tuple(field.name for field in fields(Score))
_MEASURES = ("given", "whole", "nsd", "assd", "hd95")


def scores_csv(scores: Sequence[Score]) -> str:
    """The text of a CSV file: `Score`'s fields, and of each organ the means over patients with
    the ends of their 95 % bootstrap intervals ("mean", "low", "high" as the case). A patient that
    several supports segmented counts once, with its mean."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows([_cell(value) for value in astuple(score)] for score in scores)
    for organ in dict.fromkeys(score.organ for score in scores):
        rows = [score for score in scores if score.organ == organ]
        for name, numbers in zip(("mean", "low", "high"), _summary(rows)):
            known = {"case": name, "label": rows[0].label, "organ": organ, **numbers}
            writer.writerow([_cell(known.get(column, "")) for column in _COLUMNS])
    return text.getvalue()


def _summary(rows: Sequence[Score]) -> list[dict[str, float]]:
    """Means, lower and upper ends."""
    patients = dict.fromkeys(row.case for row in rows)
    values = {
        name: np.array([
            _mean([getattr(row, name) for row in rows if row.case == patient])
            for patient in patients
        ])
        for name in _MEASURES
    }
    means = {name: _mean(column) for name, column in values.items()}
    ends = {name: bootstrap_interval(column) for name, column in values.items()}
    return [means, *({name: end[side] for name, end in ends.items()} for side in (0, 1))]


def _mean(values: ArrayLike) -> float:
    """Of the finite ones; NaN where there is none."""
    values = np.asarray(values, np.float64)
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("nan")


def _cell(value: object) -> str:
    """A number in six figures; nothing for NaN."""
    if not isinstance(value, float):
        return str(value)
    return "" if np.isnan(value) else f"{value:.6g}"
