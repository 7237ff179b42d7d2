"""How large a structure is beside the support's patient's.

The body's plan says where another patient's organ lies; it knows little of its size, and a spleen
may be three times as large as another one. A model that is prompted with a plan of the wrong size
draws a mask of that size, which ends in the middle of the organ or beyond it. So plans of several
sizes are tried in some slices, and the one whose masks end where the picture changes is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..borders import closed
from ..found import resized
from ..monitor import Monitor
from ..slices import Structure
from ..work import Work
from .candidates import likely_slices
from .expected import segment_expected
from .prior import Prior


@dataclass(frozen=True)
class SizeParameters:
    """Constants of the choice, chosen on the abdominal MR 1, 2, 3 and 5.

    Attributes:
        factors: widths that are tried, of the plan's.
        slices: where they are tried, those that hold much of the structure.
        gain: how many times better than the plan as it is another size has to be.
    """

    factors: tuple[float, ...] = (0.75, 1.35, 1.8)
    slices: int = 5
    gain: float = 1.08


def fitted_priors(
    work: Work, monitor: Monitor, parameters: SizeParameters | None = None
) -> Mapping[int, Prior]:
    """The work's priors by label, each in the size that fits this patient best.

    What looks otherwise than in the support has no borders that could be told; it keeps its size.
    """
    p = parameters or SizeParameters()
    fitted = dict(work.priors)
    for structure in work.structures:
        monitor.check()
        prior = work.priors.get(structure.label)
        if prior is not None and prior.alike:
            fitted[structure.label] = _fitted(work, structure, prior, p)
    return fitted


def _fitted(work: Work, structure: Structure, prior: Prior, p: SizeParameters) -> Prior:
    indices = likely_slices(prior.profile, p.slices)
    best, most = prior, p.gain * _fit(work, structure, prior, indices)
    for factor in p.factors:
        other = prior.enlarged(factor)
        fit = _fit(work, structure, other, indices)
        if fit > most:
            best, most = other, fit
    return best


def _fit(work: Work, structure: Structure, prior: Prior, indices: Sequence[int]) -> float:
    """Mean over the slices of how sure the model is of the mask, times how closed it is."""
    trial = replace(work, priors={structure.label: prior})
    found = segment_expected(trial, structure, indices)
    if found is None:
        return 0.0
    total = 0.0
    for row, index in enumerate(found.indices):
        mask = (resized(found.masks.logits[row], work.frame.size) > 0).cpu().numpy()
        if mask.any():
            total += found.score(work, row) * closed(work.grey(index), mask)
    return total / len(indices)
