"""What was found of a structure in one slice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from ..prompting.interfaces import Kept
from ..prompting.point_prompts import PointPrompts


@dataclass(frozen=True)
class Signals:
    """What speaks for a mask, each from 0 to 1.

    Attributes:
        certainty: the model's own (see `slices.certainty`).
        agreement: Dice of the mask that was carried here and the model's; 1 where none was carried.
        likeness: how much its grey levels look like those of where it was followed from.
        expected: Dice with the body's plan; 1 where a person drew in this volume, a half in another
            patient without a plan.
        look: how much what lies where the plan expects it is as bright as the marked structure.
        reverse: Dice of the marked slice segmented back; 1 where a person drew in this volume.
        border, closed, extent, round, beside, way, whole, plan: what the finished labels show (see
            `evidence`): grey levels that change across the border, and all around; the mask's width
            and its roundness as shares of the structure's largest; the least certainty of this
            slice and those beside it, and on the way to it; the model's certainty of the whole
            structure, and the whole structure's Dice with the body's plan.
    """

    certainty: float
    agreement: float = 1.0
    likeness: float = 1.0
    expected: float = 1.0
    look: float = 1.0
    reverse: float = 1.0
    border: float = 1.0
    closed: float = 1.0
    extent: float = 1.0
    round: float = 1.0
    beside: float = 1.0
    way: float = 1.0
    whole: float = 1.0
    plan: float = 1.0


@dataclass(frozen=True, eq=False)
class Found:
    """A structure's mask in one slice, (R, R) logits, with its score, prompts and signals; None
    where a person drew it or it was asked for by itself. `kept`: what of the marked slices it was
    found by; None for all."""

    logits: Tensor
    score: float
    prompts: PointPrompts | None
    source: str
    signals: Signals | None = None
    kept: tuple[Kept, ...] | None = None


Masks = dict[tuple[int, int], Found]  # by (label, slice)


def inside(logits: Tensor, size: int) -> np.ndarray:
    """The mask, bool (size, size), of logits (m, m)."""
    return (resized(logits, size) > 0).cpu().numpy()


def resized(logits: Tensor, size: int) -> Tensor:
    """(m, m) logits at another size."""
    if logits.shape[-1] == size:
        return logits
    return F.interpolate(
        logits[None, None], size=(size, size), mode="bilinear", align_corners=False,
        antialias=size < logits.shape[-1],
    )[0, 0]
