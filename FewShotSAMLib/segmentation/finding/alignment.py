"""Two patients' volumes brought together: slice order first, then affine, then deformable.

Both are worked as small grids of one voxel size, some 45 voxels across the smaller body, so that a
second or two are enough. What is compared are grey levels, the same with local mean and contrast
taken away, which forgives coils and windows, and how each place resembles its neighbours, which
forgives organs that are dark in one of the patients. First all shifts and a few scales along the
axis are tried, with the bodies' boxes laid on each other in the plane, because the fields of view
may overlap in part only. From the best an affine map is refined by gradient descent, and to that a
displacement on a coarse lattice is added: large ones are tried out (see `discrete`), small ones
descended to.

Grids are (z, y, x) = (slice, row, column), points are (z, y, x) in voxels of a grid, centres at
whole numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from ...data.overview import Overview
from .descent import Descent
from .discrete import displacements


@dataclass(frozen=True)
class AlignmentParameters:
    """Constants of the alignment, chosen on the abdominal MR 1, 2, 3 and 5; lengths in voxels.

    Attributes:
        across: voxels along the longer side of the smaller picture.
        deepest: most voxels along the axis.
        air: grey level below which there is no body.
        scales: factors tried along the axis; overlap: share of the query that must be covered.
        affine_steps, deformable_steps: of gradient descent.
        lattice: distance of the displacement's control points.
        stiffness: weight of their differences.
        sure: agreement from which on the alignment is fully trusted; unsure: and below which it
            is not trusted at all (two abdomens come to 0.3 and more, CT and MR too, or 0.24 where
            they lie wrong; a head or a prostate on an abdomen to 0.22, noise to 0.05).
    """

    across: int = 44
    deepest: int = 96
    air: float = 0.06
    scales: tuple[float, ...] = (0.85, 1.0, 1.18)
    overlap: float = 0.4
    affine_steps: int = 30
    deformable_steps: int = 30
    lattice: float = 4.0
    stiffness: float = 0.01
    sure: float = 0.35
    unsure: float = 0.25


@dataclass(frozen=True, eq=False)
class Alignment:
    """Where each voxel of the query's grid lies in the support's.

    Attributes:
        points: (D, H, W, 3) in voxels of the support's grid.
        shape: (D, H, W) of the support's grid.
        agreement: of the bodies after the affine map, before anything is bent: the correlation of
            how each place resembles its neighbours, at most 1.
        trust: 0 (not the same part of a body) to 1.
    """

    points: Tensor
    shape: tuple[int, int, int]
    agreement: float
    trust: float

    def carry(self, maps: Tensor) -> Tensor:
        """Maps (D', H', W') of the support, of any resolution, over the query's grid (D, H, W);
        0 where the query shows what the support does not."""
        ratio = self.points.new_tensor([n / m for n, m in zip(maps.shape, self.shape, strict=True)])
        return _sampled(maps[None], (self.points + 0.5) * ratio - 0.5, "zeros")[0]


def align(
    query: Overview, support: Overview, parameters: AlignmentParameters | None = None
) -> Alignment:
    """The query's volume aligned to the support's. Both lie along the same axis, canonical. The
    last few pairs are remembered by their content: a run that is repeated does not align again."""
    return _aligned(_Pair(query.digest, support.digest, query, support),
                    parameters or AlignmentParameters())


@dataclass(frozen=True)
class _Pair:
    """Two overviews, the same as another pair where their contents are."""

    query_digest: bytes
    support_digest: bytes
    query: Overview = field(compare=False)
    support: Overview = field(compare=False)


@lru_cache(maxsize=8)
def _aligned(pair: _Pair, p: AlignmentParameters) -> Alignment:
    step = _step(pair.query, pair.support, p)
    fixed, moving = _grid(pair.query, step), _grid(pair.support, step)
    straight = _affine(fixed, moving, *_first_guess(fixed, moving, p), p)
    agreement = _agreement(fixed, moving, straight, p.air)
    trust = min(max((agreement - p.unsure) / (p.sure - p.unsure), 0.0), 1.0)
    points = _deformable(fixed, moving, straight, p) if trust > 0 else straight
    return Alignment(points, tuple(moving.shape), agreement, trust)


def _step(query: Overview, support: Overview, p: AlignmentParameters) -> float:
    """Voxel size of both grids in mm."""
    across = min(max(one.extent[:2]) for one in (query, support)) / p.across
    deep = max(one.extent[2] for one in (query, support)) / p.deepest
    return max(across, deep)


def _grid(overview: Overview, step: float) -> Tensor:
    """Grey levels (D, H, W) with voxels of `step` mm."""
    size = [max(4, round(mm / step)) for mm in overview.extent[::-1]]
    grey = torch.from_numpy(overview.images())
    flat = F.interpolate(
        grey[:, None], size=size[1:], mode="bilinear", antialias=True, align_corners=False
    )
    return F.interpolate(
        flat.transpose(0, 1)[None], size=size, mode="trilinear", align_corners=False
    )[0, 0]


def _first_guess(fixed: Tensor, moving: Tensor, p: AlignmentParameters) -> tuple[Tensor, Tensor]:
    """The best of shifts and scales along the axis: a matrix (3, 3) and a shift (3,)."""
    boxes = [[_extent(v, axis, p.air) for axis in (1, 2)] for v in (fixed, moving)]
    scale = [(m[1] - m[0] + 1) / (f[1] - f[0] + 1) for f, m in zip(*boxes, strict=True)]
    middle = [[sum(ends) / 2 for ends in box] for box in boxes]
    shift = [m - s * f for f, m, s in zip(*middle, scale, strict=True)]
    soft = [_blurred(v, 1.0) for v in (fixed, moving)]
    few, picture = _places(fixed)[:, ::2, ::2], soft[0][:, ::2, ::2]
    middle_on_middle = (1.0, (len(moving) - len(fixed)) / 2)
    tried = [(-2.0, *middle_on_middle)]  # where the support is too short for any of the shifts
    for along, start in _starts(len(fixed), len(moving), p):
        points = few * fixed.new_tensor([along, *scale]) + fixed.new_tensor([start, *shift])
        inside = (points[..., 0] >= -0.5) & (points[..., 0] <= len(moving) - 0.5)
        share = float(inside.float().mean())
        if share >= p.overlap:
            found = _sampled(soft[1][None], points, "zeros")[0]
            score = _correlation(picture, found, inside.float())
            tried.append((score - 0.15 * (1 - share) - 0.3 * abs(math.log(along)), along, start))
    _, along, start = max(tried)
    return torch.diag(fixed.new_tensor([along, *scale])), fixed.new_tensor([start, *shift])


def _starts(
    fixed: int, moving: int, p: AlignmentParameters
) -> Iterator[tuple[float, float]]:
    """Scales and shifts along the axis that are tried."""
    for along in p.scales:
        reach = fixed * along
        for start in torch.arange(-0.6 * reach, moving - 0.4 * reach, 1.0).tolist():
            yield along, start


def _extent(grid: Tensor, axis: int, air: float) -> tuple[int, int]:
    """First and last row or column of the body, but for the outermost 3 %."""
    other = tuple(n for n in range(3) if n != axis)
    share = (grid > air).float().mean(other)
    reached = share.cumsum(0) / share.sum().clamp(min=1e-6)
    return int((reached < 0.03).sum()), max(int((reached < 0.97).sum()), 1)


def _affine(
    fixed: Tensor, moving: Tensor, matrix: Tensor, offset: Tensor, p: AlignmentParameters
) -> Tensor:
    """The query's places in the support after refining an affine map, (D, H, W, 3)."""
    pictures = [_channels(_blurred(v, 0.8)) for v in (fixed, moving)]
    centre = fixed.new_tensor([(n - 1) / 2 for n in fixed.shape])
    few, wanted = _places(fixed)[:, ::2, ::2] - centre, pictures[0][:, :, ::2, ::2]
    start = matrix @ centre + offset
    turn = torch.zeros(3, 3, requires_grad=True)
    shift = torch.zeros(3, requires_grad=True)
    descent = Descent((turn, 0.01), (shift, 0.3))
    with torch.enable_grad():
        for step in range(p.affine_steps):
            points = few @ (matrix + turn).T + start + shift
            inside = _inside(points, moving)
            loss = _difference(wanted, pictures[1], points, inside)
            loss = loss + 0.3 * (1 - inside.mean()) + 2 * (turn**2).sum()
            descent.step(loss)
            if step == p.affine_steps * 2 // 3:
                descent.slowed = 0.3
    turn, shift = turn.detach(), shift.detach()
    return (_places(fixed) - centre) @ (matrix + turn).T + start + shift


def _deformable(fixed: Tensor, moving: Tensor, base: Tensor, p: AlignmentParameters) -> Tensor:
    """The same with a displacement on a lattice added."""
    pictures = [_channels(v) for v in (fixed, moving)]
    inside = _inside(base, moving)
    size = [max(4, round(n / p.lattice) + 1) for n in fixed.shape]
    lattice = F.interpolate(
        _large(fixed, moving, base)[None], size=size, mode="trilinear", align_corners=True
    ).requires_grad_()
    descent = Descent((lattice, 0.5))

    def points() -> Tensor:
        moved = F.interpolate(lattice, size=fixed.shape, mode="trilinear", align_corners=True)
        return base + moved[0].permute(1, 2, 3, 0)

    with torch.enable_grad():
        for _ in range(p.deformable_steps):
            bent = sum((lattice.diff(dim=axis) ** 2).mean() for axis in (2, 3, 4))
            loss = _difference(pictures[0], pictures[1], points(), inside) + p.stiffness * bent
            descent.step(loss)
    return points().detach()


def _large(fixed: Tensor, moving: Tensor, base: Tensor) -> Tensor:
    """(3, D, H, W) in voxels of `moving`: how far organs lie from where the affine map `base` puts
    them."""
    wanted, there = (_channels(_blurred(v, 0.8)) for v in (fixed, moving))
    found = displacements(wanted, _sampled(there, base, "border"))
    origin = base[0, 0, 0]
    matrix = torch.stack([base[1, 0, 0], base[0, 1, 0], base[0, 0, 1]], 1) - origin[:, None]
    return torch.einsum("ab,bdhw->adhw", matrix, found)


def _channels(grid: Tensor) -> Tensor:
    """(9, D, H, W): grey levels, how they stand out from near and farther surroundings, and how
    each place resembles its six neighbours. The last says nothing of bright or dark, so that an
    organ which is dark in one patient (iron, another sequence) still lies on its like."""
    return torch.cat([2 * grid[None], _standing_out(grid), 2 * _self_similarity(grid)])


def _standing_out(grid: Tensor) -> Tensor:
    """(2, D, H, W): grey levels less the mean of their surroundings, over their spread."""
    parts = []
    for sigma in (1.5, 3.0):
        mean = _blurred(grid, sigma)
        spread = (_blurred(grid * grid, sigma) - mean * mean).clamp(min=1e-4).sqrt()
        parts.append((grid - mean) / (spread + 0.05))
    return torch.stack(parts)


def _self_similarity(grid: Tensor) -> Tensor:
    """(6, D, H, W), 0 to 1: the modality independent neighbourhood descriptor (MIND, Heinrich et
    al. 2012), exp of minus the difference of patches, as a share of its mean at that place."""
    padded = F.pad(grid[None, None], (1,) * 6, mode="replicate")[0, 0]
    apart = []
    for axis, size in enumerate(grid.shape):
        line = padded
        for other in range(3):
            if other != axis:
                line = line.narrow(other, 1, grid.shape[other])
        for start in (0, 2):
            apart.append(_blurred((grid - line.narrow(axis, start, size)) ** 2, 0.8))
    apart = torch.stack(apart)
    spread = apart.mean(0)
    spread = spread.clamp(min=0.05 * float(spread.mean()) + 1e-6)
    return torch.exp(-(apart - apart.amin(0)) / spread)


def _difference(wanted: Tensor, moving: Tensor, points: Tensor, inside: Tensor) -> Tensor:
    """Mean robust difference of channels where both volumes have something to show."""
    found = _sampled(moving, points, "border")
    apart = torch.sqrt((wanted - found) ** 2 + 0.05).mean(0)
    return (apart * inside).sum() / inside.sum().clamp(min=1)


def _agreement(fixed: Tensor, moving: Tensor, points: Tensor, air: float) -> float:
    """Mean correlation of how places resemble their neighbours, where one of the bodies is. It says
    nothing of bright or dark, so that a CT agrees with an MR. Bent far enough anything correlates
    with anything, so that this is asked before."""
    wanted, channels = (_self_similarity(_blurred(grid, 0.8)) for grid in (fixed, moving))
    found = _sampled(torch.cat([moving[None], channels]), points, "border")
    body = _inside(points, moving) * ((fixed > air) | (found[0] > air))
    several = [_correlation(a, b, body) for a, b in zip(wanted, found[1:], strict=True)]
    return sum(several) / len(several)


def _correlation(a: Tensor, b: Tensor, weight: Tensor) -> float:
    total = weight.sum().clamp(min=1)
    a, b = (v - (v * weight).sum() / total for v in (a, b))
    both = (a * b * weight).sum()
    return float(both / ((a * a * weight).sum() * (b * b * weight).sum()).sqrt().clamp(min=1e-6))


def _inside(points: Tensor, grid: Tensor) -> Tensor:
    """1 where a point lies in the grid, else 0."""
    last = points.new_tensor(grid.shape) - 0.5
    return ((points.detach() >= -0.5) & (points.detach() <= last)).all(-1).float()


def _places(grid: Tensor) -> Tensor:
    """(D, H, W, 3): each voxel's own place."""
    lines = [torch.arange(n, dtype=torch.float32) for n in grid.shape]
    return torch.stack(torch.meshgrid(*lines, indexing="ij"), -1)


def _sampled(channels: Tensor, points: Tensor, beyond: str) -> Tensor:
    """Channels (C, D', H', W') at points (D, H, W, 3): (C, D, H, W)."""
    size = points.new_tensor(channels.shape[1:])
    grid = ((points + 0.5) / size * 2 - 1).flip(-1)
    return F.grid_sample(
        channels[None], grid[None], mode="bilinear", padding_mode=beyond, align_corners=False
    )[0]


def _blurred(grid: Tensor, sigma: float) -> Tensor:
    reach = max(1, int(3 * sigma))
    bell = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    bell = bell / bell.sum()
    for axis in range(3):
        grid = grid.transpose(axis, 2)
        lines = grid.reshape(-1, 1, grid.shape[2])
        lines = F.conv1d(F.pad(lines, (reach, reach), mode="replicate"), bell[None, None])
        grid = lines.reshape(grid.shape).transpose(axis, 2)
    return grid
