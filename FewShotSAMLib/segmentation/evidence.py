"""What finished labels themselves say of how good they are.

The network judges a mask while it makes it. Afterwards more can be seen: whether the picture
changes where the mask ends, and all around it; how large and how round the mask is beside the
structure's others, how sure the network is of the slices beside it, and whether the whole structure
lies where the body's plan expects it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional as F

from .borders import RIM, border, closed, roundness
from .finding.expected import dice_of
from .finding.prior import Prior
from .results import SliceResult
from .work import Work

# Of another patient's structure where there is no plan: as of generated masks drawn on nothing.
UNPLANNED = {"expected": 0.5, "look": 0.6, "plan": 0.7}


def with_evidence(work: Work, results: Sequence[SliceResult]) -> list[SliceResult]:
    """Results whose signals say what the work's labels show, where there are signals."""
    by_label: dict[int, list[SliceResult]] = {}
    for one in results:
        if one.present:
            by_label.setdefault(one.label, []).append(one)
    seen = {label: _Structure(work, label, several) for label, several in by_label.items()}
    return [
        seen[one.label].with_signals(one) if one.present and one.signals is not None else one
        for one in results
    ]


class _Structure:
    """One structure's labels, and what is the same for all of its slices."""

    def __init__(self, work: Work, label: int, results: Sequence[SliceResult]) -> None:
        self._work, self._label = work, label
        areas = [one.area_mm2 for one in results]
        self._largest = max(areas)
        self._certainty = {
            one.index: 1.0 if one.signals is None else one.signals.certainty for one in results
        }
        self._way = ways(self._certainty, [r.index for r in results if r.source != "propagated"])
        self._sure = float(np.average([self._certainty[r.index] for r in results], weights=areas))
        self._roundness = {r.index: roundness(self._mask(r.index)) for r in results}
        self._planned = self._against_plan()

    def with_signals(self, one: SliceResult) -> SliceResult:
        grey, mask = _around(self._grey(one.index), self._mask(one.index))
        beside = (self._certainty.get(one.index + step, 1.0) for step in (-1, 0, 1))
        return replace(one, signals=replace(
            one.signals,
            border=border(grey, mask), closed=closed(grey, mask),
            extent=float(np.sqrt(one.area_mm2 / self._largest)),
            round=self._roundness[one.index] / max(self._roundness.values()),
            beside=min(beside), way=self._way[one.index], whole=self._sure, **self._planned,
        ))

    def _against_plan(self) -> dict[str, float]:
        """The signals that speak of the body's plan; a person's drawing needs none."""
        plan = self._work.priors.get(self._label)
        if plan is not None:
            return {"plan": _overlap_with(plan, self._work, self._label)}
        return {} if self._label in self._work.drawn_labels else UNPLANNED

    def _mask(self, index: int) -> np.ndarray:
        return self._work.labels[index] == self._label

    def _grey(self, index: int) -> np.ndarray:
        """(H, W), 0 to 1."""
        grey = self._work.slices.grey(index)
        return grey.mean(-1) if grey.ndim == 3 else grey


def ways(certainty: Mapping[int, float], starts: Sequence[int]) -> dict[int, float]:
    """The least certainty on the way to each slice from where the structure was followed from, by
    the surest way there is: beyond a slice where it may have ended, all may be something else.

    Args:
        certainty: by slice.
        starts: slices that it was followed from; what no way leads to counts by itself.
    """
    found: dict[int, float] = {}
    for start in starts:
        for step in (-1, 1):
            least, index = 1.0, start
            while index in certainty:
                least = min(least, certainty[index])
                found[index] = max(found.get(index, 0.0), least)
                index += step
    return {**certainty, **found}


def _around(grey: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Grey levels and mask (H, W), cut to the mask and what is near it."""
    part = tuple(
        slice(max(one.start - RIM, 0), one.stop + RIM)
        for one in ndimage.find_objects(mask.astype(np.uint8))[0]
    )
    return grey[part], mask[part]


def _overlap_with(plan: Prior, work: Work, label: int) -> float:
    """Dice of a whole structure and where the plan expects it, in the range that was worked on."""
    depth, *size = plan.share.shape
    flat = torch.stack([
        F.adaptive_avg_pool2d(torch.from_numpy(plane == label)[None].float(), size)[0]
        for plane in work.labels
    ])
    cells = F.adaptive_avg_pool3d(flat[None], (depth, *size))[0]
    lies = (torch.arange(depth) + 0.5) * plan.slices / depth - 0.5  # among the slices
    middle = lies.clamp(work.first, work.last)
    worked = (lies - middle).abs() <= (lies - middle).abs().min().clamp(min=0.5)
    expected = plan.share >= 0.5 * plan.share.max().clamp(min=1e-3)
    return dice_of(cells[worked] > 0.5, expected[worked])
