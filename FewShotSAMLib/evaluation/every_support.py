"""Every patient in turn as the support: how the whole of it went, and where it went worst.

A single support patient says little: from a typical one the others come out well, from an unusual
one they do not. The mean over all pairs, and how many structures are lost, do not depend on the
choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .protocol import Score

LOST = 0.3  # Dice below which a person would rather draw anew than correct


@dataclass(frozen=True)
class Overall:
    """Of all structures of all pairs of support and query.

    Attributes:
        measure: which Dice, "whole" or "given".
        count: structures measured.
        mean: of their Dice.
        lost: how many lie below `LOST`.
        worst: the lowest; of several the first.
    """

    measure: str
    count: int
    mean: float
    lost: int
    worst: Score

    def __str__(self) -> str:
        worst, low = self.worst, getattr(self.worst, self.measure)
        return (
            f"{self.count} structures, Dice ({self.measure}): mean {self.mean:.3f}; below {LOST}: "
            f"{self.lost} ({self.lost / self.count:.1%}); worst {low:.3f}, {worst.organ} of "
            f"{worst.case} from {worst.support}"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        worst = {
            "support": self.worst.support, "case": self.worst.case, "organ": self.worst.organ,
            "dice": float(getattr(self.worst, self.measure)),
        }  # fmt: skip
        return {
            "measure": self.measure, "structures": self.count, "mean": self.mean,
            "below": {"dice": LOST, "structures": self.lost}, "worst": worst,
        }  # fmt: skip


def overall(scores: Sequence[Score], measure: str) -> Overall:
    """The figures of at least one score. Raises ValueError where there is none."""
    if not scores:
        raise ValueError("there are no scores to sum up")
    values = np.array([getattr(score, measure) for score in scores])
    lost = int((values < LOST).sum())
    return Overall(measure, len(scores), float(values.mean()), lost, scores[int(values.argmin())])
