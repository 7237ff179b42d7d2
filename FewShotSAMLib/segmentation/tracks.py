"""Strategy "propagate" looks again for a structure that is doubtful as a whole.

All that was followed from one slice is a *track*. In another patient the slice to follow from is
the best of several candidates, chosen before anything was followed. Where the whole track is
estimated low, the best candidate that does not belong to it is followed too. The track stays that
is estimated higher, lies where the body's plan expects it, and has more of the candidates. One that
is estimated high and lies elsewhere is left alone: the plan is wrong there more often.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace

from .finding.expected import dice_of
from .found import Found, Masks, resized
from .fronts import advance, start_fronts
from .judging import as_a_whole, with_estimates
from .key_slices import Candidates
from .monitor import Monitor
from .outward import write
from .propagation_parameters import PropagationParameters, TrackParameters
from .results import SliceResult
from .slices import Structure
from .work import Work


@dataclass(frozen=True, eq=False)
class Tracks:
    """One track of each structure, with every slice's estimate of its Dice as if this were all."""

    found: Masks
    judged: Sequence[SliceResult]


def likelier_tracks(
    work: Work, found: Masks, candidates: Candidates, monitor: Monitor, p: PropagationParameters
) -> Masks:
    """All that is known, with likelier tracks of structures that are doubtful.

    Args:
        found: with a track of each structure, of its best candidate.
        candidates: by label, the best one first; of structures that nobody drew in this volume.
    """
    if not candidates or not work.slices.encoders.model.judges_presence:
        return found  # drawn, or by scores that say nothing of a whole track
    with monitor.stage("judge"):
        first = _judged(work, found)
        rivals = _rivals(work, candidates, first, p.tracks)
    if not rivals:
        return found
    asked = {label for label, _ in rivals}
    fronts = [front for s in work.structures for front in start_fronts(work, s, rivals, p)]
    track = rivals | advance(
        work, fronts, _with(found, rivals, asked), set(rivals), monitor, p, stage="again"
    )
    with monitor.stage("judge"):
        second = _judged(work, _with(found, track, asked))
        likelier = {
            s.label for s in work.structures if s.label in asked
            and _score(work, s, candidates[s.label], second, p.tracks)
            > _score(work, s, candidates[s.label], first, p.tracks)
        }
        if not likelier:
            return found
        if likelier != asked:  # some of both: they share the picture
            second = _judged(work, _with(found, track, likelier))
        return max(first, second, key=lambda one: _total(work, candidates, one, p.tracks)).found


def _with(found: Masks, track: Masks, labels: Set[int]) -> Masks:
    """What was found, with these structures' masks taken from a track instead."""
    return {key: one for key, one in found.items() if key[0] not in labels} | {
        key: one for key, one in track.items() if key[0] in labels
    }


def _judged(work: Work, found: Masks) -> Tracks:
    blank = replace(work, labels=work.labels.copy())
    return Tracks(found, with_estimates(blank, write(blank, found)))


def _rivals(
    work: Work, candidates: Candidates, tracks: Tracks, p: TrackParameters
) -> Masks:
    """Of each structure that is doubtful the best candidate that does not belong to its track."""
    rivals: Masks = {}
    for structure in work.structures:
        label = structure.label
        if as_a_whole(tracks.judged, structure).confidence >= p.doubtful:
            continue
        for index, one in candidates.get(label, ()):
            if not _belongs(work, one, tracks.found.get((label, index)), p):
                rivals[label, index] = one
                break
    return rivals


def _total(work: Work, candidates: Candidates, tracks: Tracks, p: TrackParameters) -> float:
    """How likely all tracks together are: one that takes what another structure has costs that."""
    return sum(_score(work, s, candidates.get(s.label, ()), tracks, p) for s in work.structures)


def _score(
    work: Work, structure: Structure, candidates: Sequence[tuple[int, Found]], tracks: Tracks,
    p: TrackParameters,
) -> float:
    """How likely a structure's track is."""
    label = structure.label
    own = [_belongs(work, one, tracks.found.get((label, k)), p) for k, one in candidates]
    plans = [r.signals.plan for r in tracks.judged if r.label == label and r.present and r.signals]
    sure = as_a_whole(tracks.judged, structure).confidence
    return sure + p.shared * sum(own) / max(len(own), 1) + p.planned * max(plans, default=0.0)


def _belongs(work: Work, one: Found, there: Found | None, p: TrackParameters) -> bool:
    """Whether a candidate's mask is that of a track in its slice."""
    if there is None:
        return False
    ours, theirs = (resized(f.logits, work.frame.size) > 0 for f in (one, there))
    return dice_of(ours, theirs) >= p.same
