"""Without a drawn slice: in which slices a structure is most certain to be found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..prompting.point_prompts import PointPrompts
from .monitor import Monitor
from .slices import Structure, certainty, propose, segment_slices
from .work import Work


@dataclass(frozen=True)
class KeySliceParameters:
    """Constants of the choice.

    Attributes:
        least: certainty below which no slice is taken.
        contested: factor on a slice's certainty where another structure asks for the same place:
            a structure that has a place of its own elsewhere should start there.
        count: slices to start from.
    """

    least: float = 0.3
    contested: float = 0.85
    count: int = 1


@dataclass(frozen=True, eq=False)
class Found:
    """A structure's mask in one slice, (R, R) logits, with its score and prompts."""

    logits: Tensor
    score: float
    prompts: PointPrompts | None
    source: str


Masks = dict[tuple[int, int], Found]  # by (label, slice)


def resized(logits: Tensor, size: int) -> Tensor:
    """(m, m) logits at another size."""
    if logits.shape[-1] == size:
        return logits
    return F.interpolate(
        logits[None, None], size=(size, size), mode="bilinear", align_corners=False,
        antialias=size < logits.shape[-1],
    )[0, 0]


def key_slices(
    work: Work, structures: Sequence[Structure], monitor: Monitor, p: KeySliceParameters
) -> Masks:
    """For each structure the slices that are most certain to hold it, segmented on their own."""
    size, model = work.slices.batch, work.slices.encoders.model
    candidates: dict[int, list[tuple[int, Found]]] = {s.label: [] for s in structures}
    for number in range(work.first // size, work.last // size + 1):
        base = number * size
        monitor.report("look", max(base, work.first) - work.first, work.last - work.first + 1)
        with monitor.stage("encode"):
            encoded = work.slices.run(number)
        count = len(encoded.embeddings)
        with monitor.stage("prompts"):
            proposals = propose(
                work.synpo, encoded, structures, work.valid, work.seed, work.background
            )
        with monitor.stage("decode"):
            masks = segment_slices(
                model, encoded,
                torch.arange(count, device=work.device).repeat(len(structures)),
                [q for proposal in proposals for q in proposal.prompts],
                torch.cat([proposal.confidence for proposal in proposals]), work.synpo,
            )
        contested = _contested(masks.logits, len(structures))
        for n, (structure, proposal) in enumerate(zip(structures, proposals, strict=True)):
            for k in range(count):
                if not work.first <= base + k <= work.last:
                    continue
                row = n * count + k
                score = certainty(model, masks.quality[row], proposal.affinity[k])
                if contested[n, k]:
                    score *= p.contested
                candidates[structure.label].append((
                    base + k, Found(masks.logits[row], score, proposal.prompts[k], "prompted")
                ))
    count = work.last - work.first + 1
    monitor.report("look", count, count)
    found: Masks = {}
    for label, scored in candidates.items():
        score = np.array([one.score for _, one in scored])
        padded = np.pad(score, 1, mode="edge")
        steady = 0.5 * score + 0.25 * (padded[:-2] + padded[2:])
        for place in np.argsort(-steady)[: p.count]:
            index, one = scored[place]
            if (work.assume_present or one.score >= p.least) and bool(
                (one.logits > 0).any()
            ):
                found[label, index] = replace(
                    one, logits=resized(one.logits, work.synpo.parameters.roi_size)
                )
    return found


def _contested(logits: Tensor, structures: int) -> np.ndarray:
    """Where two structures ask for the same place: (T, N) bool of masks (T * N, m, m) of T
    structures in N slices, one after the other, that overlap another one's by half or more."""
    inside = (logits > 0).float().unflatten(0, (structures, -1)).flatten(2)  # (T, N, m * m)
    shared = torch.einsum("anm,bnm->abn", inside, inside)
    area = inside.sum(2)
    united = area[:, None] + area[None] - shared
    overlap = shared / united.clamp(min=1)
    overlap[range(structures), range(structures)] = 0
    return (overlap.amax(1) >= 0.5).cpu().numpy()
