"""Confidence maps: how similar each place of a query is to the support's foreground.

SynPo (MICCAI 2025), confidence map synergy module. Feature maps are (C, h, w) or (N, C, h, w)
tensors on any device; maps are worked in float32.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

_TINY = 1e-12  # length below which a feature vector counts as zero: its cosine is then 0


def foreground_cells(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """Which cells of a feature map are foreground: bool (h, w).

    mask: (H, W), coverage 0..1. It is resized bilinearly to `size` = (h, w); foreground is > 0.
    A mask so small that it falls between the sampled places takes every cell it touches instead.
    Raises ValueError for an empty mask.
    """
    if not bool((mask > 0).any()):
        raise ValueError("the support's mask is empty: mark at least one pixel of the structure")
    mask = mask.to(torch.float32)[None, None]
    resized = (
        functional.interpolate(mask, size=size, mode="bilinear", align_corners=False)[0, 0] > 0
    )
    if not bool(resized.any()):
        resized = functional.adaptive_max_pool2d(mask, size)[0, 0] > 0
    return resized


def prototype(features: Tensor, cells: Tensor) -> Tensor:
    """Mean of the *unit* foreground vectors, (C,). Not itself of unit length.

    With it the mean of all cosines cos(q, t_i) is one dot product, q^ . mean(t^_i), exactly.
    Normalising the mean would give a different map.
    """
    foreground = features.to(torch.float32)[:, cells]
    lengths = torch.linalg.vector_norm(foreground, dim=0, keepdim=True).clamp_min(_TINY)
    return (foreground / lengths).mean(dim=1)


def similarity(query: Tensor, prototypes: Tensor) -> Tensor:
    """Mean cosine of each query cell with each support's foreground features.

    query: (N, C, h, w). prototypes: (S, C), from `prototype`.
    Returns (S, N, h, w), float32. Slices are worked one by one: the values are then the same
    whatever the batch, and no second copy of the features is needed.
    """
    slices, channels, height, width = query.shape
    if prototypes.shape[1] != channels:
        raise ValueError(
            f"query features have {channels} channels, support features {prototypes.shape[1]}"
        )
    result = query.new_empty((len(prototypes), slices, height * width), dtype=torch.float32)
    for index in range(slices):
        cells = query[index].reshape(channels, -1).to(torch.float32)
        lengths = torch.linalg.vector_norm(cells, dim=0).clamp_min(_TINY)
        result[:, index] = prototypes @ cells / lengths
    return result.reshape(len(prototypes), slices, height, width)


def to_roi(maps: Tensor, roi_size: int) -> Tensor:
    """Bilinear upsampling (align_corners=False) of (N, h, w) maps to (N, R, R)."""
    size = (roi_size, roi_size)
    return functional.interpolate(maps[:, None], size=size, mode="bilinear", align_corners=False)[
        :, 0
    ]


def fuse(maps: Sequence[Tensor], product_weight: float, single_weights: Sequence[float]) -> Tensor:
    """Synergy of several encoders' maps of one shape: the product of all, plus each by itself.

    SynMap = product_weight * prod(S_e) + sum(single_weights_e * S_e), on raw cosines.
    """
    if len(maps) != len(single_weights):
        raise ValueError(f"{len(maps)} maps need as many weights, not {len(single_weights)}")
    fused = maps[0].clone()
    for one in maps[1:]:
        fused *= one
    fused *= product_weight
    for weight, one in zip(single_weights, maps, strict=True):
        fused.add_(one, alpha=weight)
    return fused
