"""Strategy "memory": SAM 2's own memory of the slices before, marked slices as prompted frames.

The volume's slices are the frames of a video (SAM 2, arXiv 2408.00714, section 4; on volumes
FATE-SAM, arXiv 2501.09138, and FS-MedSAM2, arXiv 2409.04298). Masks of the drawn slices are mask
prompts; where nobody drew in this volume, those of the surest slices (`key_slices`). One sweep
goes up and one down, all structures with each slice, on embeddings that other steps share. A slice
between two marked ones is reached from both, and the nearer counts more.

A structure is in a slice where SAM 2's object score says so and ours does: what lies under the
mask looks like the support to the prompt method and by its grey levels. SAM 2's memory keeps what
SAM 2 drew, whatever we say of it. A structure that was missing in as many slices running as spatial
memory looks back has ended; the next marked slice takes it up again.

"propagate" stays the default with SAM 2.1 too: it also draws towards the support's look and the
body's plan, and the two have not been compared on published weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ..models.interfaces import Remembered, RememberingModel, SliceMemory
from ..prompting.encoded_slices import EncodedSlices
from ..prompting.interfaces import Near
from .finding.expected import within_reach
from .found import Found, Masks, Signals, resized
from .key_slices import KeySliceParameters, best_of, key_slices
from .looks import learn_grey
from .monitor import Monitor
from .outward import drawn_masks, merged, show, write
from .presence import (
    Appearance,
    PresenceParameters,
    likeness,
    still_present,
)
from .results import SliceResult
from .slices import Structure
from .work import Work


@dataclass(frozen=True)
class MemoryParameters:
    """Constants of the strategy.

    Attributes:
        reach: share of the model's square around SAM 2's mask where the method looks.
        ends_below: affinity below which a slice does not hold the structure.
        presence: when grey levels and area say that it does not.
        key_slices: which slices are prompted without drawn ones.
        certainty: absolute logit of what a person drew.
    """

    reach: float = 0.05
    ends_below: float = 0.3
    presence: PresenceParameters = PresenceParameters()
    key_slices: KeySliceParameters = KeySliceParameters()
    certainty: float = 8.0


@dataclass(eq=False)
class Track:
    """One structure on its way through the slices.

    Attributes:
        marked: its prompted slices, rising; appearance: grey levels there.
        reverse: how well they segmented a marked slice back (`Signals.reverse`).
        since: slices since the last prompted one; None before the first of a sweep.
        missing: slices running that do not hold it.
    """

    structure: Structure
    marked: tuple[int, ...]
    appearance: Appearance
    reverse: float
    since: int | None = None
    missing: int = 0


@dataclass(eq=False)
class Sweeps:
    """What both sweeps share.

    Attributes:
        found: prompted slices' masks; arrivals: the others', each with its weight.
        done: slices of the range that were worked on.
    """

    work: Work
    monitor: Monitor
    memory: SliceMemory
    found: Masks
    p: MemoryParameters
    done: set[int]
    arrivals: dict[tuple[int, int], list[tuple[Found, float]]] = field(default_factory=dict)

    def report(self) -> None:
        """Tells how many slices of the range are done."""
        self.monitor.report("memory", len(self.done), self.work.last - self.work.first + 1)


def segment_by_memory(
    work: Work, monitor: Monitor, parameters: MemoryParameters | None = None
) -> list[SliceResult]:
    """Fills the work's labels by the memory of its model, which must be a `RememberingModel`."""
    p = parameters or MemoryParameters()
    model = work.slices.encoders.model
    assert isinstance(model, RememberingModel)  # Segmenter refuses others
    with monitor.stage("start"):
        found = drawn_masks(work, p.certainty)
    found |= best_of(key_slices(work, work.undrawn, monitor, p.key_slices))
    done = {index for _, index in found if work.first <= index <= work.last}
    sweeps = Sweeps(work, monitor, model.slice_memory(len(work.slices)), found, p, done)
    sweeps.report()
    with monitor.stage("start"):
        tracks = [t for s in work.structures if (t := _track(sweeps, s)) is not None]
        show(work, found, {index for _, index in found}, monitor)
    for step in (1, -1):
        _sweep(sweeps, tracks, step)
    found |= {key: merged(several) for key, several in sweeps.arrivals.items()}
    sweeps.done.update(range(work.first, work.last + 1))
    sweeps.report()
    with monitor.stage("labels"):
        return write(work, found)


