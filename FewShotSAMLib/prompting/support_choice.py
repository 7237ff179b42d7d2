"""Several supports of one class: which of them speaks for a query slice.

SynPo is one-shot. The papers' protocol gives each third of an organ its own support slice, which
needs to know where the organ lies; without that knowledge similarity has to decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .synpo import SynPo, SynPoSupport


@dataclass(frozen=True, eq=False)
class CombinedConfidence:
    """One map per query slice out of several supports' maps.

    confidence: (N, R, R). supports: N supports whose statistics fit the maps, for
    `SynPo.prompts`. chosen: (N,) long, index of the support that is most like each slice.
    affinity: (N,), how like (see `SynPo.affinity`).
    """

    confidence: Tensor
    supports: tuple[SynPoSupport, ...]
    chosen: Tensor
    affinity: Tensor


def combine(
    synpo: SynPo,
    confidences: Tensor,
    supports: Sequence[SynPoSupport],
    how: Literal["best", "mean"] = "best",
) -> CombinedConfidence:
    """Combine the maps (S, N, R, R) of S supports of one class.

    "best": each slice takes the map of the support with the highest affinity; the first of equals.
    "mean": the plain mean of the maps, with the mean of the supports' statistics. Smoother, but
    unlike slices (the two ends of an organ) blur each other.
    Raises ValueError for another `how`, no support, or a number of maps that does not fit.
    """
    if len(supports) == 0 or len(supports) != len(confidences):
        raise ValueError(f"{len(confidences)} maps need as many supports, not {len(supports)}")
    affinity = torch.stack(
        [synpo.affinity(maps, one) for maps, one in zip(confidences, supports, strict=True)]
    )
    best, chosen = affinity.max(dim=0)
    slices = torch.arange(confidences.shape[1], device=confidences.device)
    if how == "best":
        per_slice = tuple(supports[index] for index in chosen.tolist())
        return CombinedConfidence(confidences[chosen, slices], per_slice, chosen, best)
    if how == "mean":
        average = _mean_support(synpo, supports)
        maps = confidences.mean(dim=0)
        return CombinedConfidence(maps, (average,) * len(slices), chosen, best)
    raise ValueError(f'how must be "best" or "mean", not "{how}"')


def _mean_support(synpo: SynPo, supports: Sequence[SynPoSupport]) -> SynPoSupport:
    """Statistics for the mean of several supports' maps."""
    with_background = [one for one in supports if one.has_background]
    count = max(len(with_background), 1)
    share = sum(one.foreground_share for one in supports) / len(supports)
    return SynPoSupport(
        prototypes=tuple(
            torch.stack(each).mean(dim=0)
            for each in zip(*(s.prototypes for s in supports), strict=True)
        ),
        foreground_share=share,
        positives=synpo.parameters.positives(share),
        background_mean=sum(one.background_mean for one in with_background) / count,
        background_deviation=sum(one.background_deviation for one in with_background) / count,
        has_background=bool(with_background),
        self_confidence=sum(one.self_confidence for one in supports) / len(supports),
    )
