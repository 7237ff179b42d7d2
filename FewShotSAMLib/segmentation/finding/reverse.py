"""The reverse check: what was found becomes the support and segments the marked slice back.

What the person drew there is known, so the Dice of the answer tells how good the finding is
(reverse classification accuracy, Valindria et al. 2017).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ...prompting.interfaces import Kept
from ..slices import MarkedSlice, Structure, decode
from ..work import Work
from .expected import dice_of


def reverse_dice(work: Work, structure: Structure, index: int, logits: Tensor) -> float:
    """Dice with the drawing, of the marked slice that comes back best.

    Args:
        index: slice of the query.
        logits: (R, R), the structure's mask there, not empty.
    """
    memory = work.method.remember(work.slices.one(index), logits)
    return max((_back(work, marked, memory) for marked in structure.marked), default=0.0)


def _back(work: Work, marked: MarkedSlice, memory: Kept) -> float:
    """Dice of one marked slice segmented from the memory of a slice of the query."""
    model = work.slices.encoders.model
    proposal = marked.method.propose(marked.encoded, [memory])
    masks = decode(
        model, marked.encoded, torch.zeros(1, dtype=torch.long, device=work.device),
        proposal.prompts, roi_size=marked.cover.shape[-1],
        mask_index=marked.method.masks.mask_index,
        confidence=proposal.confidence[:, None] if model.uses_confidence else None,
    )
    size = masks.logits.shape[-1]
    drawn = F.interpolate(marked.cover[None, None], size=(size, size), mode="area")[0, 0] > 0.5
    return dice_of(masks.logits[0] > 0, drawn)
