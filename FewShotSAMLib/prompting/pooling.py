"""Features averaged under maps of the picture's size, without enlarging the features.

FoB enlarges features of 64 x 64 to 256 x 256 and averages them under a mask or a Gaussian
(methods, section 2.4). Enlarging is linear, so that its transpose may be applied to the map
instead: the result is the same, and a hundred times cheaper.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

SIGMA, REACH = 4.0, 12  # of a point's Gaussian: deviation and half side of its window, pixels
_TINY = 1e-5  # added to a map's sum, as published


def pool_masks(features: Tensor, masks: Tensor) -> Tensor:
    """Mean features under masks.

    Args:
        features: (B, C, h, w).
        masks: (B, S, S), weights.

    Returns:
        (B, C).
    """
    rows, columns = (
        enlarging(n, masks.shape[-1], masks.device) for n in features.shape[-2:]
    )
    weights = (rows.T @ masks.float() @ columns).flatten(1)
    sums = torch.einsum("bcn,bn->bc", features.float().flatten(2), weights)
    return sums / (masks.float().sum((1, 2)) + _TINY)[:, None]


def pool_points(features: Tensor, points: Tensor, side: int) -> Tensor:
    """Mean features under a Gaussian at each point.

    Args:
        features: (B, C, h, w).
        points: (B, K, 2), (x, y) in pixels, rounded here; one outside of the picture gives zeros.
        side: S, pixels a side of the picture.

    Returns:
        (B, K, C).
    """
    h, w = features.shape[-2:]
    gx, gy = gaussians(points, side)
    total = gx.sum(-1) * gy.sum(-1)
    narrow_x = gx @ enlarging(w, side, points.device)  # (B, K, w)
    narrow_y = gy @ enlarging(h, side, points.device)
    weights = (narrow_y[..., :, None] * narrow_x[..., None, :]).flatten(2)
    sums = weights @ features.float().flatten(2).transpose(1, 2)
    return sums / (total + _TINY)[..., None]


def gaussians(points: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """The two factors of each point's Gaussian: along x and along y, (..., K, S) each.

    A window of 25 x 25 pixels around the rounded point, 1 at its centre; zero for a point outside.
    """
    centre = torch.floor(points.float() + 0.5)
    inside = ((centre >= 0) & (centre < side)).all(-1, keepdim=True)
    line = torch.arange(side, device=points.device, dtype=torch.float32)
    away = line - centre[..., None]  # (..., K, 2, S)
    bell = torch.exp(-(away**2) / (2 * SIGMA**2)) * (away.abs() <= REACH) * inside[..., None]
    return bell[..., 0, :], bell[..., 1, :]


def heat_maps(points: Tensor, side: int) -> Tensor:
    """A map (..., K, S, S) for each point (..., K, 2): its Gaussian."""
    gx, gy = gaussians(points, side)
    return gy[..., :, None] * gx[..., None, :]


@lru_cache(maxsize=16)
def enlarging(cells: int, side: int, device: torch.device) -> Tensor:
    """(side, cells): bilinear enlarging of a line (align_corners=False) as a matrix."""
    with torch.inference_mode(False):  # kept for later calls, which may need gradients
        lines = torch.eye(cells, device=device)[None]
        return F.interpolate(lines, size=side, mode="linear", align_corners=False)[0].T.contiguous()
