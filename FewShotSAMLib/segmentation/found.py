"""What was found of a structure in one slice."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from ..prompting.point_prompts import PointPrompts


@dataclass(frozen=True, eq=False)
class Found:
    """A structure's mask in one slice, (R, R) logits, with its score and prompts."""

    logits: Tensor
    score: float
    prompts: PointPrompts | None
    source: str


Masks = dict[tuple[int, int], Found]  # by (label, slice)


def resized(logits: Tensor, size: int) -> Tensor:
    """(m, m) logits at another size."""
    if logits.shape[-1] == size:
        return logits
    return F.interpolate(
        logits[None, None], size=(size, size), mode="bilinear", align_corners=False,
        antialias=size < logits.shape[-1],
    )[0, 0]
