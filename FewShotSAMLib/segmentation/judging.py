"""How sure: from what speaks for each mask to an estimate of its Dice, and of whole structures.

A mask's estimate is a logistic function of its signals. Its weights were fitted on generated
abdomens only (`python Testing/Accuracy/confidence.py --fit --pairs 60`), once for structures that
are followed from a drawing in their own volume and once for those found by another patient's. How
much large weights cost there, and that masks drawn on nothing are rarer in other patients than in
the generated pairs, come from the abdominal MR 1, 2, 3 and 5: generated images flatter what the
model thinks of itself. They hold for models that judge presence themselves; the scores of others
stay what they are, and nothing is taken away for them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence, Set
from dataclasses import dataclass, fields, replace

import numpy as np

from .evidence import with_evidence
from .finding.prior import ALIKE
from .found import Signals
from .results import DOUBTFUL, FOUND, NOT_FOUND, SliceResult, StructureResult
from .slices import Structure
from .work import Work


@dataclass(frozen=True)
class ConfidenceWeights:
    """Of the constant and of each of the signals."""

    constant: float
    certainty: float = 0.0
    agreement: float = 0.0
    likeness: float = 0.0
    expected: float = 0.0
    look: float = 0.0
    reverse: float = 0.0
    border: float = 0.0
    closed: float = 0.0
    extent: float = 0.0
    round: float = 0.0
    beside: float = 0.0
    way: float = 0.0
    whole: float = 0.0
    plan: float = 0.0


@dataclass(frozen=True)
class JudgingParameters:
    """Constants of the judgement.

    Attributes:
        same, other: weights for the patient who was marked, and for another one.
        doubtful: estimated Dice of a structure below which it is doubtful.
        missing: and below which it is taken not to be there. Both were chosen on generated
            structures: of those below Dice 0.3 in 40 pairs 20 of 21 are doubtful or missing, and 18
            of 125 that are right.
        elsewhere: Dice of a whole structure and the body's plan below which it is doubtful too;
            on the abdominal MR 1, 2, 3 and 5 the least is 0.61.
    """

    same: ConfidenceWeights = ConfidenceWeights(
        constant=-4.37, certainty=0.84, agreement=0.19, likeness=1.03, border=1.75, closed=1.70,
        extent=0.87, round=0.01, beside=0.88, way=0.91, whole=0.18,
    )
    other: ConfidenceWeights = ConfidenceWeights(
        constant=-5.46, certainty=0.64, agreement=0.27, likeness=0.52, expected=1.55, look=0.29,
        reverse=0.09, border=1.11, closed=1.43, extent=0.71, round=0.72, beside=0.71, way=0.81,
        whole=0.30, plan=0.33,
    )
    doubtful: float = 0.78
    missing: float = 0.45
    elsewhere: float = 0.4


DOUBTFUL_CHOICES = ("keep", "drop")


def judge(
    work: Work, results: Sequence[SliceResult], doubtful: str = "keep",
    parameters: JudgingParameters | None = None,
) -> tuple[list[SliceResult], list[StructureResult]]:
    """Scores that mean something, and what was not found taken out of the work's labels.

    Args:
        results: of the strategy.
        doubtful: "keep" or "drop".
    """
    if not work.slices.encoders.model.judges_presence:
        return list(results), [as_a_whole(results, structure) for structure in work.structures]
    results = with_estimates(work, results, parameters)
    structures = judged_structures(results, work.structures, parameters)
    out = (NOT_FOUND,) if doubtful == "keep" else (NOT_FOUND, DOUBTFUL)
    gone = {s.label for s in structures if s.state in out and not work.assume_present}
    return (_without(work, results, gone) if gone else results), structures


def _without(work: Work, results: Sequence[SliceResult], gone: set[int]) -> list[SliceResult]:
    """Labels taken out of the work, and of the results."""
    work.labels[np.isin(work.labels, sorted(gone))] = 0
    return [
        replace(one, present=False, area_mm2=0.0) if one.label in gone else one for one in results
    ]


def with_estimates(
    work: Work, results: Sequence[SliceResult], parameters: JudgingParameters | None = None
) -> list[SliceResult]:
    """Results whose scores are estimates of Dice by all that the work's labels show."""
    return judged_slices(with_evidence(work, results), work.drawn_labels, parameters)


def confidence(signals: Signals, other_patient: bool, p: JudgingParameters | None = None) -> float:
    """Estimated Dice of a mask, 0 to 1."""
    p = p or JudgingParameters()
    weights = p.other if other_patient else p.same
    total = weights.constant + sum(
        getattr(weights, field.name) * getattr(signals, field.name) for field in fields(signals)
    )
    return 1 / (1 + math.exp(-total))


def judged_slices(
    results: Sequence[SliceResult], drawn: Set[int], p: JudgingParameters | None = None
) -> list[SliceResult]:
    """Results whose scores are estimates of Dice, where there is something to estimate from.

    Args:
        drawn: labels that a person drew in this volume.
    """
    return [
        one if one.signals is None else replace(
            one, score=confidence(one.signals, one.label not in drawn, p)
        )
        for one in results
    ]


def judged_structures(
    results: Sequence[SliceResult], structures: Sequence[Structure],
    p: JudgingParameters | None = None,
) -> list[StructureResult]:
    """Each structure's own estimate: the mean of its slices', each by its area. One that looks
    quite different from the marked one, or lies elsewhere than the body's plan expects it, is
    doubtful however sure the model is of its border."""
    p = p or JudgingParameters()
    return [_judged(results, structure, p) for structure in structures]


def _judged(
    results: Sequence[SliceResult], structure: Structure, p: JudgingParameters
) -> StructureResult:
    told = as_a_whole(results, structure)
    drawn_here = any(r.label == structure.label and r.source == "support" for r in results)
    signals = [r.signals for r in results if r.label == structure.label and r.signals]
    unlike = any(one.look < ALIKE for one in signals)  # it was sought by its place alone
    elsewhere = any(one.plan < p.elsewhere for one in signals)
    sure = told.confidence >= p.doubtful and not unlike and not elsewhere
    if told.state == NOT_FOUND or drawn_here or sure:
        return told
    return replace(told, state=NOT_FOUND if told.confidence < p.missing else DOUBTFUL)


def as_a_whole(results: Sequence[SliceResult], structure: Structure) -> StructureResult:
    """A structure with the mean score of its slices, each by its area."""
    present = [r for r in results if r.label == structure.label and r.present]
    area = sum(r.area_mm2 for r in present)
    sure = sum(r.score * r.area_mm2 for r in present) / area if area else 0.0
    return StructureResult(structure.label, structure.name, sure, FOUND if area else NOT_FOUND)
