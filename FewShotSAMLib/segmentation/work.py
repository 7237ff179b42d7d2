"""What a strategy works on: the query's slices, the structures, and the labels to fill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ..data.frames import SliceFrame
from ..data.intensity import normalise
from ..prompting.encoded_slices import EncodedSlices
from ..prompting.interfaces import BatchedMethod, Near, PromptMethod, Proposal, Question
from ..prompting.point_prompts import PointPrompts
from .encoding import SliceEncoder
from .exclusion import Excluded
from .finding.prior import Prior
from .presence import PresenceParameters, local_spread
from .results import SliceResult
from .slices import Structure

_SLICES = 10  # that stand for a volume
_KEPT = 32  # slices whose spread is kept


@dataclass(frozen=True, eq=False)
class DrawnSlice:
    """A slice of the query that a person drew on: (H, W) bool mask of one label."""

    label: int
    index: int
    mask: np.ndarray


@dataclass(frozen=True, eq=False)
class Work:
    """One volume to segment, along one axis, in canonical orientation.

    Attributes:
        slices: encodes slices on demand; frame: slice pixels to the region of interest, the square
            that maps, prompts and masks are worked in.
        method: the prompt method on these slices.
        structures: what to segment.
        drawn: slices of the query itself that a person drew.
        first, last: slices to work on, both included.
        spacing: (dx, dy, dz) mm of slices.
        labels: (S, H, W), filled by the strategy.
        assume_present: every slice of the range is known to hold every structure.
        priors: by label, where structures that nobody drew in the query are expected.
        excluded: what belongs to other structures, or None.
        fields: displacement from one slice to its neighbour, registered when first needed.
        spreads: those of `spread` that are kept.
    """

    slices: SliceEncoder
    frame: SliceFrame
    method: PromptMethod
    structures: tuple[Structure, ...]
    drawn: tuple[DrawnSlice, ...]
    first: int
    last: int
    spacing: tuple[float, float, float]
    labels: np.ndarray
    assume_present: bool = False
    priors: Mapping[int, Prior] = field(default_factory=dict)
    excluded: Excluded | None = None
    fields: dict[tuple[int, int], Tensor] = field(default_factory=dict)
    spreads: dict[int, np.ndarray] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        return self.slices.encoders.device

    @property
    def pixel_mm2(self) -> float:
        return self.spacing[0] * self.spacing[1]

    @cached_property
    def drawn_labels(self) -> frozenset[int]:
        """Of structures that a person drew in this volume."""
        return frozenset(one.label for one in self.drawn)

    @property
    def undrawn(self) -> list[Structure]:
        """Structures that nobody drew in this volume."""
        return [one for one in self.structures if one.label not in self.drawn_labels]

    def is_drawn(self, label: int, index: int) -> bool:
        """Whether a person drew this structure in this slice."""
        return any(one.label == label and one.index == index for one in self.drawn)

    @cached_property
    def thin_grey(self) -> np.ndarray:
        """Grey levels of a thinned copy of the volume, flat: what it looks like on the whole."""
        steps = [max(1, n // most) for n, most in zip(self.labels.shape, (32, 96, 96), strict=True)]
        thin = self.slices.stack[tuple(slice(None, None, step) for step in steps)]
        grey = normalise(thin, self.slices.intensity)
        return (grey.mean(-1) if grey.ndim == 4 else grey).ravel()

    @cached_property
    def thin_spread(self) -> np.ndarray:
        """The spread of grey levels in the body, in some slices and thinned, flat."""
        last, air = len(self.labels) - 1, PresenceParameters.air
        several = [np.zeros(1, np.float32)]  # all there is in a volume of air
        for index in sorted({round(last * n / (_SLICES - 1)) for n in range(_SLICES)}):
            grey, spread = (one[::3, ::3] for one in (self.grey(index), self.spread(index)))
            several.append(np.maximum(spread[grey > air], air + 1e-3))  # even, but no air
        return np.concatenate(several)

    def grey(self, index: int) -> np.ndarray:
        """One slice over the region of interest, float32 (R, R) in [0, 1]."""
        return self.slices.picture(index).cpu().numpy()

    def spread(self, index: int) -> np.ndarray:
        """How much its grey levels vary around each place, (R, R) in [0, 1]."""
        if index not in self.spreads:
            if len(self.spreads) >= _KEPT:
                self.spreads.pop(next(iter(self.spreads)))
            self.spreads[index] = local_spread(self.grey(index))
        return self.spreads[index]

    def propose(
        self, structure: Structure, encoded: EncodedSlices, indices: Sequence[int],
        near: Near | None = None,
    ) -> Proposal:
        """What the method says of a structure in the slices `indices`, which are `encoded`; what is
        excluded bounds it."""
        return self.propose_all([Question(encoded, structure.kept, near)], [indices])[0]

    def propose_all(
        self, questions: Sequence[Question], indices: Sequence[Sequence[int]]
    ) -> list[Proposal]:
        """The same of several structures, each in slices of its own."""
        if self.excluded is None:
            return self._proposed(questions)
        bounds = self.excluded
        free = [
            replace(asked, near=bounds.near(asked.near, here))
            for asked, here in zip(questions, indices, strict=True)
        ]
        return [
            bounds.bounded(proposal, here, asked.near)
            for proposal, here, asked in zip(self._proposed(free), indices, questions, strict=True)
        ]

    def _proposed(self, questions: Sequence[Question]) -> list[Proposal]:
        if isinstance(self.method, BatchedMethod):
            return self.method.propose_all(questions)
        return [self.method.propose(asked.encoded, asked.kept, asked.near) for asked in questions]

    def outside(self, logits: Tensor, indices: Sequence[int]) -> Tensor:
        """Logits (N, m, m) of slices, negative where something is excluded."""
        return logits if self.excluded is None else self.excluded.outside(logits, indices)

    def in_slice(self, prompts: PointPrompts) -> PointPrompts:
        """Points of the region of interest as points of the slice."""
        return PointPrompts(self.frame.to_slice(prompts.points), prompts.labels)

    def write(self, index: int, logits: dict[int, Tensor]) -> dict[int, int]:
        """Fills one slice from (m, m) logits by label: each pixel goes to the highest positive one,
        drawn slices stay as they were drawn, smaller drawings on top, and nothing goes where
        something is excluded. Returns pixels by label."""
        plane = self.labels[index]
        plane[:] = 0
        if logits:
            stacked = torch.stack(list(logits.values()))[None]
            best, which = self.frame.logits_to_slice(stacked)[0].max(0)
            names = torch.tensor(list(logits), device=best.device)
            chosen = torch.where(best > 0, names[which], torch.zeros_like(which))
            plane[:] = chosen.cpu().numpy().astype(plane.dtype)
        own = [d for d in self.drawn if d.index == index]
        for d in own:
            plane[(plane == d.label) & ~d.mask] = 0
        for d in sorted(own, key=lambda one: -np.count_nonzero(one.mask)):
            plane[d.mask] = d.label
        if self.excluded is not None:
            plane[self.excluded.stack[index]] = 0
        return {label: int((plane == label).sum()) for label in logits} | {
            d.label: int((plane == d.label).sum()) for d in own
        }

    def slice_result(
        self,
        index: int,
        structure: Structure,
        pixels: Mapping[int, int],
        prompts: PointPrompts,
        score: float,
    ) -> SliceResult:
        """The result of a slice that was prompted, or that a person drew on.

        Args:
            pixels: by label, as `write` gave them.
            prompts: in pixels of the region of interest.
        """
        label, area = structure.label, pixels.get(structure.label, 0)
        by_hand = self.is_drawn(label, index)
        return SliceResult(
            index, label,
            None if by_hand else self.in_slice(prompts),
            1.0 if by_hand else score,
            area > 0, area * self.pixel_mm2, "support" if by_hand else "prompted",
        )
