"""Mask prompts to learn from: the neighbouring slice's mask, a worn truth, or a plan, which is what
a support of another patient gives: soft, displaced, and often wrong about where an organ ends."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .anatomy import column, smooth_noise, sources

STRIDE = 4  # pixels of a picture per pixel of a mask prompt
_STEEP, _SURE = 2.0, 0.02  # of a plan's logits, as the product makes them


def mask_prompts(
    truth: Tensor, support: Tensor, neighbours: Tensor, generator: torch.Generator
) -> Tensor:
    """Logits (B, 1, S/4, S/4).

    Args:
        truth: (B, S, S) the query's mask; support: (B, S, S) the support's.
        neighbours: (B,) bool, support and query are neighbouring slices: most of these get the
            support's mask as it is, most of the others a plan.
    """
    rand, _ = sources(generator, truth.device)
    b, seen = len(truth), F.avg_pool2d(truth[:, None], STRIDE)
    carried = F.avg_pool2d(support[:, None], STRIDE)
    sharp = column(3 + 9 * rand(b))
    planned = ~neighbours & (rand(b) < 0.7)
    worn = _worn(seen, generator)
    worn = torch.where(column(neighbours & (rand(b) < 0.75)), carried, worn)
    return torch.where(
        column(planned), _plans(seen, carried, generator), (worn * 2 - 1) * sharp
    )


def _worn(seen: Tensor, generator: torch.Generator) -> Tensor:
    """The truth (B, 1, s, s), shifted and eaten away; a third of them as they are."""
    b, device = len(seen), seen.device
    rand, _ = sources(generator, device)
    soft = F.avg_pool2d(_moved(seen, generator), 5, 1, 2)
    noise = smooth_noise(b, 1, seen.shape[-1], 8, generator, device)
    noise = noise * column(0.35 * rand(b))
    level = column(0.25 + 0.5 * rand(b))
    return torch.where(column(rand(b) < 0.35), seen, (soft + noise > level).float())


def _plans(seen: Tensor, carried: Tensor, generator: torch.Generator) -> Tensor:
    """Logits of where structures are expected; those that are not there are expected where the
    support has them, in two of three cases."""
    b, device = len(seen), seen.device
    rand, _ = sources(generator, device)
    missing = (seen.flatten(1).amax(1) <= 0) & (rand(b) < 0.67)
    place = torch.where(column(missing), carried, seen)
    place = _spread(_cut(_warped(place, generator), generator), generator)
    return _STEEP * torch.logit(place, _SURE)


def _warped(masks: Tensor, generator: torch.Generator) -> Tensor:
    """Displaced by smooth fields, as a coarse registration errs."""
    b, side, device = len(masks), masks.shape[-1], masks.device
    rand, _ = sources(generator, device)
    wide = smooth_noise(b, 2, side, 3, generator, device) * column(0.09 * rand(b))
    fine = smooth_noise(b, 2, side, 8, generator, device) * column(0.04 * rand(b))
    line = (torch.arange(side, device=device) + 0.5) / side * 2 - 1
    y, x = torch.meshgrid(line, line, indexing="ij")
    grid = torch.stack([x, y], -1) + (wide + fine).permute(0, 2, 3, 1)
    return F.grid_sample(masks, grid, align_corners=False)


def _cut(masks: Tensor, generator: torch.Generator) -> Tensor:
    """A third end at a line through them, as plans end in the middle of an organ, and a sixth
    go on beyond their edge."""
    b, side, device = len(masks), masks.shape[-1], masks.device
    rand, randn = sources(generator, device)
    line = torch.arange(side, device=device, dtype=torch.float32)
    through = torch.multinomial(masks.flatten(1) + 1e-6, 1, generator=generator)[:, 0]
    turn = rand(b) * 2 * torch.pi
    across = torch.cos(turn)[:, None] * (line - (through % side)[:, None])
    down = torch.sin(turn)[:, None] * (line - (through // side)[:, None])
    ragged = smooth_noise(b, 1, side, 6, generator, device)[:, 0] * side * 0.02
    kept = (across[:, None] + down[:, :, None] + ragged < 0).float()[:, None]
    kind = rand(b)
    radius = 1 + side // 32
    grown = F.max_pool2d(masks, 2 * radius + 1, 1, radius)
    lobes = (smooth_noise(b, 1, side, 5, generator, device) > 0).float()
    longer = torch.maximum(masks, grown * lobes)
    return torch.where(
        column(kind < 0.33), masks * kept, torch.where(column(kind < 0.5), longer, masks)
    )


def _spread(masks: Tensor, generator: torch.Generator) -> Tensor:
    """From 0 to 1, blurred by up to a twentieth of the side, and less than sure in the end."""
    b, side, device = len(masks), masks.shape[-1], masks.device
    rand, _ = sources(generator, device)
    narrow = F.avg_pool2d(masks, 3, 1, 1)
    reach = 2 * (side // 32) + 1
    wide = F.avg_pool2d(F.avg_pool2d(masks, reach, 1, reach // 2), reach, 1, reach // 2)
    share = column(rand(b))
    return (narrow + (wide - narrow) * share) * column(0.6 + 0.4 * rand(b))


def _moved(masks: Tensor, generator: torch.Generator) -> Tensor:
    """(B, 1, s, s) masks shifted by a part of their size."""
    _, randn = sources(generator, masks.device)
    b = len(masks)
    theta = torch.zeros(b, 2, 3, device=masks.device)
    theta[:, 0, 0] = theta[:, 1, 1] = 1
    extent = masks.flatten(1).mean(1).sqrt().clamp(max=0.4)
    theta[:, :, 2] = randn(b, 2) * 0.3 * extent[:, None]
    grid = F.affine_grid(theta, masks.shape, align_corners=False)
    return F.grid_sample(masks, grid, align_corners=False)
