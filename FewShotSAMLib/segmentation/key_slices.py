"""Without a drawn slice: in which slices a structure is most certain to be found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from .finding.candidates import candidates
from .finding.reverse import reverse_dice
from .found import Found, Masks, Signals, resized
from .monitor import Monitor
from .runs import Run, segmented_runs
from .slices import Structure
from .work import Work


@dataclass(frozen=True)
class KeySliceParameters:
    """Constants of the choice.

    Attributes:
        least: certainty below which no slice is taken.
        contested: factor on a slice's certainty where another structure asks for the same place:
            a structure that has a place of its own elsewhere should start there.
        checked: slices that are checked in reverse.
    """

    least: float = 0.3
    contested: float = 0.85
    checked: int = 4


Candidates = dict[int, list[tuple[int, Found]]]  # by label; slices, the best one first


def key_slices(
    work: Work, structures: Sequence[Structure], monitor: Monitor, p: KeySliceParameters
) -> Candidates:
    """For each structure the slices that are most certain to hold it, segmented on their own.

    Where the body's plan is known, it says which slices those may be; the rest are looked for in
    all slices.
    """
    planned = [s for s in structures if s.label in work.priors]
    chosen = _as_planned(work, planned, monitor) if planned else {}
    unknown = [s for s in structures if s.label not in work.priors]
    return chosen | _most_certain(work, unknown, monitor, p) if unknown else chosen


def best_of(candidates: Candidates) -> Masks:
    """The best one of each structure."""
    return {(label, several[0][0]): several[0][1] for label, several in candidates.items()
            if several}


def _as_planned(
    work: Work, structures: Sequence[Structure], monitor: Monitor
) -> Candidates:
    """From where the body's plan expects them, the best candidates. Progress is told in slices,
    as everywhere."""
    chosen: Candidates = {}
    total = work.last - work.first + 1
    for number, structure in enumerate(structures):
        monitor.report("find", number * total // len(structures), total)
        with monitor.stage("find"):
            chosen[structure.label] = [
                (one.index, one.found) for one in candidates(work, structure)
            ]
    monitor.report("find", total, total)
    return chosen


def _most_certain(
    work: Work, structures: Sequence[Structure], monitor: Monitor, p: KeySliceParameters
) -> Candidates:
    """From each slice on its own, the surest ones."""
    by_label: dict[int, list[Found]] = {s.label: [] for s in structures}
    for run in segmented_runs(work, structures, monitor, "look"):
        for structure, found in zip(structures, _candidates(run, p), strict=True):
            by_label[structure.label] += found
    with monitor.stage("find"):
        return {
            s.label: _checked(work, s, by_label[s.label], p) for s in structures
        }


def _checked(
    work: Work, structure: Structure, found: Sequence[Found], p: KeySliceParameters
) -> list[tuple[int, Found]]:
    """The best of a structure's surest slices, as the reverse check says."""
    tried: list[tuple[int, Found]] = []
    for place in _steadiest([one.score for one in found])[: p.checked].tolist():
        one = found[place]
        sure = work.assume_present or one.score >= p.least
        if not sure or not bool((one.logits > 0).any()):
            continue
        logits = resized(one.logits, work.frame.size)
        index = work.first + place
        signals = Signals(one.score, reverse=reverse_dice(work, structure, index, logits))
        tried.append((index, replace(one, logits=logits, signals=signals)))
    tried.sort(key=lambda pair: -pair[1].signals.certainty * pair[1].signals.reverse)
    return tried


def _candidates(run: Run, p: KeySliceParameters) -> list[list[Found]]:
    """By structure and slice of the run, its mask; one that is contested counts less."""
    contested = _contested(run.masks.logits, len(run.proposals))
    return [
        [
            Found(
                run.masks.logits[run.row(n, k)],
                run.score(n, k) * (p.contested if contested[n, k] else 1.0),
                proposal.prompts[k], "prompted",
            )
            for k in range(len(run))
        ]
        for n, proposal in enumerate(run.proposals)
    ]


def _steadiest(scores: Sequence[float]) -> np.ndarray:
    """Indices of slices, those first that are certain together with their neighbours."""
    score = np.array(scores)
    padded = np.pad(score, 1, mode="edge")
    return np.argsort(-(0.5 * score + 0.25 * (padded[:-2] + padded[2:])))


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
