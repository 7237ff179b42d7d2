"""How the two slices of an episode are made to differ (methods, section 2, training): a gamma
change of one of them, an affine and an elastic warp of one of them."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

GAMMA = (0.5, 1.5)
ANGLE, SHIFT, SHEAR, SCALE = 5.0, 5.0, 5.0, (0.9, 1.2)  # degrees, pixels, degrees
ALPHA, SIGMA = 10.0, 5.0  # pixels: strength and smoothness of the elastic warp


def gamma_changed(picture: Tensor, gamma: float) -> Tensor:
    """A picture (S, S) between its own darkest and brightest pixel."""
    low, high = picture.min(), picture.max()
    width = (high - low).clamp(min=1e-6)
    return ((picture - low) / width) ** gamma * width + low


def random_gamma(generator: torch.Generator) -> float:
    """Evenly from 0.5 to 1.5."""
    return _between(*GAMMA, generator)


def random_warp(side: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """Where each pixel of the warped picture comes from: (S, S, 2) as `grid_sample` wants it.

    The numbers are drawn on the generator's device, so that a seed warps alike everywhere.
    """
    angle, skew = (math.radians(_between(-a, a, generator)) for a in (ANGLE, SHEAR))
    scale = _between(*SCALE, generator)
    shift = torch.tensor([_between(-SHIFT, SHIFT, generator) for _ in range(2)])
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    matrix = turn @ torch.tensor([[1.0, math.tan(skew)], [0.0, 1.0]]) / scale
    noise = 2 * torch.rand(2, 1, side, side, generator=generator) - 1
    line = torch.arange(side, dtype=torch.float32, device=device) - (side - 1) / 2
    y, x = torch.meshgrid(line, line, indexing="ij")
    places = torch.stack([x, y], -1) @ matrix.T.to(device) - shift.to(device)
    places = places + ALPHA * _smooth(noise.to(device))[:, 0].permute(1, 2, 0)
    return places / ((side - 1) / 2)


def warped(picture: Tensor, places: Tensor) -> Tensor:
    """A picture (S, S), cubic, within its own range; its darkest value comes in from outside."""
    low, high = picture.min(), picture.max()
    moved = _sampled((picture - low)[None], places, "bicubic")[0] + low
    return moved.clamp(low, high)


def warped_masks(masks: Tensor, places: Tensor) -> Tensor:
    """Masks (T, S, S), 0 or 1: linear and rounded."""
    return (_sampled(masks, places, "bilinear") > 0.5).float()


def _sampled(images: Tensor, places: Tensor, mode: str) -> Tensor:
    return F.grid_sample(
        images[None], places[None], mode=mode, padding_mode="zeros", align_corners=True
    )[0]


def _smooth(noise: Tensor) -> Tensor:
    """(N, 1, S, S) under a Gaussian of `SIGMA`, zeros beyond the edge."""
    reach = int(4 * SIGMA + 0.5)
    line = torch.arange(-reach, reach + 1, device=noise.device, dtype=torch.float32)
    bell = torch.exp(-(line**2) / (2 * SIGMA**2))
    bell = bell / bell.sum()
    noise = F.conv2d(noise, bell[None, None, :, None], padding=(reach, 0))
    return F.conv2d(noise, bell[None, None, None, :], padding=(0, reach))


def _between(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * torch.rand((), generator=generator).item()
