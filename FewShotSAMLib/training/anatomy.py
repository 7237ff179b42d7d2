"""Generated anatomies: solid bodies of random ellipsoids, cut into label maps.

An anatomy is a painter's list of K solids in a space where x and y run over [-1, 1] in the
picture (x to the patient's left, y to the back) and z through it. A solid is a bent, rotated,
bumpy ellipsoid; later ones cover earlier ones. Cutting the same anatomy at two heights gives two
slices of one patient; jittering its solids gives another patient. Everything is batched torch, so
that it runs on the device that trains.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

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
        return self.centre.shape[1]


# The torso's solids: name, centre x y z, radii x y z, angle, bend, tissue, chance to be there,
# and the solid whose structure it belongs to (itself if empty).
_TORSO = [
    ("fat", 0, 0, 0, 0.92, 0.68, 9, 0, 0, "fat", 1, ""),
    ("muscle", 0, 0, 0, 0.86, 0.61, 9, 0, 0, "muscle", 1, ""),
    ("cavity", 0, -0.04, 0, 0.79, 0.53, 9, 0, 0, "fat", 1, ""),
    ("lung right", -0.42, 0.0, 1.15, 0.36, 0.42, 0.5, 0, 0, "air", 0.9, ""),
    ("lung left", 0.42, 0.0, 1.15, 0.34, 0.42, 0.5, 0, 0, "air", 0.9, ""),
    ("paraspinal right", -0.21, 0.47, 0, 0.18, 0.13, 9, 0.2, 0, "muscle", 1, ""),
    ("paraspinal left", 0.21, 0.47, 0, 0.18, 0.13, 9, -0.2, 0, "muscle", 1, ""),
    ("psoas right", -0.18, 0.3, -0.6, 0.09, 0.11, 0.7, 0, 0, "muscle", 1, ""),
    ("psoas left", 0.18, 0.3, -0.6, 0.09, 0.11, 0.7, 0, 0, "muscle", 1, ""),
    ("vertebra", 0, 0.31, 0, 0.13, 0.115, 9, 0, 0, "bone", 1, ""),
    ("arch", 0, 0.5, 0, 0.05, 0.12, 9, 0, 0, "bone", 0.9, ""),
    ("canal", 0, 0.44, 0, 0.06, 0.045, 9, 0, 0, "fluid", 1, ""),
    ("bowel 1", -0.5, -0.1, -0.6, 0.16, 0.14, 0.3, 0, 0.2, "bowel", 0.8, ""),
    ("bowel 2", -0.3, -0.25, -0.5, 0.16, 0.12, 0.2, 0, 0.2, "gut", 0.8, ""),
    ("bowel 3", -0.1, -0.2, -0.6, 0.14, 0.13, 0.2, 0, -0.3, "bowel", 0.8, ""),
    ("bowel 4", 0.15, -0.25, -0.5, 0.17, 0.11, 0.2, 0, 0.3, "gut", 0.8, ""),
    ("bowel 5", 0.35, -0.15, -0.55, 0.13, 0.12, 0.2, 0, 0, "bowel", 0.8, ""),
    ("bowel 6", 0.55, -0.05, -0.4, 0.13, 0.15, 0.4, 0, 0, "gut", 0.8, ""),
    ("bowel 7", 0.0, -0.35, -0.2, 0.2, 0.08, 0.2, 0, 0.3, "bowel", 0.7, ""),
    ("bowel 8", 0.4, -0.3, 0.0, 0.15, 0.12, 0.2, 0.4, 0.2, "gut", 0.7, ""),
    ("stomach", 0.28, -0.2, 0.35, 0.26, 0.2, 0.35, 0.5, 0.3, "muscle", 0.9, ""),
    ("stomach content", 0.29, -0.22, 0.35, 0.2, 0.14, 0.3, 0.5, 0.3, "fluid", 0.8, "stomach"),
    ("pancreas", 0.1, -0.02, 0.08, 0.3, 0.07, 0.12, 0.3, 0.4, "gland", 0.8, ""),
    ("liver", -0.38, -0.06, 0.38, 0.4, 0.42, 0.55, 0.4, 0.3, "liver", 0.95, ""),
    ("liver left", -0.08, -0.26, 0.45, 0.36, 0.18, 0.32, 0.15, 0.2, "liver", 0.9, "liver"),
    ("liver vein", -0.32, -0.05, 0.4, 0.14, 0.025, 0.12, 0.5, 0.4, "blood", 0.5, "liver"),
    ("gallbladder", -0.28, -0.22, 0.02, 0.07, 0.09, 0.14, 0.3, 0, "fluid", 0.6, ""),
    ("spleen", 0.58, 0.14, 0.42, 0.13, 0.3, 0.32, 0.4, 0.4, "spleen", 0.95, ""),
    ("kidney right", -0.37, 0.24, -0.15, 0.13, 0.18, 0.36, -0.5, 0.15, "kidney", 0.95, ""),
    ("pelvis right", -0.31, 0.22, -0.15, 0.05, 0.07, 0.16, -0.5, 0, "fluid", 0.7, "kidney right"),
    ("kidney left", 0.37, 0.24, -0.03, 0.13, 0.18, 0.36, 0.5, 0.15, "kidney", 0.95, ""),
    ("pelvis left", 0.31, 0.22, -0.03, 0.05, 0.07, 0.16, 0.5, 0, "fluid", 0.7, "kidney left"),
    ("adrenal", -0.2, 0.18, 0.22, 0.07, 0.015, 0.1, 0.6, 0.5, "gland", 0.5, ""),
    ("aorta", 0.06, 0.15, 0, 0.055, 0.055, 9, 0, 0, "blood", 1, ""),
    ("cava", -0.1, 0.14, 0, 0.065, 0.05, 9, 0, 0, "blood", 0.95, ""),
    ("portal vein", -0.12, -0.02, 0.2, 0.16, 0.035, 0.08, 0.5, 0.2, "blood", 0.6, ""),
    ("hip right", -0.5, 0.15, -1.25, 0.09, 0.28, 0.45, -0.6, 0.3, "bone", 1, ""),
    ("hip left", 0.5, 0.15, -1.25, 0.09, 0.28, 0.45, 0.6, 0.3, "bone", 1, ""),
    ("bladder", 0, -0.12, -1.3, 0.27, 0.22, 0.35, 0, 0, "fluid", 0.9, ""),
    ("rib 1", -0.72, 0.12, 0.3, 0.035, 0.08, 0.2, 0.3, 0.3, "bone", 0.8, ""),
    ("rib 2", 0.72, 0.12, 0.3, 0.035, 0.08, 0.2, -0.3, 0.3, "bone", 0.8, ""),
    ("heart", 0.12, -0.2, 1.15, 0.36, 0.3, 0.4, 0.5, 0, "blood", 0.9, ""),
]
SOLIDS = len(_TORSO)
_TISSUES = sorted({row[9] for row in _TORSO})
TISSUES = SOLIDS + 1  # room for anatomies in which every solid is a tissue of its own


def random_anatomies(
    count: int, generator: torch.Generator, device: torch.device | str = "cpu"
) -> Anatomy:
    """`count` anatomies, about half of them torsos, the others without any likeness."""
    torso = _torsos(count, generator, device)
    other = _nested_blobs(count, generator, device)
    pick = torch.rand(count, generator=generator, device=device) < 0.55
    mixed = {}
    for f in fields(Anatomy):
        a, b = getattr(torso, f.name), getattr(other, f.name)
        if isinstance(a, Tensor):
            mixed[f.name] = torch.where(pick.view(-1, *[1] * (a.dim() - 1)), a, b)
    return _turned(Anatomy(**mixed), generator)


def _torsos(count: int, generator: torch.Generator, device: torch.device | str) -> Anatomy:
    rand, randn = _sources(generator, device)
    numbers = torch.tensor([row[1:9] for row in _TORSO], dtype=torch.float32, device=device)
    names = [row[0] for row in _TORSO]
    tissue = torch.tensor([_TISSUES.index(row[9]) for row in _TORSO], device=device)
    chance = torch.tensor([row[10] for row in _TORSO], device=device)
    parent = torch.tensor([names.index(row[11] or row[0]) for row in _TORSO], device=device)
    k = len(names)
    inside = torch.ones(k, device=device)
    inside[:3] = 0.3
    centre = numbers[:, :3] + randn(count, k, 3) * 0.055 * inside[:, None]
    part = parent != torch.arange(k, device=device)
    centre = torch.where(  # a part moves with its organ
        part[:, None],
        centre[:, parent] + numbers[:, :3] - numbers[parent, :3] + randn(count, k, 3) * 0.02,
        centre,
    )
    radii = numbers[:, 3:6] * torch.exp(randn(count, k, 3) * 0.17 * inside[:, None])
    radii = radii * torch.exp(randn(count, k, 1) * 0.13 * inside[:, None])
    # parts are sometimes structures of their own
    own = rand(count, 1) < 0.4
    group = torch.where(own, torch.arange(k, device=device), parent)
    lone = rand(count, k) < 0.15
    tissues = torch.where(lone, SOLIDS - torch.arange(k, device=device) % 20, tissue)
    return Anatomy(
        centre=centre,
        radii=radii,
        angle=numbers[:, 6] + randn(count, k) * 0.25 * inside,
        slope=randn(count, k, 2) * 0.12 * inside[:, None],
        bend=numbers[:, 7] + randn(count, k) * 0.2 * inside,
        square=rand(count, k) * 0.6,
        wave=randn(count, k, 2, 3) * 2.2,
        phase=rand(count, k, 2) * 2 * math.pi,
        bump=rand(count, k) * 0.16 * _calm(k, device),
        present=rand(count, k) < chance,
        group=group.expand(count, k).contiguous(),
        tissue=tissues,
    )


def _nested_blobs(count: int, generator: torch.Generator, device: torch.device | str) -> Anatomy:
    rand, randn = _sources(generator, device)
    k = SOLIDS
    centre = (rand(count, k, 3) * 2 - 1) * torch.tensor([0.75, 0.75, 1.0], device=device)
    size = torch.exp(torch.empty(count, k, 1, device=device).uniform_(
        math.log(0.035), math.log(0.42), generator=generator))
    size, _ = size.sort(dim=1, descending=True)  # small ones last, so that they are seen
    radii = size * torch.exp(randn(count, k, 3) * 0.35)
    radii[..., 2] = radii[..., 2] * 1.6
    # pairs: odd solids mirror the one before
    mirrored = (rand(count, k) < 0.35) & (torch.arange(k, device=device) % 2 == 1)
    before = centre.roll(1, 1)
    centre = torch.where(
        mirrored[..., None], before * torch.tensor([-1.0, 1.0, 1.0], device=device), centre
    )
    radii = torch.where(mirrored[..., None], radii.roll(1, 1), radii)
    # up to three shells around everything, as heads and limbs have
    shell = torch.tensor([0.95, 0.84, 0.74], device=device) * (0.85 + 0.15 * rand(count, 1))
    aspect = 0.7 + 0.3 * rand(count, 2, 1)
    centre[:, :3] = randn(count, 1, 3) * 0.04
    radii[:, :3, 0] = shell * aspect[:, 0]
    radii[:, :3, 1] = shell * aspect[:, 1]
    radii[:, :3, 2] = 2.0
    present = rand(count, k) < 0.3 + 0.5 * rand(count, 1)
    present[:, :3] = rand(count, 3) < 0.65
    index = torch.arange(k, device=device)
    alike = rand(count, k) < 0.35
    tissue = torch.where(alike, index // 6, index)
    tissue = torch.where(mirrored, tissue.roll(1, 1), tissue)
    inner = (rand(count, k) < 0.15) & (index > 6)
    group = torch.where(inner, index - 1, index)
    group = group.gather(1, group)  # a part of a part belongs to the whole
    return Anatomy(
        centre=centre,
        radii=radii,
        angle=randn(count, k) * 1.2,
        slope=randn(count, k, 2) * 0.2,
        bend=randn(count, k) * 0.35,
        square=rand(count, k),
        wave=randn(count, k, 2, 3) * 2.6,
        phase=rand(count, k, 2) * 2 * math.pi,
        bump=rand(count, k) * 0.22 * _calm(k, device),
        present=present,
        group=group,
        tissue=tissue,
    )


def _calm(solids: int, device: torch.device | str) -> Tensor:
    """(K,) factors: bodies have smoother outlines than what they contain."""
    factor = torch.ones(solids, device=device)
    factor[:3] = 0.3
    return factor


def _turned(anatomy: Anatomy, generator: torch.Generator) -> Anatomy:
    """Some anatomies mirrored or turned by quarters: pictures come in every orientation."""
    count = anatomy.centre.shape[0]
    rand, _ = _sources(generator, anatomy.centre.device)
    flip = torch.where(rand(count, 1) < 0.25, -1.0, 1.0)
    quarter = torch.where(rand(count, 1) < 0.25, torch.floor(rand(count, 1) * 4), 0.0)
    turn = quarter * (math.pi / 2)
    centre, slope = anatomy.centre.clone(), anatomy.slope.clone()
    for pair in (centre, slope):
        x, y = pair[..., 0] * flip, pair[..., 1].clone()
        pair[..., 0] = torch.cos(turn) * x - torch.sin(turn) * y
        pair[..., 1] = torch.sin(turn) * x + torch.cos(turn) * y
    return replace(
        anatomy,
        centre=centre,
        slope=slope,
        angle=anatomy.angle * flip + turn,
        bend=anatomy.bend,
    )


def another_patient(anatomy: Anatomy, generator: torch.Generator, strength: Tensor) -> Anatomy:
    """The same organs in another body.

    Args:
        strength: (B,), 0 leaves the anatomy as it is, 1 is a usual difference between persons.
    """
    _, randn = _sources(generator, anatomy.centre.device)
    b, k = anatomy.angle.shape
    s = strength.view(b, 1)
    inside = torch.ones(k, device=s.device)
    inside[: anatomy.containers] = 0.4
    shift = randn(b, k, 3) * torch.tensor([0.035, 0.035, 0.06], device=s.device)
    # parts of a structure move together
    shift = shift.gather(1, anatomy.group[..., None].expand(-1, -1, 3))
    body = torch.exp(randn(b, 1, 3) * 0.06 * s[..., None])
    own = randn(b, k, 3) * 0.1
    own = own.gather(1, anatomy.group[..., None].expand(-1, -1, 3))
    return replace(
        anatomy,
        centre=anatomy.centre * body + shift * s[..., None] * inside[:, None],
        radii=anatomy.radii * body * torch.exp(own * s[..., None] * inside[:, None]),
        angle=anatomy.angle + randn(b, k) * 0.15 * s * inside,
        slope=anatomy.slope + randn(b, k, 2) * 0.05 * s[..., None],
        bend=anatomy.bend + randn(b, k) * 0.12 * s * inside,
        wave=anatomy.wave + randn(b, k, 2, 3) * 0.4 * s.view(b, 1, 1, 1),
        phase=anatomy.phase + randn(b, k, 2) * 0.8 * s[..., None],
    )


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
    labels = torch.zeros(b, h, w, dtype=torch.long, device=x.device)
    filled = torch.zeros(b, anatomy.containers, h, w, dtype=torch.bool, device=x.device)
    for k in range(anatomy.solids):
        up = (height - anatomy.centre[:, k, 2]) / anatomy.radii[:, k, 2]
        hit = torch.nonzero(anatomy.present[:, k] & (up.abs() < 1.25)).flatten()
        if hit.numel() == 0:
            continue
        inside = _solid(anatomy, k, hit, height[hit], x[hit], y[hit]) < 0
        labels[hit] = torch.where(inside, k + 1, labels[hit])
        if k < anatomy.containers:
            filled[hit, k] = inside
    return labels, filled


def _solid(
    a: Anatomy, k: int, hit: Tensor, height: Tensor, x: Tensor, y: Tensor
) -> Tensor:
    def of(values: Tensor) -> Tensor:
        return values[hit, k].view(-1, 1, 1)

    rise = (height - a.centre[hit, k, 2]).view(-1, 1, 1)
    dx = x - of(a.centre[..., 0]) - of(a.slope[..., 0]) * rise
    dy = y - of(a.centre[..., 1]) - of(a.slope[..., 1]) * rise
    cos, sin = torch.cos(of(a.angle)), torch.sin(of(a.angle))
    u = (cos * dx + sin * dy) / of(a.radii[..., 0])
    v = (cos * dy - sin * dx) / of(a.radii[..., 1])
    w = rise / of(a.radii[..., 2])
    u = u + of(a.bend) * (v * v - 0.5)
    u2, v2, w2 = u * u, v * v, w * w
    round_ = torch.sqrt(u2 + v2 + w2)
    boxy = torch.sqrt(torch.sqrt(u2 * u2 + v2 * v2 + w2 * w2))
    q = of(a.square)
    surface = round_ + (boxy - round_) * q - 1
    for n, weight in ((0, 1.0), (1, 0.6)):
        wave = a.wave[hit, k, n].view(-1, 3, 1, 1)
        swing = torch.sin(
            wave[:, 0] * u + wave[:, 1] * v + wave[:, 2] * w + of(a.phase[..., n])
        )
        surface = surface + weight * of(a.bump) * swing
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
    rand, randn = _sources(generator, device)
    line = (torch.arange(size, device=device) + 0.5) / size * 2 - 1
    y, x = torch.meshgrid(line, line, indexing="ij")
    turn = randn(count) * 0.06 * spread
    scale = zoom[:, None] * torch.exp(randn(count, 2) * 0.04 * spread[:, None])
    shift = randn(count, 2) * 0.03 * spread[:, None]
    shift = shift + (1 - zoom.clamp(max=1))[:, None] * (rand(count, 2) * 1.6 - 0.8)
    cos, sin = torch.cos(turn).view(-1, 1, 1), torch.sin(turn).view(-1, 1, 1)
    px = (cos * x + sin * y) * scale[:, 0].view(-1, 1, 1) + shift[:, 0].view(-1, 1, 1)
    py = (cos * y - sin * x) * scale[:, 1].view(-1, 1, 1) + shift[:, 1].view(-1, 1, 1)
    warp = smooth_noise(count, 2, size, 5, generator, device) * 0.035
    warp = warp + smooth_noise(count, 2, size, 12, generator, device) * 0.010
    warp = warp * spread.view(-1, 1, 1, 1)
    return px + warp[:, 0], py + warp[:, 1]


def smooth_noise(
    count: int, channels: int, size: int, cells: int,
    generator: torch.Generator, device: torch.device | str,
) -> Tensor:
    """(count, channels, size, size) noise of unit deviation or so, `cells` bumps a side."""
    coarse = torch.randn(
        count, channels, cells + 3, cells + 3, generator=generator, device=device
    )
    fine = F.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=True)
    return fine


def _sources(generator: torch.Generator, device: torch.device | str):
    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device=device)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, device=device)

    return rand, randn
