"""What the embedded model learns from: features, confidence maps, masks and judgements."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from ..models.embedded_network import EmbeddedNetwork, Pyramid
from ..models.interfaces import PromptBatch
from ..prompting.confidence import fuse
from ..prompting.synpo_parameters import SynPoParameters
from .episodes import Episodes
from .prompts import training_prompts

WEIGHTS = SynPoParameters().synergy_weights(2)  # of the product and of each map


@dataclass(frozen=True)
class Losses:
    """The parts of one step's loss."""

    contrast: Tensor
    synergy: Tensor
    mask: Tensor
    quality: Tensor

    @property
    def total(self) -> Tensor:
        """Their weighted sum."""
        return 0.4 * self.contrast + 0.5 * self.synergy + self.mask + 0.3 * self.quality


def unit_features(pyramid: Pyramid) -> tuple[Tensor, Tensor]:
    """Both similarity features with unit length, (N, C, h, w)."""
    return (F.normalize(pyramid.position.float(), dim=1),
            F.normalize(pyramid.matching.float(), dim=1))


def contrast_loss(
    query: Tensor, support: Tensor, episodes: Episodes, scale: Tensor
) -> Tensor:
    """Every place of the query told apart by the support's mean unit features, all structures.

    Args:
        query, support: (B, C, h, w) unit features.
        scale: the softmax scale.
    """
    step = episodes.query.shape[-1] // query.shape[2]
    of_support, of_query = (
        groups[:, step // 2 :: step, step // 2 :: step].flatten(1)
        for groups in (episodes.support_groups, episodes.query_groups)
    )
    classes = int(max(of_support.max(), of_query.max())) + 1
    member = F.one_hot(of_support, classes).float()
    count = member.sum(1)
    means = torch.einsum("bcn,bnk->bck", support.flatten(2), member)
    means = means / count.clamp(min=1)[:, None]
    logits = scale * torch.einsum("bcn,bck->bnk", query.flatten(2), means)
    logits = logits.masked_fill((count == 0)[:, None], -1e4)
    known = (count > 0).gather(1, of_query)
    area = torch.zeros_like(count).scatter_add_(1, of_query, torch.ones_like(of_query).float())
    weight = known.float() / area.gather(1, of_query).clamp(min=1).sqrt()
    loss = F.cross_entropy(logits.flatten(0, 1), of_query.flatten(), reduction="none")
    return (loss * weight.flatten()).sum() / weight.sum().clamp(min=1e-6)


@dataclass(frozen=True)
class Synergy:
    """SynPo's fused map of B*T structures and its negative statistics."""

    fused: Tensor
    low: Tensor
    deviation: Tensor


def synergy_maps(
    query: tuple[Tensor, Tensor], support: tuple[Tensor, Tensor], masks: Tensor
) -> Synergy:
    """SynPo's maps (methods section 1, steps 1 to 3) at feature resolution, differentiable.

    Args:
        query, support: both (B, C, h, w) unit features.
        masks: (B, T, S, S) support masks.
    """
    h = query[0].shape[-1]
    cover = F.interpolate(masks, size=(h, h), mode="area")
    inside = cover.flatten(2)
    total = inside.sum(2).clamp(min=1e-3)
    maps, own = [], []
    for q, s in zip(query, support, strict=True):
        mean = torch.einsum("bcn,btn->btc", s.flatten(2), inside) / total[..., None]
        maps.append(torch.einsum("bchw,btc->bthw", q, mean))
        own.append(torch.einsum("bcn,btc->btn", s.flatten(2), mean.detach()))
    fused = fuse(maps, *WEIGHTS)
    with torch.no_grad():
        negative = fuse(own, *WEIGHTS)
        outside = (inside <= 0).float()
        n = outside.sum(2).clamp(min=1)
        low = (negative * outside).sum(2) / n
        deviation = (((negative - low[..., None]) ** 2 * outside).sum(2) / n).sqrt()
    return Synergy(fused.flatten(0, 1), low.flatten(), deviation.flatten())


def mask_loss(logits: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy and soft Dice of (B, m, m) logits; and the masks' overlap with the truth."""
    target = F.interpolate(truth[:, None], size=logits.shape[-2:], mode="area")[:, 0]
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    area = target.mean((1, 2))
    entropy = entropy.mean((1, 2)) / (area + 0.03).sqrt() * 0.5  # specks count too
    p = logits.sigmoid()
    both = (p * target).sum((1, 2))
    dice = 1 - (2 * both + 8) / (p.sum((1, 2)) + target.sum((1, 2)) + 8)
    with torch.no_grad():
        mask, real = logits > 0, target > 0.5
        union = (mask | real).sum((1, 2))
        overlap = ((mask & real).sum((1, 2)) / union.clamp(min=1)).where(union > 0, 1.0)
        overlap = overlap.where(real.flatten(1).any(1), torch.zeros_like(overlap))
    return (entropy + dice).mean(), overlap


def judgement_loss(judgements: Tensor, overlap: Tensor, there: Tensor) -> Tensor:
    """Overlap (B,) learnt where there is something to find, and whether there is, (B,) bool."""
    error = (judgements[:, 0].sigmoid() - overlap) ** 2
    presence = F.binary_cross_entropy_with_logits(judgements[:, 1], there.float())
    return (error * there).sum() / there.sum().clamp(min=1) + 0.7 * presence


def losses(network: EmbeddedNetwork, e: Episodes, generator: torch.Generator) -> Losses:
    """One step's losses on B episodes."""
    pairs, targets = e.query_masks.shape[:2]
    both = network.encoder(torch.cat([e.support, e.query]))
    index = torch.arange(pairs, device=e.query.device)
    of_support, of_query = both.select(index), both.select(index + pairs)
    unit_s, unit_q = unit_features(of_support), unit_features(of_query)
    scales = network.contrast.clamp(max=4.0).exp()
    contrast = sum(
        contrast_loss(q, s, e, scale)
        for q, s, scale in zip(unit_q, unit_s, scales, strict=True)
    )
    maps = synergy_maps(unit_q, unit_s, e.support_masks)
    truth = e.query_masks.flatten(0, 1)
    synergy = synergy_loss(maps.fused, truth, network.calibration)
    picture = index.repeat_interleave(targets)
    queries = of_query.select(picture)
    with torch.no_grad():
        prompts = training_prompts(
            truth, e.support_masks.flatten(0, 1), e.neighbours[picture], maps.fused.detach(),
            maps.low, maps.deviation, generator,
        )
        prompts = _sometimes_its_own(
            network, queries, of_support.select(picture), e, prompts, generator
        )
    logits, judgements = network.decode(queries, prompts)
    mask, overlap = mask_loss(logits[:, 0], truth)
    there = truth.flatten(1).sum(1) > 0
    return Losses(contrast, synergy, mask, judgement_loss(judgements, overlap, there))


def synergy_loss(fused: Tensor, truth: Tensor, calibration: Tensor) -> Tensor:
    """Balanced cross-entropy of (B, h, h) maps, calibrated by gain and bias, with (B, S, S)."""
    cover = F.interpolate(truth[:, None], size=fused.shape[-2:], mode="area")[:, 0]
    gain, bias = calibration
    share = cover.mean((1, 2), keepdim=True).clamp(0.01, 0.5)
    balance = cover / share.sqrt() + (1 - cover)
    entropy = F.binary_cross_entropy_with_logits(gain * fused + bias, cover, reduction="none")
    return (entropy * balance).mean()


def _sometimes_its_own(
    network: EmbeddedNetwork, queries: Pyramid, supports: Pyramid, e: Episodes,
    prompts: PromptBatch, generator: torch.Generator,
) -> PromptBatch:
    """In half of the steps most mask prompts are the network's own answers: in a quarter those to
    the same prompts, as the refinement does, in a quarter those of the neighbouring slice, as
    the propagation does."""
    device = prompts.points.device
    turn = torch.rand(1, generator=generator, device=device).item()
    if turn >= 0.5:
        return prompts
    chosen = torch.rand(len(prompts.points), 1, 1, 1, generator=generator, device=device) < 0.6
    if turn < 0.25:
        first, _ = network.decode(queries, prompts)
    else:
        first = _of_support(network, supports, e, generator)
        targets = e.support_masks.shape[1]
        near = e.neighbours.repeat_interleave(targets).view(-1, 1, 1, 1)
        chosen = chosen & near & ~torch.isnan(prompts.masks[:, :, :1, :1])
    small = F.interpolate(first, scale_factor=0.5, mode="area")
    return replace(prompts, masks=torch.where(chosen, small, prompts.masks))


def _of_support(
    network: EmbeddedNetwork, supports: Pyramid, e: Episodes, generator: torch.Generator
) -> Tensor:
    """The network's logits of the supports' structures, from worn masks and points."""
    truth = e.support_masks.flatten(0, 1)
    blank = torch.zeros(len(truth), 8, 8, device=truth.device)
    level = torch.zeros(len(truth), device=truth.device)
    near = torch.ones(len(truth), dtype=torch.bool, device=truth.device)
    kind = torch.randint(0, 2, (len(truth),), generator=generator, device=truth.device) * 2
    prompts = training_prompts(truth, truth, near, blank, level, level, generator, kind)
    first, _ = network.decode(supports, replace(prompts, confidence=None))
    return first
