"""What generated bodies are made of: torsos with the organs where they lie, and bodies of nested
blobs without any likeness."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import NamedTuple

import torch
from torch import Tensor

from .anatomy import Anatomy, Draw, sources

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


class _Plan(NamedTuple):
    """`_TORSO` as tensors: (K, 8) numbers, and (K,) tissue, chance and parent of each solid."""

    numbers: Tensor
    tissue: Tensor
    chance: Tensor
    parent: Tensor


def _plan(device: torch.device | str) -> _Plan:
    names = [row[0] for row in _TORSO]
    return _Plan(
        torch.tensor([row[1:9] for row in _TORSO], dtype=torch.float32, device=device),
        torch.tensor([_TISSUES.index(row[9]) for row in _TORSO], device=device),
        torch.tensor([row[10] for row in _TORSO], device=device),
        torch.tensor([names.index(row[11] or row[0]) for row in _TORSO], device=device),
    )


def _torsos(count: int, generator: torch.Generator, device: torch.device | str) -> Anatomy:
    rand, randn = sources(generator, device)
    plan, k, index = _plan(device), SOLIDS, torch.arange(SOLIDS, device=device)
    calm = _calm(k, device)
    centre, radii = _torso_places(plan, count, randn)
    # parts are sometimes structures of their own
    group = torch.where(rand(count, 1) < 0.4, index, plan.parent)
    tissue = torch.where(rand(count, k) < 0.15, SOLIDS - index % 20, plan.tissue)
    return Anatomy(
        centre=centre,
        radii=radii,
        angle=plan.numbers[:, 6] + randn(count, k) * 0.25 * calm,
        slope=randn(count, k, 2) * 0.12 * calm[:, None],
        bend=plan.numbers[:, 7] + randn(count, k) * 0.2 * calm,
        **_outline(count, rand, randn, square=0.6, wave=2.2, bump=0.16),
        present=rand(count, k) < plan.chance,
        group=group.expand(count, k).contiguous(),
        tissue=tissue,
    )


def _torso_places(plan: _Plan, count: int, randn: Draw) -> tuple[Tensor, Tensor]:
    """Centres and radii: (count, K, 3) each."""
    k, device = SOLIDS, plan.numbers.device
    mean, calm = plan.numbers[:, :3], _calm(k, device)[:, None]
    centre = mean + randn(count, k, 3) * 0.055 * calm
    part = plan.parent != torch.arange(k, device=device)
    centre = torch.where(  # a part moves with its organ
        part[:, None],
        centre[:, plan.parent] + mean - mean[plan.parent] + randn(count, k, 3) * 0.02,
        centre,
    )
    radii = plan.numbers[:, 3:6] * torch.exp(randn(count, k, 3) * 0.17 * calm)
    return centre, radii * torch.exp(randn(count, k, 1) * 0.13 * calm)


def _nested_blobs(count: int, generator: torch.Generator, device: torch.device | str) -> Anatomy:
    rand, randn = sources(generator, device)
    k = SOLIDS
    centre, radii, mirrored = _blob_places(count, generator, device)
    present = _wrapped(centre, radii, rand, randn)
    tissue, group = _blob_kinds(mirrored, rand)
    return Anatomy(
        centre=centre,
        radii=radii,
        angle=randn(count, k) * 1.2,
        slope=randn(count, k, 2) * 0.2,
        bend=randn(count, k) * 0.35,
        **_outline(count, rand, randn, square=1.0, wave=2.6, bump=0.22),
        present=present,
        group=group,
        tissue=tissue,
    )


def _blob_places(
    count: int, generator: torch.Generator, device: torch.device | str
) -> tuple[Tensor, Tensor, Tensor]:
    """Centres and radii, (count, K, 3), and bool (count, K), which mirror the one before."""
    rand, randn = sources(generator, device)
    k = SOLIDS
    centre = (rand(count, k, 3) * 2 - 1) * torch.tensor([0.75, 0.75, 1.0], device=device)
    size = torch.exp(torch.empty(count, k, 1, device=device).uniform_(
        math.log(0.035), math.log(0.42), generator=generator))
    size, _ = size.sort(dim=1, descending=True)  # small ones last, so that they are seen
    radii = size * torch.exp(randn(count, k, 3) * 0.35)
    radii[..., 2] = radii[..., 2] * 1.6
    mirrored = (rand(count, k) < 0.35) & (torch.arange(k, device=device) % 2 == 1)
    across = centre.roll(1, 1) * torch.tensor([-1.0, 1.0, 1.0], device=device)
    centre = torch.where(mirrored[..., None], across, centre)
    return centre, torch.where(mirrored[..., None], radii.roll(1, 1), radii), mirrored


def _wrapped(centre: Tensor, radii: Tensor, rand: Draw, randn: Draw) -> Tensor:
    """Up to three shells around everything, as heads and limbs have, in place of the first blobs;
    returns which solids are there, (count, K) bool."""
    count, k, _ = centre.shape
    thickness = torch.tensor([0.95, 0.84, 0.74], device=centre.device)
    shell = thickness * (0.85 + 0.15 * rand(count, 1))
    aspect = 0.7 + 0.3 * rand(count, 2, 1)
    centre[:, :3] = randn(count, 1, 3) * 0.04
    radii[:, :3, 0] = shell * aspect[:, 0]
    radii[:, :3, 1] = shell * aspect[:, 1]
    radii[:, :3, 2] = 2.0
    present = rand(count, k) < 0.3 + 0.5 * rand(count, 1)
    present[:, :3] = rand(count, 3) < 0.65
    return present


def _blob_kinds(mirrored: Tensor, rand: Draw) -> tuple[Tensor, Tensor]:
    """Tissue and group of each blob, (count, K)."""
    index = torch.arange(SOLIDS, device=mirrored.device)
    tissue = torch.where(rand(*mirrored.shape) < 0.35, index // 6, index)
    tissue = torch.where(mirrored, tissue.roll(1, 1), tissue)
    inner = (rand(*mirrored.shape) < 0.15) & (index > 6)
    group = torch.where(inner, index - 1, index)
    return tissue, group.gather(1, group)  # a part of a part belongs to the whole


def _outline(
    count: int, rand: Draw, randn: Draw, *, square: float, wave: float, bump: float
) -> dict[str, Tensor]:
    """The surfaces of `count` anatomies' solids.

    Args:
        square, wave, bump: largest squareness, deviation of the waves' frequencies, and their
            largest amplitude.
    """
    flat = rand(count, SOLIDS)
    return {
        "square": flat * square,
        "wave": randn(count, SOLIDS, 2, 3) * wave,
        "phase": rand(count, SOLIDS, 2) * 2 * math.pi,
        "bump": rand(count, SOLIDS) * bump * _calm(SOLIDS, flat.device),
    }


def _calm(solids: int, device: torch.device | str) -> Tensor:
    """(K,) factors: bodies have smoother outlines than what they contain."""
    factor = torch.ones(solids, device=device)
    factor[:3] = 0.3
    return factor


def _turned(anatomy: Anatomy, generator: torch.Generator) -> Anatomy:
    """Some anatomies mirrored or turned by quarters: pictures come in every orientation."""
    count = anatomy.centre.shape[0]
    rand, _ = sources(generator, anatomy.centre.device)
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
