"""Structures from several supports under one numbering: the same name is the same structure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from FewShotSAMLib import Segment

from .segments import SegmentInfo

if TYPE_CHECKING:
    from FewShotSAMLib import Support


def together(
    painted: Sequence[Support],
    segments: Mapping[int, SegmentInfo],
    further: Sequence[Support],
) -> tuple[tuple[Support, ...], dict[int, SegmentInfo]]:
    """Adds further supports to those that were painted in the scene.

    A structure of a further support that has the name of a known one gets its label; others keep
    theirs where it is free, else they get the next free one.

    Args:
        painted, segments: as `supports.read_supports` gives them.
        further: supports from elsewhere, such as saved ones.

    Returns:
        All supports, with labels that mean the same in each, and label -> segment.
    """
    known, supports = dict(segments), list(painted)
    for support in further:
        numbers: dict[int, int] = {}
        for label, name in support.names.items():
            same = (n for n, info in known.items() if info.name == name)
            number = next(same, None)
            if number is None:
                number = label if label not in known else max(known) + 1
                known[number] = _info(support.labels.segments[label], known)
            numbers[label] = number
        supports.append(_renumbered(support, numbers, known))
    return tuple(supports), dict(sorted(known.items()))


def _info(segment: Segment, known: Mapping[int, SegmentInfo]) -> SegmentInfo:
    """With an id that no other has."""
    taken = {info.id for info in known.values()}
    number = 1
    while (unique := segment.name if number == 1 else f"{segment.name}_{number}") in taken:
        number += 1
    return SegmentInfo(unique, segment.name, segment.colour, segment.terminology)


def _renumbered(
    support: Support, numbers: Mapping[int, int], known: Mapping[int, SegmentInfo]
) -> Support:
    table = np.zeros(max(numbers) + 1, np.uint16)
    for label, number in numbers.items():
        table[label] = number
    drawn = support.labels.voxels
    voxels = table[np.where(drawn < len(table), drawn, 0)]
    highest = max(numbers.values())
    return replace(
        support,
        labels=replace(
            support.labels,
            voxels=voxels.astype(np.uint8 if highest < 256 else np.uint16),
            segments={
                number: Segment(known[number].name, known[number].colour, known[number].terminology)
                for number in sorted(numbers.values())
            },
        ),
        drawn={numbers[label]: indices for label, indices in support.drawn.items()},
    )


def support_segments(support: Support) -> list[SegmentInfo]:
    """What the structures of a support are, in the order of their labels."""
    known: dict[int, SegmentInfo] = {}
    for label in sorted(support.names):
        known[label] = _info(support.labels.segments[label], known)
    return list(known.values())
