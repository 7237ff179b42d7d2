"""How far the marked structures reach in the support's own volume.

One marked slice says what a structure looks like there, but not how long it is. In the overview of
its volume each mark is carried from slice to slice by deformable registration until the grey levels
say that the structure has ended (`presence`); on the abdominal MR that gives 0.84 Dice over whole
organs from one middle slice at 64 pixels a side, in a third of a second.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch.nn import functional as F

from ...data.support import Support
from ..presence import Appearance, PresenceParameters, learn_appearance, still_present
from ..registration import NeighbourFields, neighbour_fields

# An overview has a few hundred pixels an organ, small ones fewer.
PRESENCE = PresenceParameters(pixels=2)


@lru_cache(maxsize=8)
def extended_marks(support: Support) -> dict[int, np.ndarray]:
    """By label, how much each pixel of the support's overview belongs to the structure.

    Returns:
        float32 (s, h, w), 0 to 1; nothing where the support has no overview.
    """
    if support.overview is None:
        return {}
    images = support.overview.images()
    fields = neighbour_fields(torch.from_numpy(images))
    return {label: _extended(support, label, images, fields) for label in support.names}


def _extended(
    support: Support, label: int, images: np.ndarray, fields: NeighbourFields
) -> np.ndarray:
    """All marks of one label carried outwards; where several arrive the surest counts."""
    marks = {
        _nearest(support, index): _thin(support.masks(label)[place], images.shape[1:])
        for index, place in zip(support.slices_of(label), support.positions_of(label), strict=True)
    }
    reached = np.zeros(images.shape, np.float32)
    for index, mask in marks.items():
        reached[index] = np.maximum(reached[index], mask)
        inside = mask >= min(0.5, 0.5 * float(mask.max()))
        look = learn_appearance(images[index][None], inside[None], images, PRESENCE)
        for step in (1, -1):
            _carry(reached, fields, look, images, index, step, mask, set(marks))
    return reached


def _carry(
    reached: np.ndarray, fields: NeighbourFields, look: Appearance, images: np.ndarray,
    index: int, step: int, mask: np.ndarray, marked: set[int],
) -> None:
    """One mark in one direction, up to the next mark or the structure's end."""
    while 0 <= index + step < len(images) and index + step not in marked:
        mask = fields.carry(torch.from_numpy(mask)[None], index, index + step)[0].numpy()
        index += step
        if not still_present(look, images[index], mask > 0.5, PRESENCE):
            return
        reached[index] = np.maximum(reached[index], mask)


def _nearest(support: Support, index: int) -> int:
    place = round(support.overview.place(index))
    return min(max(place, 0), len(support.overview.grey) - 1)


def _thin(mask: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """(H, W) bool as the share (h, w) that it covers."""
    whole = torch.from_numpy(np.ascontiguousarray(mask))[None, None].float()
    return F.interpolate(whole, size=tuple(size), mode="area")[0, 0].numpy()
