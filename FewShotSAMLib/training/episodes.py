"""Training episodes: a support picture, a query picture, and structures to find in both.

Half of the episodes are two slices of one generated patient, half two patients. Prompts are what
the generators really make: points from the confidence map, some of them wrong, masks of the
neighbouring slice, boxes, none at all.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..models.interfaces import PromptBatch
from .anatomy import another_patient, cut, picture_plane, random_anatomies, smooth_noise
from .rendering import another_scan, random_appearance, render


@dataclass(frozen=True, eq=False)
class Episodes:
    """B pairs of pictures with T structures each.

    Attributes:
        support, query: (B, 1, S, S) pictures in [0, 1].
        support_groups, query_groups: (B, S, S) long, the structure at each pixel, 0 for none.
        support_masks, query_masks: (B, T, S, S) float 0 or 1.
        neighbours: (B,) bool, the two are slices of one patient.
    """

    support: Tensor
    query: Tensor
    support_groups: Tensor
    query_groups: Tensor
    support_masks: Tensor
    query_masks: Tensor
    neighbours: Tensor


def random_episodes(
    pairs: int, targets: int, size: int, generator: torch.Generator, device: torch.device | str
) -> Episodes:
    """Freshly generated episodes at `size` pixels a side."""

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device=device)

    anatomy = random_anatomies(pairs, generator, device)
    neighbours = rand(pairs) < 0.5
    strength = torch.where(neighbours, 0.12 * rand(pairs), 0.4 + 0.9 * rand(pairs))
    other = another_patient(anatomy, generator, torch.where(neighbours, 0.0, strength))
    look = random_appearance(anatomy.tissue, generator)
    look_other = another_scan(look, generator, torch.where(neighbours, 0.15, strength))
    height = rand(pairs) * 2 - 1
    step = torch.where(rand(pairs) < 0.5, 1.0, -1.0) * (0.01 + 0.2 * rand(pairs) ** 1.5)
    drift = torch.randn(pairs, generator=generator, device=device) * 0.08
    zoom = torch.where(rand(pairs) < 0.2, 0.45 + 0.5 * rand(pairs), 0.95 + 0.12 * rand(pairs))
    views = []
    for solids, style, z in (
        (anatomy, look, height),
        (other, look_other, height + torch.where(neighbours, step, drift)),
    ):
        x, y = picture_plane(
            pairs, size, generator, device, spread=strength,
            zoom=torch.where(zoom < 1, torch.ones_like(zoom), zoom),
        )
        views.append((solids, style, z, x, y))
    close = zoom.clamp(max=1).view(-1, 1, 1)
    corner, corner_y = ((1 - close) * (rand(pairs, 1, 1) * 1.2 - 0.6) for _ in range(2))
    pictures, groups, fills = [], [], []
    for solids, style, z, x, y in views:  # a close-up shows the same part in both
        labels, filled = cut(solids, z, x * close + corner, y * close + corner_y)
        pictures.append(render(labels, style, generator))
        lookup = torch.cat(
            [torch.zeros(pairs, 1, dtype=torch.long, device=device), solids.group + 1], 1
        )
        groups.append(lookup.gather(1, labels.flatten(1)).view_as(labels))
        fills.append(filled)
    chosen, whole = _choose(groups, targets, anatomy.containers, neighbours, generator)
    masks = []
    for group, filled in zip(groups, fills, strict=True):
        mask = (group[:, None] == chosen[:, :, None, None]).float()
        body = filled.gather(
            1, (chosen - 1).clamp(0, anatomy.containers - 1)[:, :, None, None]
            .expand(-1, -1, size, size)
        ).float()
        masks.append(torch.where(whole[:, :, None, None], body, mask))
    return Episodes(pictures[0], pictures[1], groups[0], groups[1], masks[0], masks[1], neighbours)


def _choose(
    groups: list[Tensor], targets: int, containers: int, neighbours: Tensor,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Which structures are asked for: (B, T) group ids, and which of them filled.

    Structures that end between two neighbouring slices are asked for more often: a mask that is
    carried from slice to slice has to learn where to stop.
    """
    b, h, _ = groups[0].shape
    count = int(max(g.max() for g in groups)) + 1
    areas = []
    for g in groups:
        area = torch.zeros(b, count, device=g.device)
        area.scatter_add_(1, g.flatten(1), torch.ones_like(g.flatten(1), dtype=torch.float32))
        areas.append(area)
    least = max(6.0, 0.0008 * h * h)
    seen = areas[0] >= least
    found = areas[1] >= least
    weight = seen.float() * areas[0].clamp(min=1) ** 0.2
    absent = torch.where(neighbours, 2.5, 0.5)[:, None]
    weight = weight * torch.where(found, 1.0, absent)
    weight[:, 0] = 1e-6  # only where there is nothing else
    chosen = torch.multinomial(weight, targets, replacement=True, generator=generator)
    body = torch.rand(chosen.shape, generator=generator, device=chosen.device) < 0.08
    shell = torch.randint(1, containers + 1, chosen.shape, generator=generator,
                          device=chosen.device)
    return torch.where(body, shell, chosen), body


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
    device = truth.device

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device=device)

    if kind is None:
        edges = torch.tensor([0.3, 0.55, 0.78, 0.86], device=device)
        kind = torch.bucketize(rand(b), edges)
    true_points, true_labels = _truth_points(truth, generator)
    synpo_points, synpo_labels = _synpo_points(synergy, low, high, size, generator)
    from_map = (kind == 1) | (kind == 4)
    points = torch.where(from_map[:, None, None], synpo_points, true_points)
    labels = torch.where(from_map[:, None], synpo_labels, true_labels)
    silent = ((kind == 2) & (rand(b) < 0.6)) | ((kind == 3) & (rand(b) < 0.7))
    silent = silent | (from_map & (rand(b) < 0.1))
    labels = torch.where(silent[:, None], -1, labels)
    empty = truth.flatten(1).sum(1) < 1
    boxes = _boxes(truth, generator)
    boxes[(kind != 3) | empty] = torch.nan
    masks = _worn_masks(truth, support, neighbours, generator)
    masks[~((kind == 2) | (kind == 4))] = torch.nan
    confidence = synergy[:, None].clone()
    told = from_map & (rand(b) < 0.85) | (kind == 2) & (rand(b) < 0.7)
    confidence[~(told | (kind == 0) & (rand(b) < 0.15))] = torch.nan
    return PromptBatch(points, labels, boxes, masks, confidence)


