"""Generated anatomies: solid bodies of ellipsoids, of another patient, cut into label maps.

An anatomy is a painter's list of K solids in a space where x and y run over [-1, 1] in the
picture (x to the patient's left, y to the back) and z through it. A solid is a bent, rotated,
bumpy ellipsoid; later ones cover earlier ones. Cutting the same anatomy at two heights gives two
slices of one patient; jittering its solids gives another patient. Everything is batched torch, so
that it runs on the device that trains.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, eq=False)
class Anatomy:
    """B anatomies of K solids each.

    Attributes:
        centre: (B, K, 3); radii: (B, K, 3) along the solid's own axes; angle: (B, K) radians
            in the picture's plane.
        slope: (B, K, 2), how far the centre moves in x and y per unit of z.
        bend: (B, K), banana shape; square: (B, K) in [0, 1], from ellipse to rounded box.
        wave: (B, K, 2, 3) spatial frequencies, phase: (B, K, 2) and bump: (B, K) amplitude of
            the waves on the surface.
        present: (B, K) bool.
        group: (B, K) long, which structure a solid belongs to (parts of one organ share it).
        tissue: (B, K) long, solids of one tissue look alike.
        containers: how many of the first solids are bodies that contain the others.
    """

    centre: Tensor
    radii: Tensor
    angle: Tensor
    slope: Tensor
    bend: Tensor
    square: Tensor
    wave: Tensor
    phase: Tensor
    bump: Tensor
    present: Tensor
    group: Tensor
    tissue: Tensor
    containers: int = 3

    @property
    def solids(self) -> int:
        """How many, K."""
        return self.centre.shape[1]


Draw = Callable[..., Tensor]
# Pixels of solids computed together: what a cache holds, and what keeps a card busy.
_AT_ONCE = {"cpu": 2**18, "cuda": 2**25}


def sources(generator: torch.Generator, device: torch.device | str) -> tuple[Draw, Draw]:
    """Random numbers from 0 to 1 and normal ones; both are called with a shape."""

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device=device)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, device=device)

    return rand, randn


class Differences(NamedTuple):
    """How much two patients differ, each (B,): 0 not at all, 1 as two persons usually do."""

    shape: Tensor
    size: Tensor
    position: Tensor
    intensity: Tensor


def random_differences(
    neighbours: Tensor, generator: torch.Generator
) -> Differences:
    """Drawn one by one, so that a pair may differ in one way and hardly in another.

    Args:
        neighbours: (B,) bool, the two are slices of one patient: their anatomy is the same, and
            what the scanner made of it almost so.
    """
    rand, _ = sources(generator, neighbours.device)
    count = len(neighbours)
    shape, size, position = (
        torch.where(neighbours, 0.0, 0.2 + 1.3 * rand(count)) for _ in range(3)
    )
    intensity = torch.where(neighbours, 0.3 * rand(count), 0.2 + 2.0 * rand(count) ** 1.5)
    return Differences(shape, size, position, intensity)


def another_patient(
    anatomy: Anatomy, generator: torch.Generator, differences: Differences
) -> Anatomy:
    """The same organs in another body."""
    _, randn = sources(generator, anatomy.centre.device)
    b, k = anatomy.angle.shape
    shape, size, position = (d.view(b, 1) for d in differences[:3])
    inside = torch.ones(k, device=shape.device)
    inside[: anatomy.containers] = 0.4
    usual = torch.tensor([0.035, 0.035, 0.06], device=shape.device)
    shift = _together(anatomy, randn(b, k, 3) * usual)
    body = torch.exp(randn(b, 1, 3) * 0.06 * size[..., None])
    own = _together(anatomy, randn(b, k, 3) * 0.1)
    return replace(
        anatomy,
        centre=anatomy.centre * body + shift * position[..., None] * inside[:, None],
        radii=anatomy.radii * body * torch.exp(own * size[..., None] * inside[:, None]),
        angle=anatomy.angle + randn(b, k) * 0.15 * shape * inside,
        slope=anatomy.slope + randn(b, k, 2) * 0.05 * shape[..., None],
        bend=anatomy.bend + randn(b, k) * 0.12 * shape * inside,
        wave=anatomy.wave + randn(b, k, 2, 3) * 0.4 * column(shape),
        phase=anatomy.phase + randn(b, k, 2) * 0.8 * shape[..., None],
    )


def _together(anatomy: Anatomy, values: Tensor) -> Tensor:
    """(B, K, 3), those of a structure's first solid for all of its parts."""
    return values.gather(1, anatomy.group[..., None].expand(-1, -1, 3))


