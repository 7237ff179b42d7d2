"""A structure segmented where it is expected: the prior bounds the points and prompts the mask.

A structure that is much brighter or darker than the marked one (a liver full of iron, another
sequence) is sought by what lies where the plan expects it in the same slice, not by the support.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from ...prompting.encoded_slices import EncodedSlices
from ...prompting.interfaces import Near, Proposal
from ..slices import SliceMasks, Structure, certainty, decode
from ..work import Work

# Logits: from where the body's plan expects a structure the embedded model draws a little inside of
# it. Chosen on the abdominal MR 1, 2, 3 and 5.
WIDER = 1.5


@dataclass(frozen=True)
class ExpectedParameters:
    """Constants, chosen on the abdominal MR 1, 2, 3 and 5.

    Attributes:
        reach: how far from where it is expected a structure may lie, as a share of the model's
            square; edge: expected share of a pixel from which on it counts.
        steepness: of the mask prompt, times the logit of the prior.
    """

    reach: float = 0.05
    edge: float = 0.15
    steepness: float = 2.0


@dataclass(frozen=True, eq=False)
class Expected:
    """One structure in N slices.

    Attributes:
        indices: of the slices.
        proposal: of the method; masks: of the model.
        overlap: (N,), Dice of mask and prior.
    """

    indices: tuple[int, ...]
    proposal: Proposal
    masks: SliceMasks
    overlap: Tensor

    def score(self, work: Work, row: int) -> float:
        """How sure the model is of one slice (see `certainty`)."""
        model = work.slices.encoders.model
        return certainty(model, self.masks.quality[row], self.proposal.affinity[row])


@dataclass(frozen=True, eq=False)
class Guide:
    """What the plan gives to N slices' prompts.

    Attributes:
        indices: of the slices.
        share: (N, R, R), the prior.
        near: where points may be.
        masks: (N, 1, R, R) mask prompts, NaN where nothing is expected.
        expected: (N,) bool, which slices something is expected in.
    """

    indices: tuple[int, ...]
    share: Tensor
    near: Near
    masks: Tensor
    expected: Tensor

    def where_expected(self) -> Guide:
        """The same of the slices that something is expected in."""
        there = self.expected
        indices = [i for i, one in zip(self.indices, there.tolist(), strict=True) if one]
        return Guide(
            tuple(indices), self.share[there], Near(self.near.place[there]), self.masks[there],
            there[there],
        )


def guide(
    work: Work, structure: Structure, indices: Sequence[int],
    parameters: ExpectedParameters | None = None,
) -> Guide | None:
    """The plan's guidance for a structure in some slices; None where there is no plan."""
    p = parameters or ExpectedParameters()
    prior = work.priors.get(structure.label)
    if prior is None:
        return None
    share = prior.in_slices(indices).to(work.device)
    place = within_reach(share > p.edge, p.reach)
    somewhere = place.flatten(1).any(1)
    masks = p.steepness * torch.logit(share, 0.02)[:, None]
    masks[~somewhere] = torch.nan
    near = Near(place | ~somewhere[:, None, None])
    return Guide(tuple(indices), share, near, masks, somewhere)


def may_hold(guide: Guide | None, place: int) -> bool:
    """Whether the plan expects the structure in one of the slices; yes where there is no plan."""
    return guide is None or bool(guide.expected[place])


def margin(work: Work, guide: Guide | None) -> float:
    """What is added to the logits of a slice that is segmented on its own."""
    return WIDER if work.slices.encoders.model.judges_presence and guide is not None else 0.0


def segment_expected(
    work: Work, structure: Structure, indices: Sequence[int],
    parameters: ExpectedParameters | None = None,
) -> Expected | None:
    """A structure that has a plan, in those of the slices where it may be; None where it may be in
    none."""
    found = guide(work, structure, indices, parameters).where_expected()
    if not found.indices:
        return None
    encoded = work.slices.several(found.indices)
    proposal = _proposed(work, encoded, structure, found.indices, found)
    model = work.slices.encoders.model
    masks = decode(
        model, encoded, torch.arange(len(found.indices), device=work.device), proposal.prompts,
        roi_size=work.frame.size, mask_index=work.method.masks.mask_index, masks=found.masks,
        confidence=proposal.confidence[:, None] if model.uses_confidence else None,
    )
    masks = replace(masks, logits=work.outside(masks.logits, found.indices))
    return Expected(found.indices, proposal, masks, overlaps(masks.logits, found.share))


