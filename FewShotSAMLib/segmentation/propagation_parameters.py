"""Constants of the strategy "propagate"."""

from __future__ import annotations

from dataclasses import dataclass

from .key_slices import KeySliceParameters
from .looks import UnlikeParameters
from .parts import PartParameters
from .presence import PresenceParameters


@dataclass(frozen=True)
class TrackParameters:
    """Constants of looking again, chosen on the abdominal MR (see `tracks`).

    Attributes:
        doubtful: estimated Dice of a whole track below which another one is tried.
        same: Dice of a candidate's mask with a track's from which on it belongs to that track.
        shared: what it adds to a track's estimate that all candidates belong to it; planned: that
            it lies exactly where the body's plan expects it.
    """

    doubtful: float = 0.75
    same: float = 0.5
    shared: float = 0.2
    planned: float = 0.25


@dataclass(frozen=True)
class PropagationParameters:
    """Constants of the propagation.

    Attributes:
        memory: share of the previous slice in the confidence map.
        carried: share of the registered neighbour's mask in the result.
        reach: share of the model's square that a structure's edge may move between slices.
        ends_below: certainty below which the structure has ended, where the confidence map's peak
            says it; judged_below: where the model judges presence itself. The latter was chosen on
            the abdominal MR 1, 2, 3 and 5 and the hippocampi.
        presence: when grey levels and area say that it has; marked: the same for a structure that
            was drawn in this volume, whose grey levels are known for certain.
        last: likeness that will do for a drawn one where the mask is closed (`borders.closed`) by
            `last_closed` and certain by `last_certain`: in its last slice thick slices mix a
            structure with what lies beyond.
        key_slices: where fronts start without drawn slices; tracks: when they start elsewhere.
        certainty: largest absolute logit of a mask prompt.
        expected: share of the prior in another patient's result, where it is fully trusted.
        unlike: what is taken from logits where a place does not look like the structure.
        margin: added to the finished logits.
        taken: share of a mask that drawn structures may have taken before the front ends.
        turn: share of the way out after which fronts come back (see `way_back`).
        grown: least growth of the structure on the way there, as a share of its largest area.
        patience: slices without anything new after which they stop.
        parts: what is taken of what they find.
    """

    memory: float = 0.5
    carried: float = 0.5
    reach: float = 0.05
    ends_below: float = 0.3
    judged_below: float = 0.55
    presence: PresenceParameters = PresenceParameters()
    marked: PresenceParameters = PresenceParameters(area=0.15)
    last: float = -0.5
    last_closed: float = 0.5
    last_certain: float = 0.7
    key_slices: KeySliceParameters = KeySliceParameters()
    tracks: TrackParameters = TrackParameters()
    certainty: float = 8.0
    expected: float = 0.1
    unlike: UnlikeParameters = UnlikeParameters()
    margin: float = 1.0
    taken: float = 0.5
    turn: float = 0.9
    grown: float = 0.12
    patience: int = 3
    parts: PartParameters = PartParameters()
