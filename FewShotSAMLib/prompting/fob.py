"""FoB (CVPR 2026): a trained network puts background prompts around the structure.

Section numbers are those of the method's description. Arrays are (row, column), points (x, y) in
pixels of the S x S picture that the network sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..models.fob_network import FobNetwork
from ..models.precision import autocast
from .background_ring import in_order, order_of, ring_points
from .point_prompts import PointPrompts
from .pooling import pool_masks, pool_points

SCALE = 20.0  # of the cosine in the coarse map
SURE = 0.96  # coarse map above which a pixel may become a positive point
POSITIVES = 10


@dataclass(frozen=True, eq=False)
class FobSupport:
    """What FoB keeps of one support slice.

    Attributes:
        background: (K, C) prototypes of the ring's points, in order; where there is no ring, those
            of the picture's first corner, which mean nothing.
        foreground: (C,) prototype of the structure.
        has_ring: False where the mask leaves no room for points around it.
    """

    background: Tensor
    foreground: Tensor
    has_ring: bool


@dataclass(frozen=True, eq=False)
class FobAnswer:
    """What FoB says of B pairs of a query and a support.

    Attributes:
        alike: (B, h, w), cosine with the support's foreground prototype.
        coarse: (B, S, S), how likely each pixel is foreground, 0 to 1.
        fit: (B, K, h, w), how each place fits each background prototype (Phi).
        heat: (B, K, S, S), where each background point should be.
        found: (B, K, 2), the heat maps' highest pixels, (0, 0) where none is above 0.
        points: (B, K, 2), the same refined; "repaired" has brought them into FoB's order.
        seen: bool (B, K), which heat maps are above 0 somewhere; in the order of `found`.
    """

    alike: Tensor
    coarse: Tensor
    fit: Tensor
    heat: Tensor
    found: Tensor
    points: Tensor
    seen: Tensor


class Fob:
    """Prompts from FoB's networks. Holds nothing but them; every method is pure.

    Args:
        network: in evaluation mode for inference; training uses the same methods.
        dtype: of the products in the context and the head, which take most of the time after the
            encoder; cosines, prototypes and the refinement are float32 in any case.
    """

    def __init__(self, network: FobNetwork, dtype: torch.dtype = torch.float32) -> None:
        self.network = network
        self.config = network.config
        self.dtype = dtype

    def prepare(self, features: Tensor, mask: Tensor) -> FobSupport:
        """Prototypes of one support slice (sections 2.3, 2.4).

        Args:
            features: (C, h, w).
            mask: (S, S), coverage 0 to 1; pixels covered by half or more count, or where there
                are none, all that are touched. With framing "published" coverage counts as it is.

        Raises:
            ValueError: the mask is empty or not S x S.
        """
        side = self.config.image_size
        if tuple(mask.shape) != (side, side):
            raise ValueError(f"the support's mask must be {side} x {side}, not {tuple(mask.shape)}")
        if not bool((mask > 0).any()):
            raise ValueError("the support's mask is empty: mark at least one pixel of it")
        weights = mask.float() if self.config.framing == "published" else _binary(mask)
        points = ring_points(weights, self.config.points)
        has_ring = points is not None
        places = torch.from_numpy(
            points if has_ring else np.zeros((self.config.points, 2), np.int64)
        ).to(features.device)
        return FobSupport(
            background=pool_points(features[None], places[None], side)[0],
            foreground=pool_masks(features[None], weights.to(features.device)[None])[0],
            has_ring=has_ring,
        )

    def answer(
        self, features: Tensor, threshold: Tensor, background: Tensor, foreground: Tensor
    ) -> FobAnswer:
        """Everything of B queries, each with one support.

        Args:
            features: (B, C, h, w) of the queries; threshold: (B, 1) of the queries.
            background: (B, K, C) and foreground: (B, C) of the supports.
        """
        side = self.config.image_size
        alike = F.cosine_similarity(features, foreground[..., None, None], dim=1)
        coarse = self.coarse(alike, threshold)
        suppressed = features * (1 - alike)[:, None]
        with autocast(features.device, self.dtype):
            if self.config.neck:
                suppressed = self.network.neck(suppressed, alike)
            context, fit = self.network.masked_attention(suppressed, background)
            heat = self.network.head(context)
        heat = F.interpolate(
            heat.float(), size=(side, side), mode="bilinear", align_corners=False
        )
        found, seen = highest(heat)
        points = self.refine(features, found, background)
        return FobAnswer(alike, coarse, fit.float(), heat, found, points, seen)

    def coarse(self, alike: Tensor, threshold: Tensor) -> Tensor:
        """The coarse map (B, S, S) from the cosine with the foreground (section 2.5)."""
        score = torch.sigmoid(0.5 * (SCALE * alike + threshold[:, :, None]))
        side = self.config.image_size
        return F.interpolate(
            score[:, None], size=(side, side), mode="bilinear", align_corners=True
        )[:, 0]

    def refine(self, features: Tensor, found: Tensor, background: Tensor) -> Tensor:
        """Points moved by the refinement (section 2.8): (B, K, 2).

        As published, prototypes are pooled in sorted order and paired with the points as they
        came; "repaired" sorts the points too; "none" leaves them alone.
        """
        if self.config.refinement == "none":
            return found
        ordered = torch.stack(
            [torch.from_numpy(in_order(p)) for p in found.detach().cpu().numpy()]
        ).to(found)
        query = pool_points(features, ordered, self.config.image_size)
        start = ordered if self.config.refinement == "repaired" else found
        return self.network.refine(query, start, background, features)

    def prompts(
        self, answer: FobAnswer, has_ring: Sequence[bool] | None = None
    ) -> list[PointPrompts]:
        """Point prompts of each of the B queries (section 2.9): positives, then negatives.

        A support without a ring gives no negatives, and unless the refinement is "official", nor
        does a heat map without a place.
        """
        result = []
        points = answer.points.detach().float().cpu().numpy()
        found = answer.found.detach().cpu().numpy()
        seen = answer.seen.cpu().numpy()
        for index, coarse in enumerate(answer.coarse.detach().cpu().numpy()):
            negatives = points[index]
            if self.config.refinement == "repaired":
                negatives = negatives[seen[index][order_of(found[index])]]
            elif self.config.refinement == "none":
                negatives = negatives[seen[index]]
            if has_ring is not None and not has_ring[index]:
                negatives = negatives[:0]
            result.append(PointPrompts.of(spread_positives(coarse), negatives))
        return result


def _binary(mask: Tensor) -> Tensor:
    """A mask of coverage, not empty, as 0 and 1."""
    half = mask >= 0.5
    return (half if bool(half.any()) else mask > 0).float()


def highest(maps: Tensor) -> tuple[Tensor, Tensor]:
    """The highest pixel of each map: (B, K, H, W) -> (x, y) (B, K, 2) float, and bool (B, K)
    whether it is above 0. Where it is not, the place is (0, 0)."""
    value, index = maps.flatten(2).max(2)
    width = maps.shape[-1]
    place = torch.stack([index % width, index // width], -1).float()
    seen = value > 0
    return place * seen[..., None], seen


def spread_positives(coarse: np.ndarray, count: int = POSITIVES, sure: float = SURE) -> np.ndarray:
    """Positive points (P, 2), (x, y), evenly spread in raster order over the sure pixels of a
    coarse map (S, S); the highest pixel where none is sure (section 2.9)."""
    rows, columns = np.nonzero(coarse > sure)
    if len(rows) == 0:
        row, column = np.unravel_index(np.argmax(coarse), coarse.shape)
        return np.array([[column, row]], np.float32)
    if len(rows) > count:
        chosen = np.linspace(0, len(rows) - 1, count).astype(int)
        rows, columns = rows[chosen], columns[chosen]
    return np.stack([columns, rows], 1).astype(np.float32)
