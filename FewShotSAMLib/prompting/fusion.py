"""The rule by which SynPo and FoB work together (method "auto").

The rule, step by step (`Testing/Accuracy/fusion.py` measures each):

1. FoB's network knows how much each place looks like the structure (the cosine with the
   foreground prototype, before its coarse map makes yes or no of it). SynPo's synergy multiplies
   what several encoders say; FoB joins as one more of them.
2. The product lives on a scale of its own, and models that read a confidence map, as well as
   SynPo's interval for negatives, know SynMap's. So the product only reorders: the slice's highest
   SynMap value goes to the place where the product is highest, and so on. The joined map is the
   mean of SynMap and its reordered self: where both agree nothing changes.
3. Positive points come from the joined map as SynPo takes them.
4. Negative points are FoB's around the structure, but for those where the joined map is high: more
   than a quarter of the way from the support's background to its foreground. One background point
   inside the structure does more harm than nine around it do good.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from .interfaces import Proposal
from .point_prompts import PointPrompts
from .synpo import SynPoSupport

NEAR_BACKGROUND = 0.25  # share of the way from background to foreground


def joined_maps(confidence: Tensor, alike: Tensor) -> Tensor:
    """SynMap and FoB's likeness as one map on SynMap's scale (steps 1 and 2).

    Args:
        confidence: (N, R, R) SynMaps; -inf where nothing may be found.
        alike: (N, R, R), cosine with FoB's foreground prototype.

    Returns:
        (N, R, R); -inf where `confidence` is.
    """
    flat = confidence.flatten(1)
    product = flat.clamp(min=0) * alike.flatten(1).clamp(min=0)
    # Where either says no, the order is SynMap's own, below all places where both say yes.
    order = torch.where(product > 0, product, flat - 2).argsort(dim=1, stable=True)
    reordered = torch.empty_like(flat).scatter_(1, order, flat.sort(1).values)
    return torch.where(flat.isinf(), flat, 0.5 * (flat + reordered)).view_as(confidence)


def joined_points(
    synpo: PointPrompts, fob: PointPrompts, confidence: np.ndarray, support: SynPoSupport
) -> PointPrompts:
    """SynPo's positives and FoB's negatives (steps 3 and 4).

    Args:
        synpo: taken from the joined map; fob: FoB's.
        confidence: (R, R), the joined map.
        support: whose background and foreground set the limit.
    """
    negatives = fob.negatives
    low, high = support.background_mean, support.self_confidence
    limit = low + NEAR_BACKGROUND * (high - low)
    if len(negatives):
        side = np.array(confidence.shape[::-1]) - 1
        x, y = np.clip(np.rint(negatives), 0, side).astype(int).T
        negatives = negatives[confidence[y, x] < limit]
    return PointPrompts.of(synpo.positives, negatives)


def with_background(
    proposal: Proposal, fob: Sequence[PointPrompts], supports: Sequence[SynPoSupport]
) -> Proposal:
    """A proposal for N slices with its positives and FoB's negatives (steps 3 and 4)."""
    maps = proposal.confidence.cpu().numpy()
    each = zip(proposal.prompts, fob, maps, supports, strict=True)
    return replace(proposal, prompts=[joined_points(*one) for one in each])
