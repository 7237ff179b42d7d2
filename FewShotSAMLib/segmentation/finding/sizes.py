"""How large a structure is beside the support's patient's.

The body's plan says where another patient's organ lies; it knows little of its size, and a spleen
may be three times as large as another one. A model that is prompted with a plan of the wrong size
draws a mask of that size, which ends in the middle of the organ or beyond it. So plans of several
sizes are tried in some slices, and the one whose masks end where the picture changes is kept.
"""

from __future__ import annotations

import weakref
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

from ..borders import closed
from ..found import inside
from ..monitor import Monitor
from ..slices import Structure
from ..work import Work
from .candidates import likely_slices
from .expected import segment_expected
from .prior import Prior


@dataclass(frozen=True)
class SizeParameters:
    """Constants of the choice, chosen with the embedded model on the abdominal MR 1, 2, 3 and 5.

    Attributes:
        factors: what is tried beside the plan as it is, as multiples of its width.
        profile: share of the largest expected area from which on a slice is tried.
        slices: so many at most; least: with fewer the plan stays as it is.
        gain: how many times better than the plan as it is another size has to be.
        closed: least fit of another size (see `_fit`): where less than half of what lies around the
            masks looks different, as with parts that touch, borders do not tell sizes. Chosen with
            the hippocampi in view.
    """

    factors: tuple[float, ...] = (0.75, 1.35, 1.8)
    profile: float = 0.6
    slices: int = 5
    least: int = 2
    gain: float = 1.08
    closed: float = 0.5


class KnownSizes:
    """Priors in the sizes that fit, and those of the last query and supports again for nothing."""

    def __init__(self) -> None:
        self._last: tuple[tuple[Hashable, ...], Mapping[int, Prior]] | None = None

    def fitted(
        self, work: Work, monitor: Monitor, made_of: Sequence[object], *settings: Hashable
    ) -> Work:
        """The work with priors in the sizes that fit.

        Args:
            made_of: what the work was made of, told apart by identity and not kept alive.
            settings: what else it was made with.
        """
        key = (*(weakref.ref(one) for one in made_of if one is not None), *settings)
        if self._last is None or self._last[0] != key:
            self._last = key, fitted_priors(work, monitor)
        return replace(work, priors=self._last[1])


def fitted_priors(
    work: Work, monitor: Monitor, parameters: SizeParameters | None = None
) -> Mapping[int, Prior]:
    """The work's priors by label, each in the size that fits this patient best, whatever the work's
    range is.

    What looks otherwise than in the support keeps its size: it is sought by its place alone.
    """
    p = parameters or SizeParameters()
    fitted = dict(work.priors)
    tried = [s for s in work.structures if s.label in fitted and fitted[s.label].alike]
    slices = work.last - work.first + 1  # what progress is told in
    for number, structure in enumerate(tried):
        monitor.report("size", number * slices // len(tried), slices)
        fitted[structure.label] = _fitted(work, structure, fitted[structure.label], monitor, p)
    if tried:
        monitor.report("size", slices, slices)
    return fitted


def _fitted(
    work: Work, structure: Structure, prior: Prior, monitor: Monitor, p: SizeParameters
) -> Prior:
    indices = likely_slices(prior.profile, p.slices, p.profile)
    if len(indices) < p.least or (usual := _fit(work, structure, prior, indices)) <= 0:
        return prior
    best, most = prior, max(p.gain * usual, p.closed)
    for factor in p.factors:
        monitor.check()
        other = prior.enlarged(factor)
        fit = _fit(work, structure, other, indices)
        if fit > most:
            best, most = other, fit
    return best


def _fit(work: Work, structure: Structure, prior: Prior, indices: Sequence[int]) -> float:
    """How sure the model is of the mask times how closed it is, mean over the slices; 0 counts for
    those in which nothing is drawn."""
    found = segment_expected(
        replace(work, priors={structure.label: prior}), structure, indices
    )
    if found is None:
        return 0.0
    total = 0.0
    for row, index in enumerate(found.indices):
        mask = inside(found.masks.logits[row], work.frame.size)
        if mask.any():
            total += found.score(work, row) * closed(work.grey(index), mask)
    return total / len(indices)
