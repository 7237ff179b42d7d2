"""What strategies that go from certain slices outwards share: the drawn slices that they start at,
what meets in one slice, and labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from .found import Found, Masks
from .monitor import Monitor
from .results import SliceResult
from .work import Work


def drawn_masks(work: Work, certainty: float) -> Masks:
    """What a person drew in this volume, structure by structure; `certainty` is the largest
    absolute logit."""
    found: Masks = {}
    for structure in work.structures:
        for d in (one for one in work.drawn if one.label == structure.label):
            mask = torch.from_numpy(np.ascontiguousarray(d.mask))[None]
            cover = work.frame.masks_to_model(mask.to(work.device))[0, 0]
            logits = work.outside((cover * 2 - 1)[None] * certainty, [d.index])[0]
            found[d.label, d.index] = Found(logits, 1.0, None, "support")
    return found


def merged(several: list[tuple[Found, float]]) -> Found:
    """Fronts that met in one slice: the nearer start counts more."""
    if len(several) == 1:
        return several[0][0]
    weight = sum(w for _, w in several)
    logits = sum(f.logits * (w / weight) for f, w in several)
    best = max(several, key=lambda fw: fw[1])[0]
    return replace(best, logits=logits, score=max(f.score for f, _ in several))


def write(work: Work, found: Masks) -> list[SliceResult]:
    """Fills the labels, and a result for every slice of the range and structure."""
    results = []
    for index in range(work.first, work.last + 1):
        results += write_slice(work, index, found)
    return results


def write_slice(work: Work, index: int, found: Masks) -> list[SliceResult]:
    """Fills one slice's labels; a result for each structure."""
    results = []
    here = {label: f for (label, k), f in found.items() if k == index}
    pixels = work.write(
        index, {label: f.logits for label, f in here.items() if f.source != "support"}
    )
    for structure in work.structures:
        f = here.get(structure.label)
        area = pixels.get(structure.label, 0)
        results.append(SliceResult(
            index, structure.label,
            None if f is None or f.prompts is None else work.in_slice(f.prompts),
            0.0 if f is None else f.score, area > 0, area * work.pixel_mm2,
            "propagated" if f is None else f.source, None if f is None else f.signals,
        ))
    return results


def show(work: Work, found: Masks, reached: set[int], monitor: Monitor) -> None:
    """Labels of some slices as they are now; the end writes them again, from all fronts."""
    if monitor.previews is None:
        return
    for index in sorted(reached):
        if work.first <= index <= work.last:
            results = write_slice(work, index, found)
            monitor.show(index, work.labels[index], results)