def _track(sweeps: Sweeps, structure: Structure) -> Track | None:
    """A structure with its prompted slices in the memory; None where nothing prompts it."""
    work, label = sweeps.work, structure.label
    side = work.slices.encoders.model.input_size
    marked, reverse = {}, 1.0
    for index in sorted(k for name, k in sweeps.found if name == label):
        one = sweeps.found[label, index]
        logits = resized(one.logits, work.frame.size)
        inside = resized(one.logits, side) > 0
        if not (bool(inside.any()) and bool((logits > 0).any())):
            continue
        sweeps.monitor.check()
        sweeps.memory.mark(label, index, work.slices.one(index).embeddings, inside)
        marked[index] = replace(one, logits=logits)
        reverse = reverse if one.signals is None else min(reverse, one.signals.reverse)
    if not marked:
        return None
    appearance = learn_grey(work, marked, sweeps.p.presence)
    return Track(structure, tuple(marked), appearance, reverse)


def _sweep(sweeps: Sweeps, tracks: Sequence[Track], step: int) -> None:
    """All structures through the slices in one direction, from where each is prompted first."""
    for track in tracks:
        track.since, track.missing = None, 0
    starts = [t.marked[0] if step > 0 else t.marked[-1] for t in tracks]
    if not starts:
        return
    work = sweeps.work
    way = (
        range(min(starts), work.last + 1) if step > 0
        else range(max(starts), work.first - 1, -1)
    )
    for index in way:
        going = [track for track in tracks if _goes_on(sweeps, track, index)]
        if going:
            sweeps.report()
            _frame(sweeps, going, index, step)
        if work.first <= index <= work.last:
            sweeps.done.add(index)


def _goes_on(sweeps: Sweeps, track: Track, index: int) -> bool:
    """Whether the structure is to be looked for in this slice."""
    if index in track.marked:
        track.since, track.missing = 0, 0
        return False
    if track.since is None:
        return False
    track.since += 1
    return sweeps.work.assume_present or track.missing < sweeps.memory.reach


def _frame(sweeps: Sweeps, going: Sequence[Track], index: int, step: int) -> None:
    """One slice: what is remembered of each structure, and whether it is there."""
    work, monitor = sweeps.work, sweeps.monitor
    with monitor.stage("encode"):
        encoded = work.slices.one(index)
    for track in going:
        label = track.structure.label
        with monitor.stage("memory"):
            told = sweeps.memory.follow(label, index, encoded.embeddings, step)
        with monitor.stage("presence"):
            new = _present(sweeps, track, index, encoded, told)
        track.missing = 0 if new is not None else track.missing + 1
        if new is not None:
            sweeps.arrivals.setdefault((label, index), []).append((new, 1 / track.since))
    with monitor.stage("preview"):
        here = {k: merged(v) for k, v in sweeps.arrivals.items() if k[1] == index}
        show(work, sweeps.found | here, {index}, monitor)


def _present(
    sweeps: Sweeps, track: Track, index: int, encoded: EncodedSlices, told: Remembered
) -> Found | None:
    """SAM 2's mask with our word on it; None where one of the two says that nothing is there."""
    work, p = sweeps.work, sweeps.p
    logits = work.outside(resized(told.logits, work.frame.size)[None], [index])[0]
    inside = logits > 0
    if not bool(inside.any()):
        return None
    near = Near(within_reach(inside[None], p.reach)[0])
    affinity = work.propose(track.structure, encoded, [index], near).affinity[0]
    ours = float(affinity.clamp(0, 1))
    mask, image = inside.cpu().numpy(), work.grey(index)
    there = ours >= p.ends_below and still_present(track.appearance, image, mask, p.presence)
    if not (there or work.assume_present):
        return None
    score = math.sqrt(told.presence * ours)
    like = min(max(likeness(track.appearance, image, mask), 0.0), 1.0)
    return Found(
        logits, score, None, "propagated",
        Signals(score, likeness=like, reverse=track.reverse),
    )
