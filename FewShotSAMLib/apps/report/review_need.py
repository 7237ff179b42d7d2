"""Which structures and slices of a result a person should look at first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...segmentation.results import (
    DOUBTFUL,
    FOUND,
    NOT_FOUND,
    SliceResult,
    VolumeResult,
)

DOUBTFUL_BELOW = 0.8  # the scores that Slicer's review strip shows in orange


@dataclass(frozen=True)
class ReviewNeed:
    """How much one structure wants a person's look.

    Attributes:
        confidence: 0 to 1; NaN where it was not found.
        state: "found", "doubtful" or "not found".
        look_at: slices in doubt, counted along the file's axis from 0, the least sure first.
    """

    confidence: float
    state: str
    look_at: tuple[int, ...]

    @property
    def order(self) -> tuple[int, float]:
        """Sorts what wants a look before what does not."""
        urgency = (NOT_FOUND, DOUBTFUL, FOUND).index(self.state)
        return urgency, self.confidence if self.confidence == self.confidence else 0.0


def review_need(result: VolumeResult, label: int) -> ReviewNeed:
    """Of one structure, from what the result itself says of it, and where it says nothing from
    the scores of the slices that it was found on."""
    there = [s for s in result.slices if s.label == label and s.present]
    confidence = float(np.mean([s.score for s in there])) if there else float("nan")
    for said in result.structures:
        if said.label == label:
            return ReviewNeed(float(said.confidence), said.state, _doubtful(there))
    return ReviewNeed(confidence, _state(confidence), _doubtful(there))


def _state(confidence: float) -> str:
    if confidence != confidence:
        return NOT_FOUND
    return FOUND if confidence >= DOUBTFUL_BELOW else DOUBTFUL


def _doubtful(slices: list[SliceResult]) -> tuple[int, ...]:
    low = [s for s in slices if s.source != "support" and s.score < DOUBTFUL_BELOW]
    return tuple(s.index for s in sorted(low, key=lambda s: s.score))