def guided(
    work: Work, encoded: EncodedSlices, indices: Sequence[int], structures: Sequence[Structure]
) -> tuple[list[Proposal], list[Guide | None]]:
    """What the method says of structures in some slices on their own, guided by the plan.

    Args:
        encoded: the slices `indices`.
    """
    guides = [guide(work, structure, indices) for structure in structures]
    proposals = [
        _proposed(work, encoded, structure, indices, g)
        for structure, g in zip(structures, guides, strict=True)
    ]
    return proposals, guides


def _proposed(
    work: Work, encoded: EncodedSlices, structure: Structure, indices: Sequence[int],
    guide: Guide | None,
) -> Proposal:
    """What the method says of a structure in N slices that have a guide, or none."""
    if guide is None:
        return work.propose(structure, encoded, indices)
    if work.priors[structure.label].alike:
        return work.propose(structure, encoded, indices, guide.near)
    several = [
        _proposed_by_place(work, encoded.select(slice(n, n + 1)), structure, guide, n)
        for n in range(len(indices))
    ]
    return Proposal(
        torch.cat([one.confidence for one in several]),
        [prompts for one in several for prompts in one.prompts],
        torch.cat([one.affinity for one in several]),
    )


def _proposed_by_place(
    work: Work, encoded: EncodedSlices, structure: Structure, guide: Guide, row: int
) -> Proposal:
    """The same of one slice, by what lies in the middle of where the plan expects the structure."""
    index, near = [guide.indices[row]], Near(guide.near.place[row : row + 1])
    if bool(guide.expected[row]):
        share = guide.share[row]
        middle = work.method.remember(encoded, torch.logit(share / share.max(), 1e-3))
        structure = replace(structure, kept=(middle,))
    return work.propose(structure, encoded, index, near)


def overlaps(logits: Tensor, share: Tensor) -> Tensor:
    """(N,) Dice of masks (N, m, m), positive inside, and the prior (N, R, R) cut at half of what
    it reaches."""
    size = share.shape[-1]
    if logits.shape[-1] != size:
        logits = F.interpolate(
            logits[:, None], size=(size, size), mode="bilinear", align_corners=False
        )[:, 0]
    level = (0.5 * share.flatten(1).amax(1)).clamp(min=1e-3)[:, None, None]
    inside, expected = logits > 0, share >= level
    both = (inside & expected).sum((1, 2))
    return 2 * both / (inside.sum((1, 2)) + expected.sum((1, 2))).clamp(min=1)


def dice_of(one: Tensor, other: Tensor) -> float:
    """Of two bool masks of one shape; 0 where both are empty."""
    return float(2 * (one & other).sum() / (one.sum() + other.sum()).clamp(min=1))


def within_reach(inside: Tensor, reach: float) -> Tensor:
    """bool (N, R, R): at most `reach` of the side away from what is inside, (N, R, R)."""
    radius = max(1, round(reach * inside.shape[-1]))
    grown = F.pad(inside, (radius,) * 4)
    for along in (1, 2):
        grown = _any_of(grown, 2 * radius + 1, along)
    return grown


def _any_of(inside: Tensor, count: int, along: int) -> Tensor:
    """Whether any of each `count` neighbours along an axis is set, (.., n - count + 1, ..) of n.

    From two to four to eight and so on: far cheaper than looking at each neighbour of each pixel.
    """
    reached = 1
    while reached < count:
        step = min(reached, count - reached)
        left = inside.shape[along] - step
        inside = inside.narrow(along, 0, left) | inside.narrow(along, step, left)
        reached += step
    return inside
