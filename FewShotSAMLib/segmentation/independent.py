"""Strategy "slices": each slice on its own, the papers' way."""

from __future__ import annotations

import torch

from .monitor import Monitor
from .results import SliceResult
from .slices import certainty, propose, segment_slices
from .work import Work

# Below this score a slice is taken not to hold the structure.
PRESENT = 0.5


def segment_independently(work: Work, monitor: Monitor) -> list[SliceResult]:
    """Prompts and masks for every slice of the range, whole batches at a time."""
    results: list[SliceResult] = []
    size, model = work.slices.batch, work.slices.encoders.model
    runs = range(work.first // size, work.last // size + 1)
    drawn = {(d.index, d.label) for d in work.drawn}
    for number in runs:
        monitor.report("slices", max(number * size, work.first) - work.first,
                       work.last - work.first + 1)
        with monitor.stage("encode"):
            encoded = work.slices.run(number)
        base = number * size
        inside = [k for k in range(len(encoded.embeddings))
                  if work.first <= base + k <= work.last]
        encoded = encoded.select(slice(inside[0], inside[-1] + 1))
        base += inside[0]
        with monitor.stage("prompts"):
            proposals = propose(
                work.synpo, encoded, work.structures, work.valid, work.seed, work.background
            )
        count = len(inside)
        with monitor.stage("decode"):
            picture = torch.arange(count, device=work.device).repeat(len(proposals))
            masks = segment_slices(
                model, encoded, picture,
                [p for proposal in proposals for p in proposal.prompts],
                torch.cat([proposal.confidence for proposal in proposals]), work.synpo,
            )
        with monitor.stage("labels"):
            for k in range(count):
                index, found = base + k, {}
                scores = [
                    certainty(model, masks.quality[n * count + k], proposal.affinity[k])
                    for n, proposal in enumerate(proposals)
                ]
                for n, (structure, score) in enumerate(zip(work.structures, scores, strict=True)):
                    row = n * count + k
                    if work.assume_present or score >= PRESENT:
                        found[structure.label] = masks.logits[row]
                pixels = work.write(index, found)
                here = []
                for n, (structure, proposal) in enumerate(
                    zip(work.structures, proposals, strict=True)
                ):
                    area = pixels.get(structure.label, 0)
                    by_hand = (index, structure.label) in drawn
                    here.append(SliceResult(
                        index, structure.label,
                        None if by_hand else work.in_slice(proposal.prompts[k]),
                        1.0 if by_hand else scores[n],
                        area > 0, area * work.pixel_mm2,
                        "support" if by_hand else "prompted",
                    ))
                results += here
                if monitor.show:
                    monitor.show(index, work.labels[index], here)
    monitor.report("slices", work.last - work.first + 1, work.last - work.first + 1)
    return results
