"""Where each structure is expected in another patient's volume."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from ...data.frames import SliceFrame
from ...data.overview import Overview
from ...data.support import Support
from .alignment import align
from .extent import extended_marks

LEAST_SLICES = 4  # fewer are no body to align
DARK = 0.1  # grey levels below this are all dark
ALIKE = 0.55  # look from which on the support says how a structure looks; chosen on MR 1, 10 and 15


@dataclass(frozen=True, eq=False)
class Prior:
    """One structure's place in the query.

    Attributes:
        share: (D, h, w) over the whole query, how much of each cell the structure is expected to
            fill, 0 to 1.
        trust: 0 to 1, how well the bodies agree.
        look: 0 to 1, how much what lies there is as bright as the support's structure.
        frame: slice pixels to the region of interest of R x R.
        slices: S, slices of the query.
    """

    share: Tensor
    trust: float
    look: float
    frame: SliceFrame
    slices: int

    def in_slices(self, indices: Sequence[int]) -> Tensor:
        """(N, R, R), 0 to 1, over the region of interest of some slices."""
        depth = len(self.share)
        place = (torch.tensor(indices, dtype=torch.float32) + 0.5) * depth / self.slices - 0.5
        below = place.floor().clamp(0, depth - 1).long()
        above = (below + 1).clamp(max=depth - 1)
        part = (place - below).clamp(0, 1)[:, None, None]
        planes = (1 - part) * self.share[below] + part * self.share[above]
        whole = F.interpolate(
            planes[:, None], size=self.frame.shape, mode="bilinear", align_corners=False
        )
        return self.frame.masks_to_model(whole)[:, 0]

    @property
    def alike(self) -> bool:
        """Whether the structure looks much as in the support; else only its place is known."""
        return self.look >= ALIKE

    @property
    def profile(self) -> Tensor:
        """(S,) how much of the structure is expected in each slice, at most 1."""
        area = self.share.sum((1, 2))
        lines = F.interpolate(
            area[None, None], size=self.slices, mode="linear", align_corners=False
        )[0, 0]
        return lines / lines.max().clamp(min=1e-6)

    def enlarged(self, factor: float) -> Prior:
        """The structure `factor` times as wide in the slices, about the middle of the whole."""
        share, grids = self.share, []
        for axis in (2, 1):
            line = (torch.arange(share.shape[axis]) + 0.5) / share.shape[axis] * 2 - 1
            weight = share.sum([a for a in range(3) if a != axis])
            middle = float(weight @ line / weight.sum().clamp(min=1e-6))
            grids.append((line - middle) / factor + middle)
        x, y = (one.expand(*share.shape[1:]) for one in (grids[0], grids[1][:, None]))
        grid = torch.stack([x, y], -1).expand(len(share), -1, -1, -1)
        larger = F.grid_sample(share[:, None], grid, align_corners=False)[:, 0]
        return replace(self, share=larger)


def find_priors(
    query: Overview, frame: SliceFrame, supports: Iterable[Support], labels: Iterable[int]
) -> dict[int, Prior]:
    """Priors of the labels that some support with an overview can place in the query.

    Several supports are averaged, each as far as its body agrees with the query's.

    Args:
        query: its overview along the supports' axis.
        frame: of the query's region of interest.
        supports: of other patients.
    """
    found: dict[int, list[Prior]] = {label: [] for label in labels}
    for support in supports:
        wanted = found.keys() & support.names.keys()
        if wanted and _alignable(query, support):
            for label, prior in _carried(query, frame, support, wanted).items():
                found[label].append(prior)
    return {label: mean_of(several) for label, several in found.items() if several}


def _alignable(query: Overview, support: Support) -> bool:
    overviews = (query, support.overview)
    return all(one is not None and len(one.grey) >= LEAST_SLICES for one in overviews)


def _carried(
    query: Overview, frame: SliceFrame, support: Support, labels: Iterable[int]
) -> Mapping[int, Prior]:
    """One support's priors; none where the bodies do not agree."""
    alignment = align(query, support.overview)
    if alignment.trust <= 0:
        return {}
    marks = extended_marks(support)
    theirs = alignment.carry(torch.from_numpy(support.overview.images()))
    ours = F.interpolate(
        torch.from_numpy(query.images())[None, None], size=theirs.shape, mode="area"
    )[0, 0]
    shares = {label: alignment.carry(torch.from_numpy(marks[label])) for label in labels}
    return {
        label: Prior(share, alignment.trust, _alike(ours, theirs, share), frame, query.shape[0])
        for label, share in shares.items()
    }


def _alike(one: Tensor, other: Tensor, share: Tensor) -> float:
    """1 where mean grey levels within a share are equal, 0 where one is black beside the other."""
    total = share.sum().clamp(min=1e-6)
    means = [float((grey * share).sum() / total) for grey in (one, other)]
    return 1 - abs(means[0] - means[1]) / max(*means, DARK)


def mean_of(several: Sequence[Prior]) -> Prior:
    """Several supports' priors, each as far as its body agrees and as its place is that of the
    others: one that was laid on another organ counts little among three that were not."""
    if len(several) == 1:
        return several[0]
    surest = max(several, key=lambda one: one.trust)
    size = surest.share.shape  # grids differ where fields of view do
    shares = torch.stack([
        F.interpolate(one.share[None, None], size=size, mode="trilinear", align_corners=False)[0, 0]
        for one in several
    ])
    weights = torch.tensor([one.trust for one in several]) * _agreement(shares) ** 2
    weights = weights / weights.sum()
    looks = torch.tensor([one.look for one in several])
    return replace(
        surest, share=(shares * weights[:, None, None, None]).sum(0), look=float(looks @ weights)
    )


def _agreement(shares: Tensor) -> Tensor:
    """(N,) mean overlap (soft Dice) of each of N >= 2 shares with the others; at least 0.01."""
    flat = shares.flatten(1)
    total = flat.sum(1)
    both = torch.minimum(flat[:, None], flat[None]).sum(2)
    overlap = 2 * both / (total[:, None] + total[None]).clamp(min=1e-6)
    return ((overlap.sum(1) - overlap.diagonal()) / (len(flat) - 1)).clamp(min=0.01)
