"""Strategy "propagate": from certain slices outwards, the neighbour's mask as prior.

A *front* (see `fronts`) is one structure moving from slice to slice in one direction. At each step
the mask is carried over by deformable registration of the two slices; the decoder gets it as mask
prompt, with points from the confidence map near it and the map itself: half of it asks for what
looks like the support, half for what looks like the slice before, so that slow changes of
appearance are followed without forgetting what was marked. The carried mask and the decoder's are
averaged, less where grey levels are not the structure's. A front goes on from what is more likely
inside than not; the finished mask takes in what one of the two masks was sure of.
All fronts that are one step further are decoded together. A front stops where the structure ends
(see `presence`), at a slice that a person drew, or in a drawn structure that came there before it.

Fronts start at drawn slices of the query. Where there are none (another patient's support) they
start at the best of several candidates (see `key_slices`), and what was found is doubtful as a
whole, at others too (see `tracks`).
From far out they come back once (see `way_back`), for parts that were missed on the way out.
"""

from __future__ import annotations

from .fronts import advance, start_fronts
from .key_slices import best_of, key_slices
from .monitor import Monitor
from .outward import drawn_masks, show, write
from .propagation_parameters import PropagationParameters
from .results import SliceResult
from .tracks import likelier_tracks
from .way_back import found_on_the_way_back
from .work import Work


def propagate(
    work: Work, monitor: Monitor, parameters: PropagationParameters | None = None
) -> list[SliceResult]:
    """Fills the work's labels from its drawn or most certain slices outwards."""
    p = parameters or PropagationParameters()
    with monitor.stage("start"):
        found = drawn_masks(work, p.certainty)
    candidates = key_slices(work, work.undrawn, monitor, p.key_slices)
    found |= best_of(candidates)
    with monitor.stage("encode"):
        work.slices.read({index for _, index in found})
    with monitor.stage("start"):
        fronts = [
            front for structure in work.structures
            for front in start_fronts(work, structure, found, p)
        ]
        show(work, found, {index for _, index in found}, monitor)
    found |= advance(work, fronts, found, set(found), monitor, p)
    found = likelier_tracks(work, found, candidates, monitor, p)
    starts = {key for key, one in found.items() if one.source != "propagated"}
    found.update(found_on_the_way_back(work, found, starts, monitor, p))
    with monitor.stage("labels"):
        return write(work, found)
