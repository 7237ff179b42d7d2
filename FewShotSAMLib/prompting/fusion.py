"""SynPo and FoB together."""

from __future__ import annotations

from torch import Tensor

from .point_prompts import PointPrompts


def fuse(
    confidence: Tensor, synpo: PointPrompts, coarse: Tensor, fob: PointPrompts
) -> tuple[Tensor, PointPrompts]:
    """One slice's map (R, R) and points."""
    return confidence * coarse, PointPrompts.of(synpo.positives, fob.negatives)