def _truth_points(truth: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Up to 6 points inside and 10 around, some of them misplaced: (B, 16, 2), (B, 16)."""
    b, size, _ = truth.shape
    device = truth.device
    half = F.avg_pool2d(truth[:, None], 2)
    h = size // 2
    deep = F.avg_pool2d(half, 5, 1, 2)
    inner = (half * deep**3 + 1e-3 * half).flatten(1) + 1e-9
    near = 1 + 2 * int(round(h * 0.012))
    far = 1 + 2 * int(round(h * 0.06))
    ring = F.max_pool2d(half, far, 1, far // 2) - F.max_pool2d(half, near, 1, near // 2)
    outside = (1 - half).flatten(1)
    around = (ring.clamp(min=0).flatten(1) + 0.02 * outside) + 1e-9
    p = torch.multinomial(inner, 6, generator=generator)
    n = torch.multinomial(around, 10, generator=generator)
    # misplaced: positives into the ring, negatives into the structure
    wrong_p = torch.multinomial(around, 6, generator=generator)
    wrong_n = torch.multinomial(inner, 10, generator=generator)
    rate = torch.rand(b, 1, generator=generator, device=device) * 0.4
    rate = torch.where(torch.rand(b, 1, generator=generator, device=device) < 0.6, 0.0, rate)
    swap_p = torch.rand(b, 6, generator=generator, device=device) < rate
    swap_n = torch.rand(b, 10, generator=generator, device=device) < rate * 0.5
    p = torch.where(swap_p, wrong_p, p)
    n = torch.where(swap_n, wrong_n, n)
    index = torch.cat([p, n], 1)
    points = torch.stack([index % h, index // h], -1).float() * 2 + 0.5
    few = torch.randint(0, 2, (b, 1), generator=generator, device=device) * 5 + 1
    keep_p = torch.arange(6, device=device) < torch.maximum(
        few, torch.randint(1, 7, (b, 1), generator=generator, device=device))
    keep_n = torch.arange(10, device=device) < torch.randint(
        0, 11, (b, 1), generator=generator, device=device)
    labels = torch.cat([torch.where(keep_p, 1, -1), torch.where(keep_n, 0, -1)], 1)
    return points, labels


def _synpo_points(
    synergy: Tensor, low: Tensor, high: Tensor, size: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """3 of the map's highest places and 4 of SynPo's negative interval, padded to 16."""
    b, h, _ = synergy.shape
    device = synergy.device
    flat = synergy.flatten(1)
    top = flat.topk(max(6, h * h // 500), dim=1).indices
    pick = torch.randint(0, top.shape[1], (b, 3), generator=generator, device=device)
    p = top.gather(1, pick)
    presets = torch.tensor([[1.0, -0.5], [0.0, -1.5], [0.5, -1.0]], device=device)
    a, z = presets[torch.randint(0, 3, (b,), generator=generator, device=device)].unbind(1)
    inside = (flat >= (low - a * high)[:, None]) & (flat <= (low - z * high)[:, None])
    weight = inside.float() + 1e-6
    n = torch.multinomial(weight, 4, generator=generator)
    points = torch.cat([p, n], 1)
    points = torch.stack([points % h, points // h], -1).float()
    positive, negative = points[:, :3], points[:, 3:]
    spread = torch.cdist(positive, positive).flatten(1).amax(1)
    nearest = torch.cdist(negative, positive).amin(2)
    keep = (nearest >= spread[:, None]) & inside.any(1, keepdim=True)
    points = (points + 0.5) * (size / h) - 0.5
    points = F.pad(points, (0, 0, 0, 9))
    labels = torch.full((b, 16), -1, dtype=torch.long, device=device)
    labels[:, :3] = 1
    labels[:, 3:7] = torch.where(keep, 0, -1)
    return points, labels


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


def _worn_masks(
    truth: Tensor, support: Tensor, neighbours: Tensor, generator: torch.Generator
) -> Tensor:
    """The neighbouring slice's mask, or the truth shifted, eaten and blurred, as logits."""
    b, size, _ = truth.shape
    device = truth.device

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device=device)

    small = F.avg_pool2d(truth[:, None], 4)
    s = small.shape[-1]
    theta = torch.zeros(b, 2, 3, device=device)
    theta[:, 0, 0] = theta[:, 1, 1] = 1
    extent = small.flatten(1).mean(1).sqrt().clamp(max=0.4)
    theta[:, :, 2] = torch.randn(b, 2, generator=generator, device=device) * 0.3 * extent[:, None]
    moved = F.grid_sample(small, F.affine_grid(theta, small.shape, align_corners=False),
                          align_corners=False)
    soft = F.avg_pool2d(moved, 5, 1, 2)
    noise = smooth_noise(b, 1, s, 8, generator, device) * (0.35 * rand(b)).view(b, 1, 1, 1)
    level = (0.25 + 0.5 * rand(b)).view(b, 1, 1, 1)
    worn = (soft + noise > level).float()
    light = (rand(b) < 0.35).view(b, 1, 1, 1)
    worn = torch.where(light, small, worn)
    carried = F.avg_pool2d(support[:, None], 4)
    carry = (neighbours & (rand(b) < 0.75)).view(b, 1, 1, 1)
    worn = torch.where(carry, carried, worn)
    sharp = (3 + 9 * rand(b)).view(b, 1, 1, 1)
    return (worn * 2 - 1) * sharp
