"""Noise-aware refinement of a batch of masks (SynPo's NRM; methods section 1, step 7).

The part that needs no network: clean a mask, keep the component that the confidence map backs
most, and turn it into a mask prompt. Arrays are numpy, (N, H, W), one mask per slice.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

# Eight neighbours within a slice, none across slices: one labelling serves the whole batch.
_WITHIN_SLICE = np.zeros((3, 3, 3), bool)
_WITHIN_SLICE[1] = True


def erode(masks: np.ndarray) -> np.ndarray:
    """One erosion by the 3x3 ellipse (a cross). Beyond the picture's edge counts as inside."""
    padded = np.pad(masks.astype(bool), ((0, 0), (1, 1), (1, 1)), constant_values=True)
    return _cross(padded, np.logical_and)


def dilate(masks: np.ndarray) -> np.ndarray:
    """One dilation by the 3x3 ellipse (a cross). Beyond the picture's edge counts as outside."""
    padded = np.pad(masks.astype(bool), ((0, 0), (1, 1), (1, 1)), constant_values=False)
    return _cross(padded, np.logical_or)


def open_masks(masks: np.ndarray) -> np.ndarray:
    """Erosion, then dilation. A slice whose mask would vanish (too thin) keeps it as it was."""
    masks = masks.astype(bool)
    opened = dilate(erode(masks))
    return np.where(opened.any(axis=(1, 2), keepdims=True), opened, masks)


def best_components(
    masks: np.ndarray,
    confidence: np.ndarray,
    *,
    minimum_area: int = 16,
    minimum_share: float = 0.1,
) -> np.ndarray:
    """Of each slice's mask, the one component with the highest mean confidence.

    masks: bool (N, H, W). confidence: float (N, H, W).
    A component takes part when it has at least `minimum_area` pixels and `minimum_share` of the
    slice's largest component, so that specks cannot win; if none has, the largest one is kept.
    Returns bool (N, H, W); empty where the mask is empty.
    """
    labels, count = ndimage.label(masks, structure=_WITHIN_SLICE)
    if count == 0:
        return np.zeros(masks.shape, bool)
    inside = labels > 0
    numbers = labels[inside]
    areas = np.bincount(numbers, minlength=count + 1)
    means = np.bincount(numbers, weights=confidence[inside], minlength=count + 1)
    means = means / np.maximum(areas, 1)
    slice_of = np.zeros(count + 1, np.intp)
    slice_of[numbers] = np.nonzero(inside)[0]
    kept = np.zeros(count + 1, bool)
    for index in np.unique(slice_of[1:]):
        mine = 1 + np.flatnonzero(slice_of[1:] == index)
        least = max(minimum_area, minimum_share * areas[mine].max())
        able = mine[areas[mine] >= least]
        kept[able[means[able].argmax()] if len(able) else mine[areas[mine].argmax()]] = True
    return kept[labels]


def refine_masks(
    masks: np.ndarray,
    confidence: np.ndarray,
    *,
    minimum_area: int = 16,
    minimum_share: float = 0.1,
) -> np.ndarray:
    """Opening, then the best component: the cleaning done before and after the mask prompt."""
    return best_components(
        open_masks(masks), confidence, minimum_area=minimum_area, minimum_share=minimum_share
    )


def mask_prompt_logits(logits: Tensor, kept: Tensor, *, outside: float = -10.0) -> Tensor:
    """The mask prompt: the mask's own low-resolution logits inside the kept component.

    logits: (N, 1, m, m), as the model returned them. kept: bool (N, H, W), any resolution; a
    low-resolution cell belongs to the component when the component touches it.
    Returns (N, 1, m, m) with `outside` everywhere else.
    """
    touched = functional.adaptive_max_pool2d(
        kept[:, None].to(logits.device, torch.float32), logits.shape[-2:]
    )
    return torch.where(touched > 0, logits, torch.full_like(logits, outside))


def _cross(padded: np.ndarray, combine: np.ufunc) -> np.ndarray:
    """Combine each pixel with its four neighbours; `padded` has one pixel more on each side."""
    centre = padded[:, 1:-1, 1:-1]
    vertical = combine(padded[:, :-2, 1:-1], padded[:, 2:, 1:-1])
    horizontal = combine(padded[:, 1:-1, :-2], padded[:, 1:-1, 2:])
    return combine(centre, combine(vertical, horizontal))
