"""Strategy "slices": each slice on its own, the papers' way."""

from __future__ import annotations

from .finding.expected import margin
from .monitor import Monitor
from .results import SliceResult
from .runs import Run, segmented_runs
from .work import Work

# Below this score a slice is taken not to hold the structure.
PRESENT = 0.5


def segment_independently(work: Work, monitor: Monitor) -> list[SliceResult]:
    """Prompts and masks for every slice of the range, whole batches at a time."""
    results: list[SliceResult] = []
    for run in segmented_runs(work, work.structures, monitor, "slices"):
        with monitor.stage("labels"):
            for place in range(len(run)):
                here = _write(work, run, place)
                results += here
                if monitor.previews:
                    index = run.first + place
                    monitor.show(index, work.labels[index], here)
    return results


def _write(work: Work, run: Run, place: int) -> list[SliceResult]:
    """Fills one slice's labels; a result for each structure."""
    index = run.first + place
    scores = [run.score(n, place) for n in range(len(work.structures))]
    found = {
        structure.label: run.masks.logits[run.row(n, place)] + margin(work, run.guides[n])
        for n, structure in enumerate(work.structures)
        if work.assume_present or (scores[n] >= PRESENT and run.may_hold(n, place))
    }
    pixels = work.write(index, found)
    return [
        work.slice_result(index, structure, pixels, proposal.prompts[place], score)
        for structure, proposal, score in zip(work.structures, run.proposals, scores, strict=True)
    ]
