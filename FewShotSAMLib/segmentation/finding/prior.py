"""Where each structure is expected in another patient's volume."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ...data.frames import SliceFrame
from ...data.overview import Overview
from ...data.support import Support
from .alignment import Alignment, align
from .extent import extended_marks

LEAST_SLICES = 4  # fewer are no body to align


@dataclass(frozen=True, eq=False)
class Prior:
    """One structure's place in the query.

    Attributes:
        share: (D, h, w) over the whole query, how much of each cell the structure is expected to
            fill, 0 to 1.
        trust: 0 to 1, how well the bodies agree.
        frame: slice pixels to the region of interest of R x R.
        slices: S, slices of the query.
    """

    share: Tensor
    trust: float
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
    def profile(self) -> Tensor:
        """(S,) how much of the structure is expected in each slice, at most 1."""
        area = self.share.sum((1, 2))
        lines = F.interpolate(
            area[None, None], size=self.slices, mode="linear", align_corners=False
        )[0, 0]
        return lines / lines.max().clamp(min=1e-6)


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
    found: dict[int, list[tuple[Tensor, float]]] = {label: [] for label in labels}
    for support in supports:
        wanted = found.keys() & support.names.keys()
        if wanted and _alignable(query, support):
            alignment = align(query, support.overview)
            for label, share in _carried(alignment, support, wanted).items():
                found[label].append((share, alignment.trust))
    sure = {label: parts for label, parts in found.items() if any(trust > 0 for _, trust in parts)}
    return {
        label: Prior(_mean(parts), max(trust for _, trust in parts), frame, query.shape[0])
        for label, parts in sure.items()
    }


def _alignable(query: Overview, support: Support) -> bool:
    overviews = (query, support.overview)
    return all(one is not None and len(one.grey) >= LEAST_SLICES for one in overviews)


def _carried(
    alignment: Alignment, support: Support, labels: Iterable[int]
) -> Mapping[int, Tensor]:
    marks = extended_marks(support)
    return {label: alignment.carry(torch.from_numpy(marks[label])) for label in labels}


def _mean(several: Sequence[tuple[Tensor, float]]) -> Tensor:
    total = sum(trust for _, trust in several)
    return sum(share * (trust / total) for share, trust in several)
