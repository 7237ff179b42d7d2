"""Parts of a structure that one look at its slices missed and another one saw.

Another look sees more because there is more, or because it ran over the structure's end. Which of
the two a part is, is told by the slice that a person drew: what was left out there is not the
structure, and no part of it ends from one slice to the next. Where nobody drew, the finished masks
tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .borders import closed, ordinary


@dataclass(frozen=True)
class PartParameters:
    """Constants; chosen on the abdominal MR, the CT and the hippocampi.

    Attributes:
        thin: pixels on either side that make a part more than a rim.
        ends: largest area beside the drawn slice, as a share of the part's largest.
        alike: least share of its pixels whose grey levels are ordinary inside the structure.
        beside: least share of what surrounds it, slice by slice, that is the structure.
        sure: where nobody drew, how closed and certain a mask must be with a part, as a share of
            what it was without.
    """

    thin: int = 1
    ends: float = 0.5
    alike: float = 0.6
    beside: float = 0.4
    sure: float = 0.95


def drawn_parts(
    grey: np.ndarray, known: np.ndarray, seen: np.ndarray, p: PartParameters
) -> np.ndarray:
    """Parts of a structure that was followed from a drawn slice: those that end before it, look
    like the structure's inside and border on it.

    Args:
        grey: (N, H, W) slices in [0, 1], the first of them beside the drawn one; known, seen: bool,
            the structure's masks on the way out and back.

    Returns: bool (N, H, W), nowhere known.
    """
    taken = np.zeros_like(known)
    if not known.any():
        return taken
    lowest, highest = ordinary(grey[known])
    numbers, _ = ndimage.label(_new(known, seen, p), np.ones((3, 3, 3)))
    for number, box in enumerate(ndimage.find_objects(numbers), start=1):
        where = (slice(0, box[0].stop), *(slice(max(s.start - 1, 0), s.stop + 1) for s in box[1:]))
        part = numbers[where] == number
        areas = part.sum((1, 2))
        inside = grey[where][part]
        alike = ((inside >= lowest) & (inside <= highest)).mean()
        if (
            areas[0] <= p.ends * areas.max() and alike >= p.alike
            and _beside(part, known[where]) >= p.beside
        ):
            taken[where] |= part
    return taken


def closing_parts(
    grey: np.ndarray, known: np.ndarray, seen: np.ndarray, scores: Sequence[tuple[float, float]],
    p: PartParameters,
) -> np.ndarray:
    """Parts of a structure that nobody drew in this volume: in each slice, those with which the
    mask is about as closed (`borders.closed`) and certain as without, or more; none where nothing
    speaks for the mask itself.

    Args:
        grey, known, seen: as for `drawn_parts`; scores: the masks' certainty, known and seen.

    Returns: bool (N, H, W), nowhere known.
    """
    taken = _new(known, seen, p)
    for image, before, part, (was, now) in zip(grey, known, taken, scores, strict=True):
        if part.any() and before.any():
            without = closed(image, before) * was
            part &= 0 < p.sure * without <= closed(image, before | part) * now
    return taken


def wide(mask: np.ndarray, p: PartParameters) -> np.ndarray:
    """What of a mask (H, W) hangs together with a place that is more than a rim."""
    return ndimage.binary_propagation(ndimage.binary_erosion(mask, iterations=p.thin), mask=mask)


def _new(known: np.ndarray, seen: np.ndarray, p: PartParameters) -> np.ndarray:
    """What is seen that is not known, slice by slice, without rims."""
    return np.stack([wide(one, p) for one in seen & ~known])


def _beside(part: np.ndarray, known: np.ndarray) -> float:
    """The share of what surrounds a part in its slices that is known."""
    around = ndimage.binary_dilation(part, _IN_SLICE) & ~part
    areas, shared, whole = (a.sum((1, 2)) for a in (part, around & known, around))
    return float(np.average(shared / np.maximum(whole, 1), weights=areas))


_IN_SLICE = np.zeros((3, 3, 3), bool)
_IN_SLICE[1] = ndimage.generate_binary_structure(2, 1)
