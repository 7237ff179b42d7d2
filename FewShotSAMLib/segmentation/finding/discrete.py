"""Large displacements between two volumes, found by trying all of a few hundred.

Gradient descent walks downhill from where it starts: an organ that lies further away than it is
thick is laid on its neighbour. Here every cell of a coarse grid is compared with all cells around
it, and the cheapest displacements are made to agree with their neighbours' in a few rounds of
choosing and smoothing (coupled convex optimisation, Heinrich et al. 2014; with features and
descent, Siebert et al. 2021). Doing it in both directions and keeping what these share takes away
most of what is wrong.

Volumes are (z, y, x), displacements in their voxels, in the same order.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class DiscreteParameters:
    """Constants of the search, chosen on the abdominal MR 1, 2, 3 and 5.

    Attributes:
        cell: voxels along the side of a cell.
        reach: cells that a displacement may have along each axis.
        coupling: weights of the neighbours' displacements, round by round, in units of the costs'
            spread at a place.
        shared: rounds in which both directions are brought together.
    """

    cell: int = 2
    reach: int = 3
    coupling: tuple[float, ...] = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
    shared: int = 15


def displacements(
    fixed: Tensor, moving: Tensor, parameters: DiscreteParameters | None = None
) -> Tensor:
    """Where in `moving` each voxel of `fixed` is found, as its displacement.

    Args:
        fixed, moving: features (C, D, H, W) of one shape, roughly on each other.

    Returns:
        (3, D, H, W) in voxels.
    """
    p = parameters or DiscreteParameters()
    cells = [_cells(one, p) for one in (fixed, moving)]
    there = _one_way(*cells, p)
    back = _one_way(*cells[::-1], p)
    for _ in range(p.shared):
        there, back = 0.5 * (there - _moved(back, there)), 0.5 * (back - _moved(there, back))
    return p.cell * F.interpolate(
        there[None], size=fixed.shape[1:], mode="trilinear", align_corners=False
    )[0]


def _cells(features: Tensor, p: DiscreteParameters) -> Tensor:
    sides = [min(p.cell, n) for n in features.shape[1:]]
    return F.avg_pool3d(features[None], sides, ceil_mode=True, count_include_pad=False)[0]


def _one_way(fixed: Tensor, moving: Tensor, p: DiscreteParameters) -> Tensor:
    """(3, d, h, w) in cells, from each of `fixed` to its like in `moving`."""
    line = torch.arange(-p.reach, p.reach + 1, dtype=fixed.dtype, device=fixed.device)
    tried = torch.stack(torch.meshgrid(line, line, line, indexing="ij"), -1).flatten(0, 2)
    costs = _costs(fixed, moving, p.reach)
    costs = costs / costs.std(0).mean().clamp(min=1e-6)
    length = (tried**2).sum(1)[:, None]
    best = (costs.flatten(1) + 1e-4 * length).argmin(0).view(costs.shape[1:])  # flat: stay
    found = _smooth(tried[best].movedim(-1, 0))
    for weight in p.coupling:
        # |tried - found|^2 but for what is the same for all that are tried
        apart = length - 2 * tried @ found.flatten(1)
        best = (costs.flatten(1) + weight * apart).argmin(0).view(costs.shape[1:])
        found = _smooth(tried[best].movedim(-1, 0))
    return found


def _costs(fixed: Tensor, moving: Tensor, reach: int) -> Tensor:
    """(T, d, h, w): absolute differences of features for each displacement, of cells and the cells
    around them."""
    padded = F.pad(moving[None], (reach,) * 6, mode="replicate")[0]
    depth, height, width = fixed.shape[1:]
    count = 2 * reach + 1
    costs = torch.stack([
        (fixed - row[:, :, j : j + height, k : k + width]).abs_().sum(0)
        for row in (padded[:, i : i + depth] for i in range(count))
        for j in range(count) for k in range(count)
    ])
    return _around(costs)


def _smooth(field: Tensor) -> Tensor:
    return _around(_around(field))


def _around(maps: Tensor) -> Tensor:
    """Each place of (T, d, h, w) and its neighbours averaged; along a side of one or two cells
    nothing is."""
    sides = [3 if n >= 3 else 1 for n in maps.shape[1:]]
    margin = [n // 2 for n in sides]
    return F.avg_pool3d(maps[None], sides, 1, margin, count_include_pad=False)[0]


def _moved(field: Tensor, by: Tensor) -> Tensor:
    """`field` read where `by` leads, both (3, d, h, w) in cells."""
    size = by.shape[1:]
    lines = [torch.arange(n, dtype=by.dtype, device=by.device) for n in size]
    places = torch.stack(torch.meshgrid(*lines, indexing="ij")) + by + 0.5
    grid = (places.movedim(0, -1) / by.new_tensor(size) * 2 - 1).flip(-1)
    return F.grid_sample(
        field[None], grid[None], mode="bilinear", padding_mode="border", align_corners=False
    )[0]
