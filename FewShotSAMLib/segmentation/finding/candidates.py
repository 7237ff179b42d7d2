"""Which slice of another patient a structure is followed from, where the body's plan is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..borders import closed
from ..found import Found, Signals, resized
from ..slices import Structure
from ..work import Work
from .expected import Expected, segment_expected
from .reverse import reverse_dice


@dataclass(frozen=True)
class CandidateParameters:
    """Constants of the choice, chosen on the abdominal MR 1, 2, 3 and 5.

    Attributes:
        profile: share of the largest expected area from which on a slice is a candidate.
        most: candidates that are segmented; checked: those that are checked in reverse.
        doubt: part of the score that does not depend on the agreement with the prior.
    """

    profile: float = 0.6
    most: int = 10
    checked: int = 6
    doubt: float = 0.3


@dataclass(frozen=True, eq=False)
class Candidate:
    """A structure's mask in one slice, with what speaks for it in `found.signals`.

    Attributes:
        alike: whether the structure looks as in the support, so that the reverse check counts.
    """

    index: int
    found: Found
    alike: bool

    @property
    def score(self) -> float:
        """The model's certainty, and how far the plan, the reverse check and the picture around the
        mask agree with it. Which share they have was chosen on the abdominal MR and the
        hippocampi."""
        signals = self.found.signals
        back = signals.reverse if self.alike else 1.0
        return signals.certainty * (signals.expected * back * signals.closed) ** 0.5


def candidates(
    work: Work, structure: Structure, parameters: CandidateParameters | None = None
) -> list[Candidate]:
    """The candidates in the range of a structure that has a plan, checked in reverse, the best one
    first. With several patients as supports they are those of all together or of one alone, of
    whichever has the best: a patient who looks otherwise does not mislead the others."""
    p = parameters or CandidateParameters()
    profile = work.priors[structure.label].profile
    inside = profile[work.first : work.last + 1]
    indices = [work.first + k for k in likely_slices(inside, p.most, p.profile)]
    several = [_of(work, one, indices, p) for one in (structure, *structure.by_support())]
    return max(several, key=lambda found: found[0].score if found else -1.0)


def _of(
    work: Work, structure: Structure, indices: Sequence[int], p: CandidateParameters
) -> list[Candidate]:
    """The same of the structure as these supports show it."""
    expected = segment_expected(work, structure, indices)
    if expected is None:
        return []
    promise = [
        expected.score(work, row) * (p.doubt + float(expected.overlap[row]))
        for row in range(len(expected.indices))
    ]
    rows = sorted(range(len(promise)), key=lambda row: -promise[row])[: p.checked]
    checked = [one for row in rows if (one := _checked(work, structure, expected, row))]
    return sorted(checked, key=lambda one: -one.score)


def likely_slices(profile: Tensor, most: int, share: float) -> list[int]:
    """Places in a profile (N,) that hold much of the structure, evenly thinned out.

    Args:
        most: so many at most; share: of the largest area, from which on a place counts.
    """
    if not bool((profile > 0).any()):
        return []
    places = torch.nonzero(profile >= share * profile.max()).flatten()
    pick = torch.linspace(0, len(places) - 1, min(most, len(places))).round().long()
    return places[pick].tolist()


def _checked(
    work: Work, structure: Structure, expected: Expected, row: int
) -> Candidate | None:
    logits = resized(expected.masks.logits[row], work.frame.size)
    if not bool((logits > 0).any()):
        return None
    index, score = expected.indices[row], expected.score(work, row)
    plan = work.priors[structure.label]
    grey, mask = work.grey(index), (logits > 0).cpu().numpy()
    signals = Signals(
        score, expected=float(expected.overlap[row]), look=plan.look,
        reverse=reverse_dice(work, structure, index, logits),
        closed=closed(grey, mask),
    )
    prompts = expected.proposal.prompts[row]
    found = Found(logits, score, prompts, "prompted", signals, structure.kept)
    return Candidate(index, found, plan.alike)
