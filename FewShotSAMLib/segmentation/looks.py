"""What a structure looks like, place by place: its grey levels and how even they are.

Bowel may be as bright as the liver beside it on the mean; it is nowhere as even. What a mask
that is carried from slice to slice takes in of its surroundings is seen by one of the two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .found import Found
from .presence import Appearance, PresenceParameters, learn_appearance, local_likeness
from .work import Work

_NOWHERE = -4.0  # logit


@dataclass(frozen=True)
class UnlikeParameters:
    """Constants; chosen on the abdominal MR and the CT.

    Attributes:
        grey, spread: taken from the logit for each unit that a place's likeness (see `presence`) in
            grey levels, and in their spread, is below `alike`, at most `most` units.
        around: sigma of that likeness in pixels.
    """

    grey: float = 0.75
    spread: float = 0.6
    alike: float = 0.3
    most: float = 2.0
    around: float = 1.5


@dataclass(frozen=True, eq=False)
class Looks:
    """Of one structure.

    Attributes:
        grey: its grey levels; spread: theirs around each place (`presence.local_spread`).
    """

    grey: Appearance
    spread: Appearance


def learn_looks(work: Work, found: Mapping[int, Found], presence: PresenceParameters) -> Looks:
    """From what was drawn or found in some slices: masks (R, R) that hold something."""
    return Looks(
        learn_grey(work, found, presence),
        _learnt(work.spread, work.thin_spread, found, presence),
    )


def learn_grey(
    work: Work, found: Mapping[int, Found], presence: PresenceParameters
) -> Appearance:
    """The grey levels alone."""
    return _learnt(work.grey, work.thin_grey, found, presence)


def _learnt(
    picture: Callable[[int], np.ndarray], volume: np.ndarray, found: Mapping[int, Found],
    presence: PresenceParameters,
) -> Appearance:
    masks = torch.stack([one.logits > 0 for one in found.values()]).cpu().numpy()
    return learn_appearance(np.stack([picture(index) for index in found]), masks, volume, presence)


def less_where_unlike(
    logits: Tensor, looks: Looks, work: Work, index: int, p: UnlikeParameters
) -> Tensor:
    """Logits (R, R) of a slice without what lies beside the structure and does not look like it;
    where nothing speaks for the structure they stay as they are."""
    maybe = logits > _NOWHERE
    if not bool(maybe.any()):
        return logits
    box = tuple(_around(maybe.any(axis), p) for axis in (1, 0))
    logits = logits.clone()
    for weight, look, picture in (
        (p.grey, looks.grey, work.grey(index)), (p.spread, looks.spread, work.spread(index))
    ):
        alike = torch.from_numpy(local_likeness(look, picture[box], p.around)).to(logits.device)
        logits[box] += weight * (alike - p.alike).clamp(-p.most, 0)
    return logits


def _around(some: Tensor, p: UnlikeParameters) -> slice:
    """From the first to the last of a row's places, and what `local_likeness` sees beside them."""
    places = some.nonzero()
    beside = math.ceil(4 * p.around)
    return slice(max(int(places[0]) - beside, 0), int(places[-1]) + beside + 1)
