"""Prompts to learn from, as the generators really make them: points from the confidence map, some
of them wrong, masks (`mask_prompts`), boxes, none at all."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..models.interfaces import PromptBatch
from .anatomy import Draw, sources
from .mask_prompts import mask_prompts


def training_prompts(
    truth: Tensor, support: Tensor, neighbours: Tensor, synergy: Tensor,
    low: Tensor, high: Tensor, generator: torch.Generator, kind: Tensor | None = None,
) -> PromptBatch:
    """Prompts for B masks, as varied as inference makes them.

    Args:
        truth: (B, S, S) the query's mask; support: (B, S, S) the support's.
        neighbours: (B,) bool, support and query are neighbouring slices.
        synergy: (B, h, h) the fused confidence map of the query.
        low, high: (B,) mean and deviation of the support's negative map.
        kind: (B,) 0 points of the truth, 1 SynPo's points and map, 2 mask, 3 box,
            4 mask with SynPo's points and map; random if None.
    """
    b, size, _ = truth.shape
    rand, _ = sources(generator, truth.device)
    if kind is None:
        edges = torch.tensor([0.3, 0.55, 0.78, 0.86], device=truth.device)
        kind = torch.bucketize(rand(b), edges)
    from_map = (kind == 1) | (kind == 4)
    true, synpo = (
        _truth_points(truth, generator), _synpo_points(synergy, low, high, size, generator)
    )
    points = torch.where(from_map[:, None, None], synpo[0], true[0])
    labels = torch.where(from_map[:, None], synpo[1], true[1])
    labels = torch.where(_silent(kind, rand)[:, None], -1, labels)
    boxes = _boxes(truth, generator)
    boxes[(kind != 3) | (truth.flatten(1).sum(1) < 1)] = torch.nan
    masks = mask_prompts(truth, support, neighbours, generator)
    masks[~((kind == 2) | (kind == 4))] = torch.nan
    confidence = synergy[:, None].clone()
    confidence[~_told(kind, rand)] = torch.nan
    return PromptBatch(points, labels, boxes, masks, confidence)


def _silent(kind: Tensor, rand: Draw) -> Tensor:
    """(B,) bool, which prompts have no points beside their mask, box or map."""
    b = len(kind)
    silent = ((kind == 2) & (rand(b) < 0.6)) | ((kind == 3) & (rand(b) < 0.7))
    return silent | (((kind == 1) | (kind == 4)) & (rand(b) < 0.1))


def _told(kind: Tensor, rand: Draw) -> Tensor:
    """(B,) bool, which prompts come with the confidence map."""
    b = len(kind)
    told = ((kind == 1) | (kind == 4)) & (rand(b) < 0.85) | (kind == 2) & (rand(b) < 0.7)
    return told | (kind == 0) & (rand(b) < 0.15)


def _truth_points(truth: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Up to 6 points inside and 10 around, some of them misplaced: (B, 16, 2), (B, 16)."""
    h = truth.shape[-1] // 2
    index = _inside_and_around(*_where_points_lie(truth), generator)
    points = torch.stack([index % h, index // h], -1).float() * 2 + 0.5
    return points, _kept(len(truth), generator, truth.device)


def _where_points_lie(truth: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of each place of a grid of half the size, inside and around: (B, h * h)."""
    half = F.avg_pool2d(truth[:, None], 2)
    h = truth.shape[-1] // 2
    deep = F.avg_pool2d(half, 5, 1, 2)
    inner = (half * deep**3 + 1e-3 * half).flatten(1) + 1e-9
    near = 1 + 2 * int(round(h * 0.012))
    far = 1 + 2 * int(round(h * 0.06))
    ring = F.max_pool2d(half, far, 1, far // 2) - F.max_pool2d(half, near, 1, near // 2)
    outside = (1 - half).flatten(1)
    return inner, (ring.clamp(min=0).flatten(1) + 0.02 * outside) + 1e-9


def _inside_and_around(inner: Tensor, around: Tensor, generator: torch.Generator) -> Tensor:
    """(B, 16) places: 6 inside and 10 around, but for those that are misplaced."""
    rand, _ = sources(generator, inner.device)
    b = len(inner)
    p = torch.multinomial(inner, 6, generator=generator)
    n = torch.multinomial(around, 10, generator=generator)
    # misplaced: positives into the ring, negatives into the structure
    wrong_p = torch.multinomial(around, 6, generator=generator)
    wrong_n = torch.multinomial(inner, 10, generator=generator)
    rate = rand(b, 1) * 0.4
    rate = torch.where(rand(b, 1) < 0.6, 0.0, rate)
    p = torch.where(rand(b, 6) < rate, wrong_p, p)
    n = torch.where(rand(b, 10) < rate * 0.5, wrong_n, n)
    return torch.cat([p, n], 1)


def _kept(b: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """(B, 16) labels of 6 positive and 10 negative points, -1 for those that are left out."""

    def below(first: int, beyond: int) -> Tensor:
        return torch.randint(first, beyond, (b, 1), generator=generator, device=device)

    few = below(0, 2) * 5 + 1
    keep_p = torch.arange(6, device=device) < torch.maximum(few, below(1, 7))
    keep_n = torch.arange(10, device=device) < below(0, 11)
    return torch.cat([torch.where(keep_p, 1, -1), torch.where(keep_n, 0, -1)], 1)


def _synpo_points(
    synergy: Tensor, low: Tensor, high: Tensor, size: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """3 of the map's highest places and 4 of SynPo's negative interval, padded to 16."""
    b, h, _ = synergy.shape
    flat, device = synergy.flatten(1), synergy.device
    top = flat.topk(max(6, h * h // 500), dim=1).indices
    pick = torch.randint(0, top.shape[1], (b, 3), generator=generator, device=device)
    p = top.gather(1, pick)
    inside = _negative_interval(flat, low, high, generator)
    n = torch.multinomial(inside.float() + 1e-6, 4, generator=generator)
    points = torch.cat([p, n], 1)
    points = torch.stack([points % h, points // h], -1).float()
    keep = _far_enough(points[:, 3:], points[:, :3]) & inside.any(1, keepdim=True)
    points = F.pad((points + 0.5) * (size / h) - 0.5, (0, 0, 0, 9))
    labels = torch.full((b, 16), -1, dtype=torch.long, device=device)
    labels[:, :3] = 1
    labels[:, 3:7] = torch.where(keep, 0, -1)
    return points, labels


def _negative_interval(
    flat: Tensor, low: Tensor, high: Tensor, generator: torch.Generator
) -> Tensor:
    """(B, h * h) bool: places in the interval of one of SynPo's settings."""
    device = flat.device
    presets = torch.tensor([[1.0, -0.5], [0.0, -1.5], [0.5, -1.0]], device=device)
    a, z = presets[torch.randint(0, 3, (len(flat),), generator=generator, device=device)].unbind(1)
    return (flat >= (low - a * high)[:, None]) & (flat <= (low - z * high)[:, None])


def _far_enough(negative: Tensor, positive: Tensor) -> Tensor:
    """(B, Q) bool: no positive is nearer than the positives' largest distance."""
    spread = torch.cdist(positive, positive).flatten(1).amax(1)
    return torch.cdist(negative, positive).amin(2) >= spread[:, None]


def _boxes(truth: Tensor, generator: torch.Generator) -> Tensor:
    b, size, _ = truth.shape
    line = torch.arange(size, device=truth.device, dtype=torch.float32)
    columns, rows = truth.amax(1) > 0.5, truth.amax(2) > 0.5
    box = torch.stack([
        torch.where(columns, line, size).amin(1), torch.where(rows, line, size).amin(1),
        torch.where(columns, line, -1).amax(1), torch.where(rows, line, -1).amax(1),
    ], 1)
    side = (box[:, 2:] - box[:, :2]).clamp(min=2).repeat(1, 2)
    noise = torch.randn(b, 4, generator=generator, device=truth.device)
    return box + noise * side * 0.06
