"""All slices of the range, each segmented on its own, some neighbours at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..prompting.encoded_slices import EncodedSlices
from ..prompting.interfaces import Proposal
from .finding.expected import Guide, guided, may_hold
from .monitor import Monitor
from .slices import SliceMasks, Structure, certainty, segment_slices
from .work import Work

SLICES = 8  # of a run


@dataclass(frozen=True, eq=False)
class Run:
    """N neighbouring slices with T structures in each.

    Attributes:
        first: the first slice's index.
        proposals: T, one a structure.
        masks: T * N, the slices of one structure after those of another.
        guides: T, what the body's plan said of each, or None.
    """

    work: Work
    first: int
    proposals: list[Proposal]
    masks: SliceMasks
    guides: list[Guide | None]

    def __len__(self) -> int:
        return len(self.masks.quality) // len(self.proposals)

    def row(self, structure: int, place: int) -> int:
        """Where the masks hold one structure of one slice, both counted within the run."""
        return structure * len(self) + place

    def may_hold(self, structure: int, place: int) -> bool:
        """Whether the plan expects the structure in the slice; yes where there is none."""
        return may_hold(self.guides[structure], place)

    def score(self, structure: int, place: int) -> float:
        """How sure it is that the slice holds the structure (see `certainty`)."""
        return certainty(
            self.work.slices.encoders.model,
            self.masks.quality[self.row(structure, place)],
            self.proposals[structure].affinity[place],
        )


def segmented_runs(
    work: Work, structures: Sequence[Structure], monitor: Monitor, step: str
) -> Iterator[Run]:
    """Prompts and masks of structures in every slice of the range.

    Args:
        step: what the progress is called.
    """
    total = work.last - work.first + 1
    for first in range(work.first, work.last + 1, SLICES):
        monitor.report(step, first - work.first, total)
        with monitor.stage("encode"):
            encoded = work.slices.several(range(first, min(first + SLICES, work.last + 1)))
        yield _segmented(work, structures, encoded, first, monitor)
    monitor.report(step, total, total)


def _segmented(
    work: Work, structures: Sequence[Structure], encoded: EncodedSlices, first: int,
    monitor: Monitor,
) -> Run:
    with monitor.stage("prompts"):
        indices = range(first, first + len(encoded))
        proposals, guides = guided(work, encoded, indices, structures)
    with monitor.stage("decode"):
        masks = segment_slices(
            work.slices.encoders.model, encoded,
            torch.arange(len(encoded), device=work.device).repeat(len(structures)),
            [prompts for proposal in proposals for prompts in proposal.prompts],
            torch.cat([proposal.confidence for proposal in proposals]), work.method.masks,
            _mask_prompts(guides, proposals),
        )
    masks = replace(masks, logits=work.outside(masks.logits, [*indices] * len(structures)))
    return Run(work, first, proposals, masks, guides)


def _mask_prompts(guides: list[Guide | None], proposals: list[Proposal]) -> Tensor | None:
    """(T * N, 1, R, R), NaN where the plan gives none; None where there is no plan at all."""
    if all(g is None for g in guides):
        return None
    return torch.cat([
        torch.full_like(proposal.confidence[:, None], torch.nan) if g is None else g.masks
        for g, proposal in zip(guides, proposals, strict=True)
    ])
