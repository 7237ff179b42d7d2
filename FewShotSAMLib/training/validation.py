"""How well the embedded model does on generated images that no step learns from."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from ..models.embedded_network import EmbeddedNetwork
from ..models.precision import autocast, choose_precision
from .episodes import Episodes, random_episodes
from .losses import synergy_maps, unit_features
from .prompts import training_prompts

CHECKED = 32  # pairs of a validation, eight at a time
TARGETS = 4  # structures of a pair


@torch.no_grad()
def validate(
    network: EmbeddedNetwork, size: int, device: str, pairs: int = CHECKED
) -> dict[str, float]:
    """Mean Dice on fixed generated episodes, by the kind of prompt."""
    generator, where = torch.Generator(device).manual_seed(20_000), torch.device(device)
    scores: dict[str, list[Tensor]] = {}
    for start in range(0, pairs, 8):
        e = random_episodes(min(8, pairs - start), TARGETS, size, generator, device)
        with autocast(where, choose_precision(where)):
            for name, dice in _dice_by_prompt(network, e, generator):
                scores.setdefault(name, []).append(dice)
    return {name: torch.cat(parts).mean().item() for name, parts in scores.items()}


def _dice_by_prompt(
    network: EmbeddedNetwork, e: Episodes, generator: torch.Generator
) -> Iterator[tuple[str, Tensor]]:
    """The kind of prompt, and the Dice of each structure that is there."""
    s, q = network.encoder(e.support), network.encoder(e.query)
    maps = synergy_maps(unit_features(q), unit_features(s), e.support_masks)
    picture = torch.arange(len(e.query), device=e.query.device).repeat_interleave(TARGETS)
    truth = e.query_masks.flatten(0, 1)
    for kind, name in enumerate(("points", "synpo", "mask", "box", "refine")):
        prompts = training_prompts(
            truth, e.support_masks.flatten(0, 1), e.neighbours[picture], maps.fused,
            maps.low, maps.deviation, generator,
            kind=torch.full((len(truth),), kind, device=truth.device),
        )
        logits, _ = network.decode(q.select(picture), prompts)
        yield name, _dice(logits, truth > 0.5)


def _dice(logits: Tensor, real: Tensor) -> Tensor:
    """Of (B, 1, h, w) logits with those of (B, S, S) structures that are there."""
    big = F.interpolate(logits, size=real.shape[-1], mode="bilinear")[:, 0] > 0
    dice = 2 * (big & real).sum((1, 2)) / (big.sum((1, 2)) + real.sum((1, 2))).clamp(min=1)
    return dice[real.flatten(1).any(1)]
