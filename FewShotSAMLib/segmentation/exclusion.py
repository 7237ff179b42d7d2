"""Voxels that are known to belong to other structures: no result has them, and they say where a
structure ends.

They act at three places. Points are chosen beside them, and some negative ones inside of them; the
mask that is carried to a slice, and the one that is found there, end at them, so that a leak does
not go on from slice to slice through a neighbour; and no label is written over them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.errors import InputError
from ..data.frames import SliceFrame
from ..data.slicing import extract_slices
from ..data.volume import Orientation, Volume
from ..prompting.interfaces import Near, Proposal
from ..prompting.point_prompts import NEGATIVE, PointPrompts
from ..prompting.points import cluster_centres, distances

# Logit of an excluded pixel: as sure as a mask prompt gets.
OUTSIDE = -8.0
# Negative points inside of the neighbours, at most.
NEGATIVES = 3


@dataclass(frozen=True, eq=False)
class Excluded:
    """What is excluded, slice by slice.

    Attributes:
        stack: (S, H, W) bool, in canonical orientation.
        roi: slice pixels to the region of interest, R x R.
        device: where tensors lie.
    """

    stack: np.ndarray
    roi: SliceFrame
    device: torch.device

    @classmethod
    def of(
        cls, voxels: Volume | None, query: Volume, orientation: Orientation, axis: str,
        roi: SliceFrame, device: torch.device,
    ) -> Excluded | None:
        """What the nonzero voxels of a volume exclude; None for no volume and for zeros alone.

        Raises:
            InputError: it does not lie on the query's grid.
        """
        if voxels is None or not voxels.voxels.any():
            return None
        if voxels.is_rgb or not voxels.same_grid(query):
            raise InputError(
                f"{voxels.name or 'excluded voxels'}: lies on another grid than "
                f"{query.name or 'the volume'}; resample it to that one"
            )
        return cls(extract_slices(orientation.apply(voxels.voxels != 0), axis), roi, device)

    def maps(self, indices: Sequence[int]) -> Tensor:
        """bool (N, R, R) of slices: pixels that are excluded for the greater part."""
        stack = torch.from_numpy(np.ascontiguousarray(self.stack[list(indices)]))
        return self.roi.masks_to_model(stack.to(self.device))[:, 0] > 0.5

    def outside(self, logits: Tensor, indices: Sequence[int]) -> Tensor:
        """Logits (N, m, m) of slices, negative where they are excluded."""
        if not self.stack[list(indices)].any():
            return logits
        maps, size = self.maps(indices), logits.shape[-1]
        if size != maps.shape[-1]:
            shares = F.interpolate(maps[:, None].float(), size=(size, size), mode="area")
            maps = shares[:, 0] > 0.5
        return torch.where(maps, logits.clamp(max=OUTSIDE), logits)

    def near(self, near: Near | None, indices: Sequence[int]) -> Near | None:
        """Where a structure can be in slices: not where they are excluded."""
        if not self.stack[list(indices)].any():
            return near
        free = ~self.maps(indices)
        return Near(free) if near is None else replace(near, place=near.place & free)

    def bounded(self, proposal: Proposal, indices: Sequence[int], near: Near | None) -> Proposal:
        """The proposal for slices, with points that the excluded pixels allow and ask for.

        Args:
            near: where the structure can be, before anything was excluded.
        """
        if not self.stack[list(indices)].any():
            return proposal
        maps = self.maps(indices)
        beside = maps if near is None else maps & near.place
        return replace(
            proposal,
            prompts=[
                _bounded(prompts, inside, close)
                for prompts, inside, close in zip(
                    proposal.prompts, maps.cpu().numpy(), beside.cpu().numpy(), strict=True
                )
            ],
        )


def _bounded(prompts: PointPrompts, inside: np.ndarray, beside: np.ndarray) -> PointPrompts:
    """Points without positives among the excluded pixels (R, R), unless there are no others, and
    with negatives in those of them that the structure may touch."""
    column, row = np.clip(np.rint(prompts.points).astype(int), 0, len(inside) - 1).T
    fit = (prompts.labels == NEGATIVE) | ~inside[row, column]
    if len(prompts.positives) and not (fit & (prompts.labels != NEGATIVE)).any():
        fit[:] = True
    kept = PointPrompts(prompts.points[fit], prompts.labels[fit])
    return kept + PointPrompts.of(np.zeros((0, 2)), _inner_points(beside))


def _inner_points(pixels: np.ndarray) -> np.ndarray:
    """(x, y) of a few pixels (P, 2) that stand for those that are set in (R, R)."""
    places = np.argwhere(pixels)[:, ::-1]
    if not len(places):
        return np.zeros((0, 2), np.float32)
    (centres,) = cluster_centres([torch.from_numpy(places.copy())], NEGATIVES, seed=0)
    return places[distances(centres, places).argmin(axis=1)].astype(np.float32)
