"""SynPo: training-free point prompts from one marked slice (MICCAI 2025).

Two encoders see support and query: SAM's own (position) and DINOv2 (meaning). The mean cosine of
each query place with the support's foreground gives a confidence map per encoder; their synergy
gives positive points at its peaks and negative points where it is as low as in the support's
background. Features come in as one tensor per encoder, in the order (SAM, DINOv2); one encoder
alone works too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from . import points as selection
from .confidence import (
    foreground_cells,
    fuse,
    prototype,
    similarity,
    to_roi,
)
from .point_prompts import PointPrompts
from .synpo_parameters import SynPoParameters


@dataclass(frozen=True, eq=False)
class SynPoSupport:
    """What SynPo keeps of one support slice and mask; made once, used for every query slice.

    prototypes: one (C,) tensor per encoder, the mean of the unit foreground features.
    foreground_share: part of the ROI that the mask covers, 0..1.
    positives: K_p, the number of positive points it asks for.
    background_mean, background_deviation: mu and sigma of the fused negative map.
    has_background: False when the mask covers the whole ROI; there are no negative points then,
        and mu = sigma = 0.
    self_confidence: mean SynMap of the support with itself over the mask: what a perfect query
        would reach. The unit for `SynPo.affinity`.
    """

    prototypes: tuple[Tensor, ...]
    foreground_share: float
    positives: int
    background_mean: float
    background_deviation: float
    has_background: bool
    self_confidence: float


class SynPo:
    """Point prompts from confidence maps. Holds only parameters; every method is pure."""

    def __init__(self, parameters: SynPoParameters | None = None) -> None:
        self.parameters = parameters or SynPoParameters()

    def prepare(
        self, features: Sequence[Tensor], mask: Tensor, *, valid: Tensor | None = None
    ) -> SynPoSupport:
        """Statistics of one support slice.

        features: one (C, h, w) tensor per encoder. mask: (R, R), coverage 0..1 (or bool).
        valid: bool (R, R), pixels of the ROI inside the picture; the padding outside it is no
        background. None = everywhere.
        Raises ValueError for an empty mask, or one that is not R x R.
        """
        size = self.parameters.roi_size
        if tuple(mask.shape) != (size, size):
            raise ValueError(f"the support's mask must be {size} x {size}, not {tuple(mask.shape)}")
        mask = mask.to(features[0].device, torch.float32)
        cells = [foreground_cells(mask, one.shape[-2:]) for one in features]
        prototypes = tuple(
            prototype(one, chosen) for one, chosen in zip(features, cells, strict=True)
        )
        itself = self._fused([one[None] for one in features], [p[None] for p in prototypes])[0, 0]
        # The negative map: the same with background features as queries. Upsampled, a pixel is a
        # background pixel when no foreground cell has part in it.
        foreground = mask > 0
        for one in cells:
            foreground = foreground | (to_roi(one[None].to(torch.float32), size)[0] > 0)
        inside = torch.ones_like(foreground) if valid is None else valid.to(foreground.device)
        background = itself[~foreground & inside]
        if len(background) == 0:
            background = itself[(mask <= 0) & inside]
        has_background = len(background) > 0
        share = float(mask.mean())
        return SynPoSupport(
            prototypes=prototypes,
            foreground_share=share,
            positives=self.parameters.positives(share),
            background_mean=float(background.mean()) if has_background else 0.0,
            background_deviation=float(background.std(correction=0)) if has_background else 0.0,
            has_background=has_background,
            self_confidence=float((itself * mask).sum() / mask.sum()),
        )

    def confidence(self, features: Sequence[Tensor], support: SynPoSupport) -> Tensor:
        """SynMap of query slices: (N, R, R) float32 on the features' device.

        features: one (N, C, h, w) tensor per encoder, in the support's order.
        """
        return self.confidences(features, [support])[0]

    def confidences(self, features: Sequence[Tensor], supports: Sequence[SynPoSupport]) -> Tensor:
        """SynMaps of several supports (or classes) at once: (S, N, R, R) float32."""
        stacked = [
            torch.stack(each) for each in zip(*(s.prototypes for s in supports), strict=True)
        ]
        if len(stacked) != len(features):
            raise ValueError(
                f"the query has features of {len(features)} encoders, the support of {len(stacked)}"
            )
        return self._fused(features, stacked)

    def prompts(
        self,
        confidence: Tensor,
        support: SynPoSupport | Sequence[SynPoSupport],
        *,
        seed: int = 0,
        valid: Tensor | None = None,
    ) -> list[PointPrompts]:
        """Points for each of N query slices.

        confidence: (N, R, R). support: one for all slices, or one per slice (see
        `support_choice.combine`). valid: bool (R, R), pixels of the ROI that lie inside the
        picture; points come only from there. None = everywhere.
        Every slice starts from `seed`, so its points do not depend on the rest of the batch.
        """
        count = len(confidence)
        supports = [support] * count if isinstance(support, SynPoSupport) else list(support)
        if len(supports) != count:
            raise ValueError(f"{count} slices need as many supports, not {len(supports)}")
        if valid is not None:
            confidence = confidence.masked_fill(~valid.to(confidence.device), -torch.inf)
        gamma = self.parameters.gamma
        most = gamma * max((s.positives for s in supports), default=1)
        tops = selection.top_pixels(confidence, most)
        positives = self._positives(
            [top[: gamma * one.positives] for top, one in zip(tops, supports, strict=True)],
            supports, seed,
        )
        negatives = self._negatives(confidence, supports, seed)
        if self.parameters.drop_near_negatives:
            negatives = [
                selection.drop_near(*both) for both in zip(negatives, positives, strict=True)
            ]
        return [PointPrompts.of(*both) for both in zip(positives, negatives, strict=True)]

    def affinity(self, confidence: Tensor, support: SynPoSupport) -> Tensor:
        """How much a slice looks like the support, from its best pixels: (N,).

        0: its best gamma * K_p pixels are as (un)like the structure as the support's background;
        1: as like as the support's own foreground. Comparable between supports.
        """
        flat = confidence.flatten(1)
        best = torch.topk(flat, min(self.parameters.gamma * support.positives, flat.shape[1]))
        span = max(support.self_confidence - support.background_mean, 1e-6)
        return (best.values.mean(dim=1) - support.background_mean) / span

    def _fused(self, features: Sequence[Tensor], prototypes: Sequence[Tensor]) -> Tensor:
        """Fused maps (S, N, R, R) of features (N, C, h, w) and prototypes (S, C), per encoder."""
        size = self.parameters.roi_size
        product_weight, single_weights = self.parameters.synergy_weights(len(features))
        coarse = [
            similarity(query, vectors.to(query.device))
            for query, vectors in zip(features, prototypes, strict=True)
        ]
        # One support at a time: the maps are large, and fresh memory costs more than arithmetic.
        fused = coarse[0].new_empty((*coarse[0].shape[:2], size, size))
        for index in range(len(fused)):
            maps = [to_roi(each[index], size) for each in coarse]
            fused[index] = fuse(maps, product_weight, single_weights)
        return fused

    def _positives(
        self, tops: Sequence[Tensor], supports: Sequence[SynPoSupport], seed: int
    ) -> list[np.ndarray]:
        """Positive points (K, 2) of each slice's highest pixels (P, 2)."""
        points = [np.zeros((0, 2), np.float32)] * len(tops)
        for clusters in {one.positives for one in supports}:
            rows = [row for row, one in enumerate(supports) if one.positives == clusters]
            found = self._centres([tops[row] for row in rows], clusters, seed)
            for row, one in zip(rows, found, strict=True):
                points[row] = one
        return points

    def _negatives(
        self, maps: Tensor, supports: Sequence[SynPoSupport], seed: int
    ) -> list[np.ndarray]:
        """Negative points (K, 2) of each slice's map, (N, R, R)."""
        chosen = self.parameters
        if not chosen.negatives:
            return [np.zeros((0, 2), np.float32) for _ in supports]
        low, high = (
            torch.tensor([
                one.background_mean - factor * one.background_deviation
                if one.has_background else torch.nan for one in supports
            ], device=maps.device)
            for factor in (chosen.alpha, chosen.beta)
        )
        most = chosen.gamma * chosen.negatives
        pixels = selection.interval_sample(maps, low, high, most, seed=seed)
        return self._centres(pixels, chosen.negatives, seed)

    def _centres(
        self, sets: Sequence[Tensor], clusters: int, seed: int
    ) -> list[np.ndarray]:
        return selection.cluster_centres(
            sets, clusters, seed=seed, restarts=self.parameters.kmeans_restarts,
            iterations=self.parameters.kmeans_iterations,
        )
