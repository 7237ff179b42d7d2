"""What FoB learns from (methods, section 2, training), and how good its prompts are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..prompting.background_ring import contour_points, in_order, ring
from ..prompting.fob import Fob, FobAnswer, FobSupport
from ..prompting.pooling import heat_maps

SHARPNESS = 20.0  # logits of a place per unit of a map


@dataclass(frozen=True, eq=False)
class FobBatch:
    """Pairs of pictures, and B structures marked in both.

    Attributes:
        support, query: (P, C, S, S) pictures as the network's encoder wants them.
        picture: (B,) long, which pair each structure belongs to.
        support_masks, query_masks: (B, S, S) float 0 or 1.
    """

    support: Tensor
    query: Tensor
    picture: Tensor
    support_masks: Tensor
    query_masks: Tensor


@dataclass(frozen=True, eq=False)
class FobLosses:
    """The parts of one step's loss, means over the structures.

    `place` is not the paper's: the cross-entropy of where each map says its point is. Maps that
    are nearly everywhere zero teach little by their squared error; with it the small network
    finds the points in hundreds of steps instead of tens of thousands.
    """

    heat: Tensor
    fit: Tensor
    points: Tensor
    contrast: Tensor
    coarse: Tensor
    place: Tensor

    def total(self, place_weight: float = 0.0) -> Tensor:
        """The published sum, with `place` on top where it has a weight."""
        published = (
            1000 * (self.heat + self.fit) + self.points / 1e4 + self.contrast + self.coarse
        )
        return published + place_weight * self.place


def target_points(masks: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Where background points should be: (B, count, 2) as they lie along each contour, and bool
    (B,), which masks leave room for a ring."""
    found = [contour_points(ring(m).cpu().numpy() > 0, count) for m in masks]
    room = torch.tensor([p is not None for p in found], device=masks.device)
    nowhere = np.zeros((count, 2), np.int64)
    places = np.stack([nowhere if p is None else p for p in found])
    return torch.from_numpy(places).to(masks.device, torch.float32), room


def ordered(points: Tensor) -> Tensor:
    """Each row of (B, K, 2) in FoB's order."""
    return torch.stack([torch.from_numpy(in_order(p)) for p in points.cpu().numpy()]).to(points)


def usable(batch: FobBatch) -> Tensor:
    """bool (B,): structures that are marked on both sides."""
    return (batch.support_masks.flatten(1).any(1)) & (batch.query_masks.flatten(1).any(1))


def supports_of(fob: Fob, features: Tensor, batch: FobBatch) -> list[FobSupport]:
    """What FoB keeps of each of the B supports."""
    return [
        fob.prepare(features[p], mask)
        for p, mask in zip(batch.picture.tolist(), batch.support_masks, strict=True)
    ]


def answers(
    fob: Fob, features: tuple[Tensor, Tensor], threshold: Tensor, batch: FobBatch
) -> tuple[FobAnswer, list[FobSupport]]:
    """FoB's answers on a batch whose pictures are encoded: (support, query) features and the
    queries' thresholds."""
    supports = supports_of(fob, features[0], batch)
    answer = fob.answer(
        features[1][batch.picture], threshold[batch.picture],
        torch.stack([s.background for s in supports]),
        torch.stack([s.foreground for s in supports]),
    )
    return answer, supports


def fob_losses(fob: Fob, answer: FobAnswer, supports: list[FobSupport], batch: FobBatch
               ) -> FobLosses:
    """One step's losses. Structures without room for a ring teach only the coarse map."""
    side, count = fob.config.image_size, fob.config.points
    target, room = target_points(batch.query_masks, count)
    room = room & torch.tensor([s.has_ring for s in supports], device=room.device)
    sorted_target = ordered(target)
    maps = heat_maps(sorted_target, side)
    fit = F.interpolate(
        answer.fit.float(), size=(side, side), mode="bilinear", align_corners=True
    )
    share = room.float() / room.sum().clamp(min=1)

    def over_room(each: Tensor) -> Tensor:
        return (each * share).sum()

    repaired = fob.config.refinement == "repaired"
    points = answer.points if repaired else answer.points.detach()
    wanted = target if fob.config.refinement == "official" else sorted_target
    return FobLosses(
        heat=over_room(0.5 * ((answer.heat - maps) ** 2).mean((1, 2, 3))),
        fit=over_room(0.5 * ((fit - maps) ** 2).mean((1, 2, 3))),
        points=over_room(((points - wanted) ** 2).mean((1, 2))),
        contrast=over_room(_alike(supports)),
        coarse=_coarse(fob, answer.coarse, batch.query_masks),
        place=over_room(_misplaced(answer.heat, maps) + _misplaced(fit, maps)),
    )


def _alike(supports: list[FobSupport]) -> Tensor:
    """(B,): how alike the prototypes of background and foreground are, beyond a margin."""
    background = torch.stack([s.background for s in supports])
    foreground = torch.stack([s.foreground for s in supports])
    alike = F.cosine_similarity(foreground[:, None], background, dim=2)
    return (0.5 + alike).clamp(min=0).sum(1) / 10


def _coarse(fob: Fob, coarse: Tensor, masks: Tensor) -> Tensor:
    """Cross-entropy of the coarse map (B, S, S) with the masks."""
    chance = coarse.clamp(1e-6, 1 - 1e-6)
    logs = torch.stack([(1 - chance).log(), chance.log()], 1)
    return fob.network.nllloss(logs, (masks > 0.5).long())


def _misplaced(found: Tensor, maps: Tensor) -> Tensor:
    """(B,): cross-entropy of the places of (B, K, S, S) maps, a quarter of the size, mean over K.

    A map that is 1 at its point and 0 elsewhere is certain of it.
    """
    small, wanted = (F.avg_pool2d(m, 4).flatten(2) for m in (found, maps))
    wanted = wanted / wanted.sum(2, keepdim=True).clamp(min=1e-6)
    return -(wanted * (SHARPNESS * small).log_softmax(2)).sum(2).mean(1)


@torch.no_grad()
def prompt_error(fob: Fob, answer: FobAnswer, batch: FobBatch) -> dict[str, float]:
    """How good the prompts of a batch are.

    distance: mean pixels from a target background point to the nearest one that was made;
    negatives_inside: share of background points that fall on the structure (0 is best);
    positives_inside: share of positive points that do (1 is best).
    """
    target, room = target_points(batch.query_masks, fob.config.points)
    side = fob.config.image_size
    far, wrong, right = [], [], []
    for row, prompts in enumerate(fob.prompts(answer)):
        mask = batch.query_masks[row].cpu().numpy() > 0.5
        if bool(room[row]) and len(prompts.negatives):
            away = np.linalg.norm(
                prompts.negatives[None] - target[row].cpu().numpy()[:, None], axis=2
            )
            far.append(away.min(1).mean())
            wrong.append(_inside(mask, prompts.negatives, side).mean())
        right.append(_inside(mask, prompts.positives, side).mean())
    return {
        "distance": float(np.mean(far)) if far else float("nan"),
        "negatives_inside": float(np.mean(wrong)) if wrong else float("nan"),
        "positives_inside": float(np.mean(right)) if right else float("nan"),
    }


def _inside(mask: np.ndarray, points: np.ndarray, side: int) -> np.ndarray:
    x, y = np.clip(np.rint(points).astype(int), 0, side - 1).T
    return mask[y, x]
