"""Label maps to pictures: tissues, textures, coil shading, noise, and what scanners do to them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .anatomy import Draw, smooth_noise, sources
from .body_plans import TISSUES


@dataclass(frozen=True, eq=False)
class Appearance:
    """How each tissue of B anatomies looks.

    Attributes:
        brightness: (B, L) mean of each label, 0 to 1 (label 0 is the air around).
        texture: (B, L, 4) amplitude of fine, middle, coarse noise and of vessels.
        inverted: (B,) bool, bright and dark exchanged.
        speckle: (B,) amplitude of multiplicative speckle.
    """

    brightness: Tensor
    texture: Tensor
    inverted: Tensor
    speckle: Tensor


def random_appearance(tissue: Tensor, generator: torch.Generator) -> Appearance:
    """Looks for anatomies whose solids have these tissues, (B, K) long."""
    rand, randn = sources(generator, tissue.device)
    b = len(tissue)
    brightness = _brightness(tissue, rand, randn)
    return Appearance(
        brightness=brightness,
        texture=_texture(tissue, rand),
        inverted=rand(b) < 0.15,
        speckle=torch.where(rand(b) < 0.12, rand(b) * 0.5, torch.zeros(b, device=tissue.device)),
    )


def _brightness(tissue: Tensor, rand: Draw, randn: Draw) -> Tensor:
    """(B, K + 1), the air first."""
    b, k = tissue.shape
    flat = rand(b, TISSUES)
    # CT-like: soft tissues close together, few very bright or dark
    close = (0.55 + randn(b, TISSUES) * 0.09).clamp(0.05, 1)
    close = torch.where(rand(b, TISSUES) < 0.25, flat, close)
    # MR-like: mostly dark with bright organs
    dark = flat**1.8
    kind = rand(b, 1)
    means = torch.where(kind < 0.4, close, torch.where(kind < 0.75, dark, flat))
    brightness = means.gather(1, tissue) + randn(b, k) * 0.025
    air = torch.where(rand(b, 1) < 0.85, rand(b, 1) * 0.05, rand(b, 1))
    return torch.cat([air, brightness.clamp(0.01, 1)], 1)


def _texture(tissue: Tensor, rand: Draw) -> Tensor:
    """(B, K + 1, 4), the air first."""
    b, device = len(tissue), tissue.device
    strength = torch.tensor([0.03, 0.05, 0.05, 0.12], device=device) * (0.4 + rand(b, 1, 1))
    texture = rand(b, TISSUES, 4) ** 2 * 1.6 * strength
    texture[..., 3] = torch.where(rand(b, TISSUES) < 0.3, texture[..., 3] * 2, 0.0)
    busy = rand(b, TISSUES, 1) < 0.12  # bowel and the like
    texture = torch.where(busy, texture * 3, texture)
    return torch.cat([torch.zeros(b, 1, 4, device=device),
                      texture.gather(1, tissue[..., None].expand(-1, -1, 4))], 1)


def another_scan(look: Appearance, generator: torch.Generator, strength: Tensor) -> Appearance:
    """The same protocol on another person; strength (B,), 0 changes nothing, 1 is usual."""
    noise = torch.randn(
        look.brightness.shape, generator=generator, device=look.brightness.device
    )
    noise[:, 0] = 0
    return Appearance(
        (look.brightness + noise * 0.05 * strength[:, None]).clamp(0, 1),
        look.texture,
        look.inverted,
        look.speckle,
    )


def render(
    labels: Tensor, look: Appearance, generator: torch.Generator
) -> Tensor:
    """(B, H, W) label maps -> (B, 1, H, W) pictures in [0, 1]."""
    b, h, _ = labels.shape
    picture = _blurred(_textured(labels, look, generator).clamp(min=0), generator)
    rand = torch.rand(b, 8, generator=generator, device=labels.device)
    shade = smooth_noise(b, 1, h, 2, generator, labels.device)
    picture = picture * torch.exp(shade * (rand[:, 0] * 0.3).view(-1, 1, 1, 1))
    return _windowed(_noisy(picture, look.speckle, rand, generator), look.inverted, rand)


def _textured(labels: Tensor, look: Appearance, generator: torch.Generator) -> Tensor:
    """Each label's brightness and texture: (B, 1, H, W)."""
    b, h, _ = labels.shape
    flat = labels.flatten(1)
    noises = torch.cat(
        [smooth_noise(b, 1, h, cells, generator, labels.device) for cells in (h // 3, 20, 7)], 1
    )
    ridge = smooth_noise(b, 1, h, 11, generator, labels.device)
    vessels = torch.exp(-((ridge / 0.09) ** 2)) * (noises[:, 2:3] > -0.3)
    layers = torch.cat([noises, vessels], 1).flatten(2)
    amplitude = look.texture.gather(1, flat[..., None].expand(-1, -1, 4))
    picture = look.brightness.gather(1, flat).view(b, 1, h, h)
    return picture + (layers.transpose(1, 2) * amplitude).sum(-1).view(b, 1, h, h)


def _noisy(picture: Tensor, speckle: Tensor, rand: Tensor, generator: torch.Generator) -> Tensor:
    """With speckle, and with normal noise or, as in magnitude images of MR, Rician."""
    grain, spots = (
        torch.randn(picture.shape, generator=generator, device=picture.device) for _ in range(2)
    )
    spots = F.avg_pool2d(spots, 3, 1, 1) * 2
    picture = picture * (1 + spots * speckle.view(-1, 1, 1, 1))
    level = (rand[:, 1] ** 2 * 0.07).view(-1, 1, 1, 1)
    rician = torch.sqrt((picture + grain * level) ** 2 + (grain.flip(2) * level) ** 2)
    return torch.where((rand[:, 2] < 0.5).view(-1, 1, 1, 1), rician, picture + grain * level)


def _windowed(picture: Tensor, inverted: Tensor, rand: Tensor) -> Tensor:
    """Robust range to [0, 1], gamma, and the inversion of some."""
    b = picture.shape[0]
    values = picture[..., ::3, ::3].flatten(1)
    low = values.quantile(0.01, dim=1)
    high = values.quantile(0.995, dim=1)
    high = high * (0.85 + 0.3 * rand[:, 3])
    span = (high - low).clamp(min=1e-3)
    picture = (picture - low.view(-1, 1, 1, 1)) / span.view(-1, 1, 1, 1)
    gamma = torch.exp((rand[:, 4] - 0.5) * 0.9).view(b, 1, 1, 1)
    picture = picture.clamp(1e-4, 1) ** gamma
    return torch.where(inverted.view(b, 1, 1, 1), 1 - picture, picture)


def _blurred(picture: Tensor, generator: torch.Generator) -> Tensor:
    """Each picture blurred by its own Gaussian, wider along one axis where slices were thick."""
    b, _, h, _ = picture.shape
    device = picture.device
    sigma = torch.rand(b, 2, generator=generator, device=device) * 0.7 + 0.35
    sigma = sigma * (h / 256) ** 0.5
    thick = torch.rand(b, 2, generator=generator, device=device) < 0.06
    sigma = torch.where(thick, sigma + 2.0 * h / 256, sigma)
    reach = torch.arange(-4, 5, device=device, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (reach / sigma[..., None]) ** 2)
    kernel = kernel / kernel.sum(-1, keepdim=True)
    stack = picture.view(1, b, h, h)
    stack = F.conv2d(stack, kernel[:, 0].view(b, 1, 9, 1), padding=(4, 0), groups=b)
    stack = F.conv2d(stack, kernel[:, 1].view(b, 1, 1, 9), padding=(0, 4), groups=b)
    return stack.view(b, 1, h, h)
