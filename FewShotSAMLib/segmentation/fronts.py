"""Fronts: structures on their way from slice to slice, see `propagation`."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..prompting.encoded_slices import EncodedSlices
from ..prompting.interfaces import Kept, Near, Proposal, Question
from .borders import closed
from .finding.expected import dice_of, overlaps, within_reach
from .finding.prior import Prior
from .found import Found, Masks, Signals, resized
from .looks import Looks, learn_grey, learn_looks, less_where_unlike
from .monitor import Monitor
from .outward import merged, show
from .presence import Appearance, likeness, still_present
from .propagation_parameters import PropagationParameters
from .registration import register, warp
from .slices import SliceMasks, Structure, certainty, decode
from .work import Work


@dataclass(frozen=True, eq=False)
class Front:
    """A structure at a slice, about to move by `step` (+1 or -1).

    Attributes:
        index: the slice it is at; logits: (R, R) its mask there.
        memory: what the method keeps of that slice.
        appearance: grey levels where it started; looks: of all slices that the structure starts in.
        reverse: how well that start segmented a marked slice back (`Signals.reverse`).
        idle: slices running that showed nothing new, on the way back.
    """

    structure: Structure
    index: int
    step: int
    logits: Tensor
    memory: Kept
    appearance: Appearance
    looks: Looks
    reverse: float = 1.0
    idle: int = 0


News = Callable[[int, int, Found], bool]  # of a label, in a slice


def start_fronts(
    work: Work, structure: Structure, found: Masks, p: PropagationParameters
) -> list[Front]:
    """Two fronts from each slice where the structure is known, upwards and downwards."""
    sized = {
        index: replace(one, logits=resized(one.logits, work.frame.size))
        for (label, index), one in found.items() if label == structure.label
    }
    starts = {index: one for index, one in sized.items() if bool((one.logits > 0).any())}
    if not starts:
        return []
    looks = learn_looks(work, starts, p.presence)
    fronts = []
    for index, start in starts.items():
        own = looks.grey if len(starts) == 1 else learn_grey(work, {index: start}, p.presence)
        memory = work.method.remember(work.slices.one(index), start.logits)
        here = _as_here(work, replace(structure, kept=start.kept or structure.kept), memory)
        reverse = 1.0 if start.signals is None else start.signals.reverse
        front = Front(here, index, 1, start.logits, memory, own, looks, reverse)
        fronts += [front, replace(front, step=-1)]
    return fronts


def _as_here(work: Work, structure: Structure, start: Kept) -> Structure:
    """Another patient's structure as this one shows it where it is followed from: beside what was
    marked, or in its place where that looks quite different."""
    plan = work.priors.get(structure.label)
    if plan is None:
        return structure
    return replace(structure, kept=(*structure.kept, start) if plan.alike else (start,))


def advance(
    work: Work, fronts: list[Front], found: Masks, stops: Set[tuple[int, int]], monitor: Monitor,
    p: PropagationParameters, stage: str = "propagate", news: News | None = None,
) -> Masks:
    """Moves all fronts, one step at a time, until the last has stopped.

    Args:
        found: what is known; fronts stop in drawn structures of it.
        stops: (label, slice) where a structure's fronts stop.
        stage: what progress is told as. What is found is shown as it comes in "propagate" alone:
            other stages may not keep it.
        news: whether a mask shows something that is not known; a front stops where it has shown
            nothing new for a while. None: all does.

    Returns: what they found, by (label, slice).
    """
    total = work.last - work.first + 1
    lowest = min([work.first, *(f.index for f in fronts)])  # a drawn slice may lie beside the
    highest = max([work.last, *(f.index for f in fronts)])  # range: the way there counts too
    done = {index for _, index in stops if work.first <= index <= work.last}
    arrivals: dict[tuple[int, int], list[tuple[Found, float]]] = {}
    travelled = 0
    while fronts:
        travelled += 1
        monitor.report(stage, min(len(done), total), total)
        fronts = [f for f in fronts if lowest <= f.index + f.step <= highest
                  and (f.structure.label, f.index + f.step) not in stops]
        if not fronts:
            break
        moved = _step(work, fronts, monitor, p)
        next_slices = {front.index + front.step for front in fronts}
        came_before = found | {k: merged(v) for k, v in arrivals.items() if k[1] in next_slices}
        ahead = []
        for front, new in zip(fronts, moved, strict=True):
            if new is None or _taken(work, front, new, came_before, p):
                continue
            index = front.index + front.step
            arrivals.setdefault((front.structure.label, index), []).append((new, 1 / travelled))
            if work.first <= index <= work.last:
                done.add(index)
            with monitor.stage("memory"):
                memory = work.method.remember(work.slices.one(index), new.logits)
            idle = 0 if news is None or news(front.structure.label, index, new) else front.idle + 1
            if idle < p.patience:
                ahead.append(
                    replace(front, index=index, logits=new.logits, memory=memory, idle=idle)
                )
        fronts = ahead
        if stage != "propagate":
            continue
        with monitor.stage("preview"):
            reached = {front.index for front in fronts}
            so_far = {k: _finished(v, p) for k, v in arrivals.items() if k[1] in reached}
            show(work, found | so_far, reached, monitor)
    monitor.report(stage, total, total)
    return {key: _finished(several, p) for key, several in arrivals.items()}


def _taken(
    work: Work, front: Front, new: Found, came_before: Masks, p: PropagationParameters
) -> bool:
    """Whether most of a front's next mask belongs to structures that came there before it, from
    slices that a person drew nearer by: a spleen ends where the kidney below it begins, though it
    is as bright. What was found without a drawing takes nothing away: it may be wrong itself."""
    if work.assume_present:
        return False
    label, index = front.structure.label, front.index + front.step
    lost = torch.zeros_like(new.logits, dtype=torch.bool)
    for other in work.drawn_labels - {label}:
        if before := came_before.get((other, index)):
            lost |= resized(before.logits, work.frame.size) >= new.logits
    inside = new.logits > 0
    return int((lost & inside).sum()) > p.taken * int(inside.sum())


def _finished(arrived: list[tuple[Found, float]], p: PropagationParameters) -> Found:
    """What the result shows of the fronts that met in one slice."""
    one = merged(arrived)
    return replace(one, logits=one.logits + p.margin)


def _step(
    work: Work, fronts: list[Front], monitor: Monitor, p: PropagationParameters
) -> list[Found | None]:
    """Each front's mask in its next slice, or None where its structure has ended."""
    indices = sorted({f.index + f.step for f in fronts})
    with monitor.stage("encode"):
        encoded = work.slices.several(indices)
    with monitor.stage("register"):
        ahead = [f.index + f.step for f in fronts]
        carried = work.outside(_carry(work, fronts), ahead)
    place = {index: n for n, index in enumerate(indices)}
    picture = torch.tensor([place[f.index + f.step] for f in fronts], device=work.device)
    with monitor.stage("prompts"):
        proposals = _propose(work, fronts, encoded, picture.tolist(), carried, p)
    priors = carried.clamp(-p.certainty, p.certainty)
    with monitor.stage("decode"):
        masks = _decode(work, encoded, picture, proposals, priors)
        masks = replace(masks, logits=work.outside(masks.logits, ahead))
    return [
        _arrived(work, front, proposals[n], masks, n, priors[n], p)
        for n, front in enumerate(fronts)
    ]


