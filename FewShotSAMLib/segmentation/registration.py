"""Deformable registration of neighbouring slices, and carrying masks from one to the next.

Demons (Thirion 1998) with symmetric forces (Vercauteren et al. 2009: the mean of both pictures'
gradients), smoothing the whole displacement after each step. All pairs of a volume are worked as
one batch of small pictures. Beside grey levels the pictures' edge strength is matched: it pulls
borders together where tissue on both sides changes slowly.

Everything is a tensor and stays on the device that it comes in on. Displacements are in pixels,
channel 0 = x (columns), channel 1 = y (rows), and point from the target's pixel to the place in
the source that belongs there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class RegistrationParameters:
    """Constants of the registration; lengths in pixels of the working resolution.

    working_side: slices are shrunk by the whole number that brings their longer side nearest to
        this; organs move by several pixels between slices, and need no finer picture to follow.
    iterations: steps per level, coarse (half the working resolution, and so on) to fine.
    smoothing: sigma of the Gaussian over the displacement after each step.
    presmoothing: sigma of the Gaussian over the pictures before.
    edge_weight: weight of the edge strength beside the grey level.
    longest_step: largest displacement that one step may add.
    floor: squared gradient (grey levels per pixel) below which a picture counts as flat.
    pairs_at_once: batch of pairs; bounds the memory.
    """

    working_side: int = 128
    iterations: tuple[int, ...] = (15, 8)
    smoothing: float = 0.8
    presmoothing: float = 0.7
    edge_weight: float = 3.0
    longest_step: float = 2.0
    floor: float = 1e-4
    pairs_at_once: int = 64


@dataclass(frozen=True, eq=False)
class NeighbourFields:
    """Displacements between all neighbouring slices of a volume, both ways.

    upwards: float32 (S - 1, 2, h, w); [i] brings slice i's content to slice i + 1.
    downwards: the same; [i] brings slice i + 1's content to slice i.
    shape: (H, W) of the slices; the fields are kept at working resolution (h, w).
    """

    upwards: Tensor
    downwards: Tensor
    shape: tuple[int, int]

    def between(self, source: int, target: int) -> Tensor:
        """Displacement (2, h, w) that brings slice `source` to its neighbour `target`.

        Raises ValueError when they are no neighbours.
        """
        if target == source + 1:
            return self.upwards[source]
        if target == source - 1:
            return self.downwards[target]
        raise ValueError(f"slices {source} and {target} are no neighbours")

    def carry(self, maps: Tensor, source: int, target: int) -> Tensor:
        """Maps (B, H, W) that belong to slice `source`, as they look on its neighbour `target`."""
        return warp(maps, self.between(source, target))


def neighbour_fields(
    slices: Tensor, parameters: RegistrationParameters | None = None
) -> NeighbourFields:
    """Register each slice with both neighbours, once, for all structures.

    slices: (S, H, W) or (S, H, W, 3), normalised to [0, 1].
    """
    parameters = parameters or RegistrationParameters()
    upwards = register(slices[1:], slices[:-1], parameters)
    downwards = register(slices[:-1], slices[1:], parameters)
    return NeighbourFields(upwards, downwards, tuple(slices.shape[1:3]))


def register(
    targets: Tensor, sources: Tensor, parameters: RegistrationParameters | None = None
) -> Tensor:
    """Displacements that bring each source to its target.

    targets, sources: (P, H, W) or (P, H, W, 3), normalised to [0, 1].
    Returns float32 (P, 2, h, w) at working resolution, in pixels of that resolution; see `warp`.
    """
    parameters = parameters or RegistrationParameters()
    if len(targets) == 0:
        return torch.zeros(0, 2, 1, 1, device=targets.device)
    fields = []
    for first in range(0, len(targets), parameters.pairs_at_once):
        chunk = slice(first, first + parameters.pairs_at_once)
        target, source = (_pictures(each[chunk], parameters) for each in (targets, sources))
        fields.append(_demons(target, source, parameters))
    return torch.cat(fields)


def warp(maps: Tensor, displacement: Tensor) -> Tensor:
    """Maps of the source, such as masks or probabilities, as they look on the target.

    maps: (B, H, W), any type. displacement: (2, h, w), from `register`; it is scaled to H x W.
    Returns float32 (B, H, W), bilinear; beyond the edge the edge's value is taken.
    """
    height, width = maps.shape[-2:]
    field = _resize(displacement[None], (height, width))
    ratio = (width / displacement.shape[-1], height / displacement.shape[-2])
    return _sample(maps[None].float(), _scaled(field, ratio))[0]


def _pictures(slices: Tensor, parameters: RegistrationParameters) -> Tensor:
    """What is matched, (P, 2, h, w): grey level and weighted edge strength."""
    grey = slices.float()
    grey = (grey.mean(dim=-1) if grey.ndim == 4 else grey)[:, None]
    factor = max(1, round(max(grey.shape[-2:]) / parameters.working_side))
    if factor > 1:
        grey = functional.avg_pool2d(grey, factor, ceil_mode=True, count_include_pad=False)
    grey = _smooth(grey, parameters.presmoothing)
    along_x, along_y = _gradients(grey)
    edges = (along_x**2 + along_y**2).sqrt()
    return torch.cat([grey, parameters.edge_weight * edges], dim=1)


def _demons(target: Tensor, source: Tensor, parameters: RegistrationParameters) -> Tensor:
    """Displacements (P, 2, h, w) for pictures (P, C, h, w), coarse to fine."""
    field = target.new_zeros((len(target), 2, 1, 1))
    levels = len(parameters.iterations)
    for level, steps in enumerate(parameters.iterations):
        shrink = min(2 ** (levels - 1 - level), *target.shape[-2:])
        fixed, moving = (functional.avg_pool2d(each, shrink) for each in (target, source))
        if field.shape[-1] > 1:
            ratio = fixed.shape[-1] / field.shape[-1], fixed.shape[-2] / field.shape[-2]
            field = _scaled(field, ratio)
        field = _resize(field, fixed.shape[-2:])
        for _ in range(steps):
            field = _smooth(field + _force(fixed, moving, field, parameters), parameters.smoothing)
    return field


def _force(
    fixed: Tensor, moving: Tensor, field: Tensor, parameters: RegistrationParameters
) -> Tensor:
    """One symmetric-forces step: d * J / (|J|^2 + d^2 / (2 * longest step)^2), all channels."""
    warped = _sample(moving, field)
    difference = fixed - warped
    along_x, along_y = _gradients((fixed + warped) / 2)
    strength = along_x**2 + along_y**2 + (difference / (2 * parameters.longest_step)) ** 2
    force = torch.stack([(difference * along_x).sum(1), (difference * along_y).sum(1)], dim=1)
    return force / (strength.sum(dim=1, keepdim=True) + parameters.floor)


def _sample(pictures: Tensor, field: Tensor) -> Tensor:
    """Pictures (P, C, h, w) read bilinearly at each pixel plus the field (P, 2, h, w)."""
    height, width = field.shape[-2:]
    columns = torch.arange(width, dtype=field.dtype, device=field.device)
    rows = torch.arange(height, dtype=field.dtype, device=field.device)
    # grid_sample without align_corners: -1 and 1 are the outer edges of the border pixels.
    x = (field[:, 0] + columns + 0.5) * (2 / width) - 1
    y = (field[:, 1] + rows[:, None] + 0.5) * (2 / height) - 1
    places = torch.stack([x, y], dim=-1)
    return functional.grid_sample(
        pictures, places, mode="bilinear", padding_mode="border", align_corners=False
    )


def _gradients(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences along x and y, of the same shape; one-sided halves at the border."""
    padded = functional.pad(pictures, (1, 1, 1, 1), mode="replicate")
    return (
        (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2,
        (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2,
    )


def _smooth(maps: Tensor, sigma: float) -> Tensor:
    """Gaussian smoothing of (P, C, h, w), the border replicated."""
    if sigma <= 0:
        return maps
    # Shifted pictures added up: several times faster than a convolution with so few weights.
    first, *others = _bell(sigma)
    radius = len(others) // 2
    for along, sides in ((3, (radius, radius, 0, 0)), (2, (0, 0, radius, radius))):
        size = maps.shape[along]
        padded = functional.pad(maps, sides, mode="replicate")
        maps = padded.narrow(along, 0, size) * first
        for start, weight in enumerate(others, 1):
            maps.add_(padded.narrow(along, start, size), alpha=weight)
    return maps


@lru_cache(maxsize=16)
def _bell(sigma: float) -> tuple[float, ...]:
    """The weights of a Gaussian at whole pixels, to 2.5 sigma on either side; their sum is 1."""
    radius = max(1, math.ceil(2.5 * sigma))
    weights = torch.exp(-(torch.arange(-radius, radius + 1.0) ** 2) / (2 * sigma**2))
    return tuple((weights / weights.sum()).tolist())


def _scaled(field: Tensor, ratio: tuple[float, float]) -> Tensor:
    """A displacement field (P, 2, h, w) in other units along x and y."""
    return torch.stack([field[:, 0] * ratio[0], field[:, 1] * ratio[1]], dim=1)


def _resize(field: Tensor, size: tuple[int, int]) -> Tensor:
    """A displacement field at another resolution; its values stay as they are."""
    if tuple(field.shape[-2:]) == tuple(size):
        return field
    return functional.interpolate(field, size=size, mode="bilinear", align_corners=False)
