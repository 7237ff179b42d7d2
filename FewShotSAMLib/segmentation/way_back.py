"""Strategy "propagate" comes back once: what far slices show that was missed on the way out.

A part of a structure that comes into view on the way (the left lobe of a liver) is nothing that
the slice before knows of; it is taken in where it has joined the rest, and the structure grows. A
front that turns around out there has it in its mask and follows it to where it ends. What it runs
into on its way is another structure more often than a missed part, so its masks are not believed
as such (see `parts`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace

import numpy as np
import torch

from .found import Found, Masks, inside, resized
from .fronts import Front, advance, start_fronts
from .monitor import Monitor
from .outward import show
from .parts import closing_parts, drawn_parts, wide
from .propagation_parameters import PropagationParameters
from .slices import Structure
from .work import Work


@dataclass(frozen=True, eq=False)
class Turn:
    """A front on its way back to `start`, the slice that its structure was followed from."""

    front: Front
    start: int

    @property
    def label(self) -> int:
        return self.front.structure.label

    @property
    def way(self) -> range:
        """The slices between, from the start outwards."""
        return range(self.start - self.front.step, self.front.index, -self.front.step)


def found_on_the_way_back(
    work: Work, found: Masks, starts: Set[tuple[int, int]], monitor: Monitor,
    p: PropagationParameters,
) -> Masks:
    """Masks that have gained a part, by (label, slice).

    Args:
        found: all that is known; starts: (label, slice) of it that fronts started at.
    """
    turns = [turn for s in work.structures for turn in _turns(work, s, found, starts, p)]
    if not turns:
        return {}
    stops = {*starts, *((turn.label, turn.front.index) for turn in turns)}

    def news(label: int, index: int, one: Found) -> bool:
        known, seen = (_inside(work, mask) for mask in (found.get((label, index)), one))
        return bool(wide(seen & ~known, p.parts).any())

    fronts = [turn.front for turn in turns]
    back = advance(work, fronts, found, stops, monitor, p, stage="return", news=news)
    with monitor.stage("parts"):
        gained: Masks = {}
        for turn in turns:
            gained |= _gained(work, turn, found, back, p)
        show(work, found | gained, {index for _, index in gained}, monitor)
    return gained


def _turns(
    work: Work, structure: Structure, found: Masks, starts: Set[tuple[int, int]],
    p: PropagationParameters,
) -> Iterator[Turn]:
    """Up to two: from above back to the highest slice it was followed from, and from below."""
    known = [index for label, index in found if label == structure.label]
    first = [index for label, index in starts if label == structure.label]
    for start, last in ((max(first), max(known)), (min(first), min(known))) if first else ():
        index = start + round((last - start) * p.turn)
        there = [
            _inside(work, found.get((structure.label, k)))
            for k in range(min(start, index), max(start, index) + 1)
        ]
        if len(there) < 3 or _growth(there if index > start else there[::-1]) < p.grown:
            continue
        one = found[structure.label, index]
        one = replace(one, logits=one.logits - p.margin)
        for front in start_fronts(work, structure, {(structure.label, index): one}, p):
            if (start - index) * front.step > 0:
                yield Turn(front, start)


def _growth(masks: Sequence[np.ndarray]) -> float:
    """How much an area grew on its way, all in all, as a share of its largest."""
    areas = np.array([np.count_nonzero(mask) for mask in masks])
    return float(np.diff(areas).clip(min=0).sum() / max(areas.max(), 1))


def _gained(
    work: Work, turn: Turn, found: Masks, back: Masks, p: PropagationParameters
) -> Masks:
    """One structure's masks between turn and start that have gained a part."""
    way = [index for index in turn.way if (turn.label, index) in found]
    pairs = [(found[turn.label, k], back.get((turn.label, k))) for k in way]
    known = np.stack([_inside(work, before) for before, _ in pairs])
    seen = np.stack([_inside(work, after) for _, after in pairs])
    grey = np.stack([work.grey(index) for index in way])
    if work.is_drawn(turn.label, turn.start):
        parts = drawn_parts(grey, known, seen, p.parts)
    else:
        scores = [(before.score, after.score if after else 0.0) for before, after in pairs]
        parts = closing_parts(grey, known, seen, scores, p.parts)
    return {
        (turn.label, index): _with_part(work, before, after, part)
        for index, (before, after), part in zip(way, pairs, parts, strict=True)
        if after is not None and part.any()
    }


def _with_part(work: Work, before: Found, after: Found, part: np.ndarray) -> Found:
    """A mask with a part of another one."""
    ours, theirs = (resized(one.logits, work.frame.size) for one in (before, after))
    where = torch.from_numpy(part).to(ours.device)
    return replace(before, logits=torch.where(where, torch.maximum(ours, theirs), ours))


def _inside(work: Work, one: Found | None) -> np.ndarray:
    """A mask (R, R), of nothing where nothing was found."""
    if one is None:
        return np.zeros((work.frame.size, work.frame.size), bool)
    return inside(one.logits, work.frame.size)