def _propose(
    work: Work, fronts: list[Front], encoded: EncodedSlices, rows: list[int], carried: Tensor,
    p: PropagationParameters,
) -> list[Proposal]:
    """What the method says of each front's next slice, which `rows` finds in `encoded`."""
    places = within_reach(carried > 0, p.reach)
    alone = [encoded.select(slice(row, row + 1)) for row in range(len(encoded))]
    questions = [
        Question(alone[row], front.structure.kept, Near(place, front.memory, p.memory))
        for front, row, place in zip(fronts, rows, places, strict=True)
    ]
    return work.propose_all(questions, [[front.index + front.step] for front in fronts])


def _decode(
    work: Work, encoded: EncodedSlices, picture: Tensor, proposals: list[Proposal], priors: Tensor
) -> SliceMasks:
    """The fronts' masks from points, map and the carried masks (F, R, R) as mask prompts."""
    model = work.slices.encoders.model
    confidence = torch.cat([proposal.confidence for proposal in proposals])
    return decode(
        model, encoded, picture, [proposal.prompts[0] for proposal in proposals],
        roi_size=work.frame.size, mask_index=work.method.masks.mask_index,
        masks=priors[:, None],
        confidence=confidence[:, None] if model.uses_confidence else None,
    )


def _arrived(
    work: Work, front: Front, proposal: Proposal, masks: SliceMasks, n: int, prior: Tensor,
    p: PropagationParameters,
) -> Found | None:
    """One front's mask, carried (R, R) and decoded (row `n`) together; None where the structure
    has ended."""
    model = work.slices.encoders.model
    score = certainty(model, masks.quality[n], proposal.affinity[0])
    decoded = resized(masks.logits[n], work.frame.size).sigmoid()
    both = p.carried * prior.sigmoid() + (1 - p.carried) * decoded
    index = front.index + front.step
    image = work.grey(index)
    logits = less_where_unlike(torch.logit(both, 1e-4), front.looks, work, index, p.unlike)
    if plan := work.priors.get(front.structure.label):
        share = plan.in_slices([index])[0].to(logits.device)
        logits = _with_plan(logits, share, plan, p)
    inside = (logits > 0).cpu().numpy()
    if not inside.any():
        return None
    least = p.judged_below if model.judges_presence else p.ends_below
    goes_on = score >= least and _still_there(work, front, image, inside, score, p)
    if not (goes_on or work.assume_present):
        return None
    signals = Signals(
        score, dice_of(prior > 0, decoded > 0.5),
        min(max(likeness(front.appearance, image, inside), 0.0), 1.0), reverse=front.reverse,
    )
    if plan:
        expected = float(overlaps(logits[None], share[None])[0])
        signals = replace(signals, expected=expected, look=plan.look)
    return Found(logits, score, proposal.prompts[0], "propagated", signals)