def cut(
    anatomy: Anatomy, height: Tensor, x: Tensor, y: Tensor
) -> tuple[Tensor, Tensor]:
    """The label map of one slice of each anatomy.

    Args:
        height: (B,) z of the slice.
        x, y: (B, H, W), where in the anatomy's plane each pixel lies.

    Returns:
        (B, H, W) long labels, 0 outside of every solid, k + 1 in solid k; and
        (B, containers, H, W) bool, the containers filled, whatever lies within them.
    """
    b, h, w = x.shape
    up = (height[:, None] - anatomy.centre[..., 2]) / anatomy.radii[..., 2]
    picture, solid = torch.nonzero(anatomy.present & (up.abs() < 1.25), as_tuple=True)
    labels = torch.zeros(b, h, w, dtype=torch.int32, device=x.device)
    filled = torch.zeros(b, anatomy.containers, h, w, dtype=torch.bool, device=x.device)
    step = max(_AT_ONCE.get(x.device.type, 2**22) // (h * w), 1)
    for of, k in zip(picture.split(step), solid.split(step), strict=True):
        inside = _solid(anatomy, (of, k), height[of], x[of], y[of]) < 0
        # Later solids cover earlier ones.
        drawn = inside * (k + 1).to(torch.int32).view(-1, 1, 1)
        labels.scatter_reduce_(0, of.view(-1, 1, 1).expand_as(drawn), drawn, "amax")
        body = torch.nonzero(k < anatomy.containers).flatten()
        filled[of[body], k[body]] = inside[body]
    return labels.long(), filled


def _solid(
    a: Anatomy, which: tuple[Tensor, Tensor], height: Tensor, x: Tensor, y: Tensor
) -> Tensor:
    """(N, H, W), below 0 inside of N solids.

    Args:
        which: anatomy and solid of each, (N,) and (N,).
        height: (N,) z of their slices; x, y: (N, H, W), where their pixels lie.
    """

    def of(values: Tensor) -> Tensor:
        return values[which].view(-1, 1, 1)

    rise = (height - a.centre[..., 2][which]).view(-1, 1, 1)
    dx = x - of(a.centre[..., 0]) - of(a.slope[..., 0]) * rise
    dy = y - of(a.centre[..., 1]) - of(a.slope[..., 1]) * rise
    cos, sin = torch.cos(of(a.angle)), torch.sin(of(a.angle))
    u = (cos * dx + sin * dy) / of(a.radii[..., 0])
    v = (cos * dy - sin * dx) / of(a.radii[..., 1])
    w = rise / of(a.radii[..., 2])
    u = u + of(a.bend) * (v * v - 0.5)
    return _with_waves(_surface(u, v, w, of(a.square)), a, which, (u, v, w))


def _surface(u: Tensor, v: Tensor, w: Tensor, square: Tensor) -> Tensor:
    """Below 0 inside of a solid of radius 1, between an ellipsoid and a rounded box."""
    u2, v2, w2 = u * u, v * v, w * w
    round_ = torch.sqrt(u2 + v2 + w2)
    boxy = torch.sqrt(torch.sqrt(u2 * u2 + v2 * v2 + w2 * w2))
    return round_ + (boxy - round_) * square - 1


def _with_waves(
    surface: Tensor, a: Anatomy, which: tuple[Tensor, Tensor], place: tuple[Tensor, Tensor, Tensor]
) -> Tensor:
    """The surfaces of N solids with their bumps."""
    u, v, w = place
    bump = a.bump[which].view(-1, 1, 1)
    for n, weight in ((0, 1.0), (1, 0.6)):
        wave = a.wave[..., n, :][which].view(-1, 3, 1, 1)
        phase = a.phase[..., n][which].view(-1, 1, 1)
        swing = torch.sin(wave[:, 0] * u + wave[:, 1] * v + wave[:, 2] * w + phase)
        surface = surface + weight * bump * swing
    return surface


def picture_plane(
    count: int, size: int, generator: torch.Generator, device: torch.device | str,
    *, spread: Tensor, zoom: Tensor,
) -> tuple[Tensor, Tensor]:
    """Where each pixel of a picture lies in its anatomy: a slight affine and elastic warp.

    Args:
        spread: (B,), how strong the warp is, 1 as between persons.
        zoom: (B,), below 1 shows a part only.

    Returns:
        x, y, each (B, size, size).
    """
    rand, randn = sources(generator, device)
    line = (torch.arange(size, device=device) + 0.5) / size * 2 - 1
    y, x = torch.meshgrid(line, line, indexing="ij")
    turn = randn(count) * 0.06 * spread
    scale = zoom[:, None] * torch.exp(randn(count, 2) * 0.04 * spread[:, None])
    shift = randn(count, 2) * 0.03 * spread[:, None]
    shift = shift + (1 - zoom.clamp(max=1))[:, None] * (rand(count, 2) * 1.6 - 0.8)
    cos, sin = torch.cos(turn).view(-1, 1, 1), torch.sin(turn).view(-1, 1, 1)
    px = (cos * x + sin * y) * scale[:, 0].view(-1, 1, 1) + shift[:, 0].view(-1, 1, 1)
    py = (cos * y - sin * x) * scale[:, 1].view(-1, 1, 1) + shift[:, 1].view(-1, 1, 1)
    warp = _elastic(count, size, generator, device) * column(spread)
    return px + warp[:, 0], py + warp[:, 1]


def _elastic(
    count: int, size: int, generator: torch.Generator, device: torch.device | str
) -> Tensor:
    """(count, 2, size, size) smooth displacements, large and small ones."""
    wide = smooth_noise(count, 2, size, 5, generator, device) * 0.035
    return wide + smooth_noise(count, 2, size, 12, generator, device) * 0.010


def column(values: Tensor) -> Tensor:
    """(B,) or (B, 1) -> (B, 1, 1, 1), one value for each of B pictures."""
    return values.view(-1, 1, 1, 1)


def smooth_noise(
    count: int, channels: int, size: int, cells: int,
    generator: torch.Generator, device: torch.device | str,
) -> Tensor:
    """(count, channels, size, size) noise of unit deviation or so, `cells` bumps a side."""
    coarse = torch.randn(
        count, channels, cells + 3, cells + 3, generator=generator, device=device
    )
    return F.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=True)
