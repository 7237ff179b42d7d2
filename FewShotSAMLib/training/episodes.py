"""Training episodes: a support picture, a query picture, and structures to find in both.

Half of the episodes are two slices of one generated patient, half two patients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..models.embedded import brightened
from .anatomy import (
    Anatomy,
    another_patient,
    cut,
    picture_plane,
    random_differences,
    sources,
)
from .body_plans import random_anatomies
from .rendering import (
    Appearance,
    Scanner,
    another_scan,
    random_appearance,
    random_scanner,
    render,
)


@dataclass(frozen=True, eq=False)
class Episodes:
    """B pairs of pictures with T structures each.

    Attributes:
        support, query: (B, 1, S, S) pictures in [0, 1], dark ones brightened as the model does.
        support_groups, query_groups: (B, S, S) long, the structure at each pixel, 0 for none.
        support_masks, query_masks: (B, T, S, S) float 0 or 1.
        neighbours: (B,) bool, the two are slices of one patient.
    """

    support: Tensor
    query: Tensor
    support_groups: Tensor
    query_groups: Tensor
    support_masks: Tensor
    query_masks: Tensor
    neighbours: Tensor


def random_episodes(
    pairs: int, targets: int, size: int, generator: torch.Generator, device: torch.device | str
) -> Episodes:
    """Freshly generated episodes at `size` pixels a side."""
    neighbours, views = _two_views(pairs, size, generator, device)
    pictures, groups, filled = zip(*(_seen(view, generator) for view in views), strict=True)
    containers = views[0].anatomy.containers
    chosen, whole = _choose(groups, targets, containers, neighbours, generator)
    masks = [_masks(g, f, chosen, whole) for g, f in zip(groups, filled, strict=True)]
    return Episodes(*pictures, *groups, *masks, neighbours)


class _View(NamedTuple):
    """What is seen of B anatomies: how they look, through which scanner, at which height (B,), and
    where in their plane each pixel lies, (B, S, S)."""

    anatomy: Anatomy
    look: Appearance
    scanner: Scanner
    height: Tensor
    x: Tensor
    y: Tensor


def _two_views(
    pairs: int, size: int, generator: torch.Generator, device: torch.device | str
) -> tuple[Tensor, list[_View]]:
    """(B,) bool, whether the two are slices of one patient; and the two."""
    rand, _ = sources(generator, device)
    anatomy = random_anatomies(pairs, generator, device)
    neighbours = rand(pairs) < 0.5
    differences = random_differences(neighbours, generator)
    other = another_patient(anatomy, generator, differences)
    look = random_appearance(anatomy.tissue, generator)
    look_other = another_scan(look, generator, differences.intensity)
    scanner, second = (random_scanner(pairs, generator, device) for _ in range(2))
    scanner_other = scanner.where(neighbours | (rand(pairs) < 0.4), second)
    heights = _heights(neighbours, generator)
    spread = torch.where(neighbours, 0.12 * rand(pairs), 0.2 + 1.1 * rand(pairs))
    planes = _planes(size, spread, generator)
    return neighbours, [
        _View(anatomy, look, scanner, heights[0], *planes[0]),
        _View(other, look_other, scanner_other, heights[1], *planes[1]),
    ]


def _heights(neighbours: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """z of both slices, (B,): a step apart in one patient, about the same place in two."""
    rand, randn = sources(generator, neighbours.device)
    pairs = len(neighbours)
    height = rand(pairs) * 2 - 1
    step = torch.where(rand(pairs) < 0.5, 1.0, -1.0) * (0.01 + 0.2 * rand(pairs) ** 1.5)
    drift = randn(pairs) * 0.08
    return height, height + torch.where(neighbours, step, drift)


def _planes(
    size: int, spread: Tensor, generator: torch.Generator
) -> list[tuple[Tensor, Tensor]]:
    """x and y of both pictures' pixels, (B,) warps apart; a close-up shows the same part in
    both."""
    pairs, device = len(spread), spread.device
    rand, _ = sources(generator, device)
    zoom = torch.where(rand(pairs) < 0.25, 0.3 + 0.65 * rand(pairs), 0.95 + 0.12 * rand(pairs))
    wide = torch.where(zoom < 1, torch.ones_like(zoom), zoom)
    planes = [
        picture_plane(pairs, size, generator, device, spread=spread, zoom=wide)
        for _ in range(2)
    ]
    close = zoom.clamp(max=1).view(-1, 1, 1)
    across, down = ((1 - close) * (rand(pairs, 1, 1) * 1.2 - 0.6) for _ in range(2))
    return [(x * close + across, y * close + down) for x, y in planes]


def _seen(view: _View, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Picture (B, 1, S, S), structure at each pixel (B, S, S), containers filled (B, C, S, S)."""
    labels, filled = cut(view.anatomy, view.height, view.x, view.y)
    picture = brightened(render(labels, view.look, view.scanner, generator))
    air = torch.zeros(len(labels), 1, dtype=torch.long, device=labels.device)
    structure = torch.cat([air, view.anatomy.group + 1], 1)
    return picture, structure.gather(1, labels.flatten(1)).view_as(labels), filled


def _masks(group: Tensor, filled: Tensor, chosen: Tensor, whole: Tensor) -> Tensor:
    """(B, T, S, S) of the chosen structures, filled where they are wanted whole."""
    mask = (group[:, None] == chosen[:, :, None, None]).float()
    index = (chosen - 1).clamp(0, filled.shape[1] - 1)[:, :, None, None]
    body = filled.gather(1, index.expand(-1, -1, *group.shape[1:])).float()
    return torch.where(whole[:, :, None, None], body, mask)


def _choose(
    groups: Sequence[Tensor], targets: int, containers: int, neighbours: Tensor,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Which structures are asked for: (B, T) group ids, and which of them filled.

    Structures that end between two neighbouring slices are asked for more often: a mask that is
    carried from slice to slice has to learn where to stop.
    """
    least, (support, query) = max(6.0, 0.0008 * groups[0].shape[1] ** 2), _areas(groups)
    absent = torch.where(neighbours, 2.5, 0.5)[:, None]
    weight = (support >= least).float() * support.clamp(min=1) ** 0.2
    weight = weight * torch.where(query >= least, 1.0, absent)
    weight[:, 0] = 1e-6  # only where there is nothing else
    chosen = torch.multinomial(weight, targets, replacement=True, generator=generator)
    shape, device = chosen.shape, chosen.device
    body = torch.rand(shape, generator=generator, device=device) < 0.08
    shell = torch.randint(1, containers + 1, shape, generator=generator, device=device)
    return torch.where(body, shell, chosen), body


def _areas(groups: Sequence[Tensor]) -> list[Tensor]:
    """Pixels of each structure: (B, structures) of each picture."""
    count = int(max(g.max() for g in groups)) + 1
    areas = []
    for g in (g.flatten(1) for g in groups):
        area = torch.zeros(len(g), count, device=g.device)
        areas.append(area.scatter_add_(1, g, torch.ones_like(g, dtype=torch.float32)))
    return areas
