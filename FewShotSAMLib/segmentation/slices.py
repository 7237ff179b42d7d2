"""From points and confidence maps to masks, and their refinement (SynPo, methods section 1).

All structures of all slices of a batch are decoded together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..models.interfaces import PromptableModel, PromptBatch
from ..prompting.encoded_slices import EncodedSlices
from ..prompting.interfaces import Kept, PromptMethod
from ..prompting.mask_parameters import MaskParameters
from ..prompting.point_prompts import PointPrompts
from ..prompting.refinement import mask_prompt_logits, refine_masks


@dataclass(frozen=True, eq=False)
class MarkedSlice:
    """A slice that a person drew on, encoded, with the method as it works on its volume and what
    the drawing covers, (R, R) from 0 to 1."""

    encoded: EncodedSlices
    method: PromptMethod
    cover: Tensor


@dataclass(frozen=True, eq=False)
class Structure:
    """One class to segment: its label, name, what the method keeps of its marked slices, these
    themselves, and which of the supports each is of."""

    label: int
    name: str
    kept: tuple[Kept, ...]
    marked: tuple[MarkedSlice, ...] = ()
    supports: tuple[int, ...] = ()

    def by_support(self) -> list[Structure]:
        """The same as each of several supports alone shows it; nothing where there is one."""
        numbers = sorted(set(self.supports))
        return [self._of(number) for number in numbers] if len(numbers) > 1 else []

    def _of(self, number: int) -> Structure:
        rows = [row for row, one in enumerate(self.supports) if one == number]
        return replace(
            self, kept=tuple(self.kept[row] for row in rows),
            marked=tuple(self.marked[row] for row in rows), supports=(number,) * len(rows),
        )


@dataclass(frozen=True, eq=False)
class SliceMasks:
    """Masks of B prompts: logits (B, m, m) over the model's square and quality (B,)."""

    logits: Tensor
    quality: Tensor


def certainty(model: PromptableModel, quality: Tensor, affinity: Tensor) -> float:
    """How sure it is, 0 to 1, that a slice holds the structure where the mask says.

    The embedded model judges that itself. SAM's own score knows nothing of the structure that was
    asked for (methods section 1, step 6); there the confidence map's peak decides.
    """
    return float((quality if model.judges_presence else affinity).clamp(0, 1))


def pack(
    prompts: Sequence[PointPrompts], roi_size: int, input_size: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Points (B, P, 2) in model pixels and labels (B, P), padded with -1, of B prompt sets."""
    most = max((len(p) for p in prompts), default=0)
    points = np.zeros((len(prompts), most, 2), np.float32)
    labels = np.full((len(prompts), most), -1, np.int64)
    for row, p in enumerate(prompts):
        points[row, : len(p)] = (p.points + 0.5) * (input_size / roi_size) - 0.5
        labels[row, : len(p)] = p.labels
    return torch.from_numpy(points).to(device), torch.from_numpy(labels).to(device)


def decode(
    model: PromptableModel,
    encoded: EncodedSlices,
    picture: Tensor,
    prompts: Sequence[PointPrompts],
    *,
    roi_size: int,
    mask_index: int = 0,
    masks: Tensor | None = None,
    confidence: Tensor | None = None,
) -> SliceMasks:
    """One mask for each of B prompt sets; `picture` (B,) says which slice each belongs to."""
    points, labels = pack(prompts, roi_size, model.input_size, picture.device)
    logits, quality = model.decode(
        encoded.embeddings, picture,
        PromptBatch(points, labels, masks=masks, confidence=confidence),
    )
    index = min(mask_index, logits.shape[1] - 1)
    return SliceMasks(logits[:, index].float(), quality[:, index].float())


def segment_slices(
    model: PromptableModel,
    encoded: EncodedSlices,
    picture: Tensor,
    prompts: Sequence[PointPrompts],
    confidence: Tensor,
    parameters: MaskParameters,
    masks: Tensor | None = None,
) -> SliceMasks:
    """First mask from points, then, where the parameters ask for it, the noise-aware refinement:
    clean, keep the component that the map backs most, give it back as mask prompt with the same
    points, clean again.

    Args:
        confidence: (B, R, R), each prompt's own map.
        masks: (B, 1, R, R) mask prompts of the first mask, NaN where there is none.
    """
    p = parameters
    share = {"roi_size": confidence.shape[-1], "mask_index": p.mask_index}
    score = confidence[:, None] if model.uses_confidence else None
    first = decode(model, encoded, picture, prompts, masks=masks, confidence=score, **share)
    if not p.refine:
        return first
    kept = clean(first.logits, confidence, p)
    masks = mask_prompt_logits(first.logits[:, None], kept, outside=p.outside_logit)
    second = decode(model, encoded, picture, prompts, masks=masks, confidence=score, **share)
    kept = clean(second.logits, confidence, p)
    return SliceMasks(only(second.logits, kept), second.quality)


def clean(logits: Tensor, confidence: Tensor, p: MaskParameters) -> Tensor:
    """Opened and reduced to the best component: bool (B, m, m) of logits (B, m, m)."""
    size, roi_size = logits.shape[-1], confidence.shape[-1]
    score = F.interpolate(
        confidence[:, None], size=(size, size), mode="bilinear", align_corners=False,
        antialias=size < roi_size,
    )[:, 0]
    least = max(1, round(p.minimum_component_area * (size / roi_size) ** 2))
    kept = refine_masks(
        (logits > 0).cpu().numpy(), score.cpu().numpy(),
        minimum_area=least, minimum_share=p.minimum_component_share,
    )
    return torch.from_numpy(kept).to(logits.device)


def only(logits: Tensor, kept: Tensor) -> Tensor:
    """Logits with what lies outside of `kept` made negative, but for the one cell around it: what
    the opening took from the edges comes back there, which is better (by 0.01 of Dice,
    Testing/Accuracy/synpo_points.py)."""
    near = F.max_pool2d(kept[:, None].float(), 3, 1, 1)[:, 0] > 0
    return torch.where(near, logits, logits.clamp(max=-1.0) - 4.0)