def _still_there(
    work: Work, front: Front, image: np.ndarray, inside: np.ndarray, score: float,
    p: PropagationParameters,
) -> bool:
    """Whether grey levels and area (H, W) say that a front's structure has not ended yet."""
    if front.structure.label not in work.drawn_labels:
        return still_present(front.appearance, image, inside, p.presence)
    if still_present(front.appearance, image, inside, p.marked):
        return True
    if score < p.last_certain or closed(image, inside) < p.last_closed:
        return False
    last = replace(p.marked, likeness=p.last)
    return still_present(front.appearance, image, inside, last)


def _with_plan(logits: Tensor, share: Tensor, plan: Prior, p: PropagationParameters) -> Tensor:
    """Logits (R, R) drawn towards where the body's plan expects the structure, `share` (R, R)."""
    weight = p.expected * plan.trust
    return (1 - weight) * logits + weight * torch.logit(share, 0.02)


def _carry(work: Work, fronts: list[Front]) -> Tensor:
    """The fronts' masks (F, R, R) as they look on their next slices, by registration."""
    wanted = {(f.index, f.index + f.step) for f in fronts}
    pairs = sorted(wanted - work.fields.keys())
    if pairs:
        sources, targets = (
            torch.stack([work.slices.picture(pair[n]) for pair in pairs]) for n in (0, 1)
        )
        work.fields.update(zip(pairs, register(targets, sources), strict=True))
    carried = torch.stack([f.logits for f in fronts])
    for pair in wanted:
        rows = [n for n, f in enumerate(fronts) if (f.index, f.index + f.step) == pair]
        carried[rows] = warp(carried[rows], work.fields[pair])
    return carried
