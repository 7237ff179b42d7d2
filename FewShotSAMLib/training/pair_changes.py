"""How the two slices of an episode are made to differ (methods, section 2, training): a gamma
change of one of them, an affine and an elastic warp of one of them, one after the other and both
with linear interpolation, as in the published code."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

GAMMA = (0.5, 1.5)
ANGLE, SHIFT, SHEAR, SCALE = 5.0, 5.0, 5.0, (0.9, 1.2)  # degrees, pixels, degrees
ALPHA, SIGMA = 10.0, 5.0  # pixels: strength and smoothness of the elastic warp


@dataclass(frozen=True, eq=False)
class Warp:
    """Where the pixels of a warped picture come from, (S, S, 2) each as `grid_sample` wants it:
    `affine` of the picture, `elastic` of what the affine warp made of it."""

    affine: Tensor
    elastic: Tensor


def gamma_changed(picture: Tensor, gamma: float) -> Tensor:
    """A picture (S, S) between its own darkest and brightest pixel."""
    low, high = picture.min(), picture.max()
    width = (high - low).clamp(min=1e-6)
    return ((picture - low) / width) ** gamma * width + low


def random_gamma(generator: torch.Generator) -> float:
    """Evenly from 0.5 to 1.5."""
    return _between(*GAMMA, generator)


def random_warp(side: int, generator: torch.Generator, device: torch.device) -> Warp:
    """An affine and an elastic warp of pictures of side x side pixels.

    The numbers are drawn on the generator's device, so that a seed warps alike everywhere.
    """
    angle, skew = (_between(-a, a, generator) for a in (ANGLE, SHEAR))
    scale = _between(*SCALE, generator)
    shift = [_between(-SHIFT, SHIFT, generator) for _ in range(2)]
    noise = 2 * torch.rand(2, 1, side, side, generator=generator) - 1
    back = torch.linalg.inv(affine_matrix(side, angle, shift, skew, scale)).float().to(device)
    line = torch.arange(side, dtype=torch.float32, device=device)
    y, x = torch.meshgrid(line, line, indexing="ij")
    here = torch.stack([x, y], -1)
    affine = here @ back[:2, :2].T + back[:2, 2]
    elastic = here + ALPHA * _smooth(noise.to(device))[:, 0].permute(1, 2, 0)
    half = (side - 1) / 2
    return Warp(affine / half - 1, elastic / half - 1)


def affine_matrix(
    side: int, angle: float, shift: list[float], skew: float, scale: float
) -> Tensor:
    """3x3, pixel (x, y, 1) of a picture -> pixel of the warped one: turned about the middle,
    shifted, sheared from the first row on, scaled about the middle. Angles in degrees."""
    turn, shear = math.radians(angle), math.radians(skew)
    c, s, middle = math.cos(turn), math.sin(turn), side / 2
    turned = [[c, s, (1 - c) * middle - s * middle], [-s, c, s * middle + (1 - c) * middle]]
    steps = [
        turned,
        [[1, 0, shift[0]], [0, 1, shift[1]]],
        [[1, -math.sin(shear), 0], [0, math.cos(shear), 0]],
        [[scale, 0, (1 - scale) * middle], [0, scale, (1 - scale) * middle]],
    ]
    matrix = torch.eye(3, dtype=torch.float64)
    for rows in steps:
        matrix = torch.tensor([*rows, [0, 0, 1]], dtype=torch.float64) @ matrix
    return matrix


def warped(picture: Tensor, warp: Warp, outside: float) -> Tensor:
    """A picture (S, S); `outside` comes in from beyond its edges."""
    return _warped((picture - outside)[None], warp)[0] + outside


def warped_masks(masks: Tensor, warp: Warp) -> Tensor:
    """Masks (T, S, S), 0 or 1, rounded in the end."""
    return _warped(masks, warp).round()


def _warped(images: Tensor, warp: Warp) -> Tensor:
    """(C, S, S), 0 outside."""
    share = {"mode": "bilinear", "align_corners": True}
    moved = F.grid_sample(images[None], warp.affine[None], padding_mode="zeros", **share)
    return F.grid_sample(moved, warp.elastic[None], padding_mode="border", **share)[0]


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
