"""Refinement of masks: opening, choice of a component, mask prompt."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from FewShotSAMLib.prompting.refinement import (
    best_components,
    dilate,
    erode,
    mask_prompt_logits,
    open_masks,
    refine_masks,
)

CROSS = ndimage.generate_binary_structure(2, 1)


@settings(max_examples=40, deadline=None)
@given(masks=arrays(bool, (2, 9, 7)))
def test_erosion_and_dilation_use_the_cross(masks: np.ndarray) -> None:
    for mask, small, large in zip(masks, erode(masks), dilate(masks), strict=True):
        assert np.array_equal(small, ndimage.binary_erosion(mask, CROSS, border_value=1))
        assert np.array_equal(large, ndimage.binary_dilation(mask, CROSS))


@settings(max_examples=40, deadline=None)
@given(
    masks=arrays(bool, (3, 8, 8)),
    confidence=arrays(np.float32, (3, 8, 8), elements=st.floats(0, 1, width=16)),
)
def test_best_component_of_each_slice_against_a_loop(
    masks: np.ndarray, confidence: np.ndarray
) -> None:
    result = best_components(masks, confidence, minimum_area=3, minimum_share=0.5)
    for mask, score, kept in zip(masks, confidence, result, strict=True):
        labels, count = ndimage.label(mask, np.ones((3, 3)))
        if count == 0:
            assert not kept.any()
            continue
        parts = [labels == number for number in range(1, count + 1)]
        largest = max(part.sum() for part in parts)
        able = [part for part in parts if part.sum() >= max(3, 0.5 * largest)]
        if able:
            best = max(score[part].mean(dtype=float) for part in able)
            assert any(np.array_equal(kept, part) for part in able)
            assert abs(score[kept].mean(dtype=float) - best) < 1e-6
        else:
            assert kept.sum() == largest


def test_specks_cannot_win() -> None:
    mask = np.zeros((1, 20, 20), bool)
    mask[0, 2:10, 2:10] = True
    mask[0, 15:17, 15:17] = True
    confidence = np.where(np.arange(20) > 12, 0.9, 0.5)[None, None].repeat(20, 1)
    kept = best_components(mask, confidence, minimum_area=16, minimum_share=0.0)
    assert kept.sum() == 64 and kept[0, 5, 5]
    kept = best_components(mask, confidence, minimum_area=1, minimum_share=0.0)
    assert kept.sum() == 4 and kept[0, 15, 15]
    kept = best_components(mask, confidence, minimum_area=1, minimum_share=0.1)
    assert kept.sum() == 64


def test_opening_cuts_bridges_and_keeps_thin_masks() -> None:
    masks = np.zeros((2, 12, 14), bool)
    masks[0, 2:6, 1:5] = masks[0, 2:6, 9:13] = True
    masks[0, 3, 5:9] = True  # a bridge one pixel wide
    masks[1, 4, 2:9] = True  # nothing but a line
    opened = open_masks(masks)
    assert ndimage.label(opened[0])[1] == 2
    assert np.array_equal(opened[1], masks[1])
    refined = refine_masks(masks, np.ones((2, 12, 14)) * np.arange(14), minimum_area=4)
    assert refined[0, 3, 10] and not refined[0, :, :7].any()


def test_slices_do_not_touch_each_other() -> None:
    masks = np.zeros((2, 6, 6), bool)
    masks[:, 1:4, 1:4] = True
    confidence = np.stack([np.ones((6, 6)), np.zeros((6, 6))])
    assert best_components(masks, confidence, minimum_area=1).sum() == 18


def test_mask_prompt_keeps_logits_inside_only() -> None:
    logits = torch.linspace(-3, 5, 2 * 16).reshape(2, 1, 4, 4)
    kept = torch.zeros(2, 16, 16, dtype=torch.bool)
    kept[0, 5:9, 6] = True  # touches low-resolution cells (1, 1) and (2, 1)
    prompt = mask_prompt_logits(logits, kept, outside=-10.0)
    inside = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    inside[0, 0, 1:3, 1] = True
    assert torch.equal(prompt[inside], logits[inside])
    assert (prompt[~inside] == -10).all()
