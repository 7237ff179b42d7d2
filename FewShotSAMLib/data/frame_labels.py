"""Masks of several frames or components, one structure in each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .errors import InputError
from .label_values import present_labels, whole_numbers
from .soft_masks import cut_soft_mask


def mask_frames(image: Any, name: str) -> list[np.ndarray]:
    """Frames (k, j, i) of a 4-D ``SimpleITK.Image``, or its components; one of a plain one.

    Raises:
        InputError: more than four dimensions, or frames of several components.
    """
    import SimpleITK as sitk

    voxels = sitk.GetArrayViewFromImage(image)
    components = image.GetNumberOfComponentsPerPixel()
    frames = voxels if image.GetDimension() > 3 else voxels[None]
    while frames.ndim > 4 + (components > 1) and frames.shape[0] == 1:
        frames = frames[0]
    if components > 1 and len(frames) == 1:
        frames = np.moveaxis(frames[0], -1, 0)
    if image.GetDimension() == 2:
        frames = frames[:, None]
    if frames.ndim != 4:
        raise InputError(
            f"{name}: a mask of {image.GetDimension()} dimensions and {components} components is "
            "not read; save it as one label map"
        )
    return [np.array(frame) for frame in frames]


def label_frames(frames: Sequence[np.ndarray], name: str) -> tuple[list[np.ndarray], str]:
    """Each frame (k, j, i) as a layer of one label, its number from 1, and a note.

    Where every voxel belongs to exactly one frame, the first is the background, and the others
    are numbered without it. Frames that are all alike count once.

    Raises:
        InputError: a frame holds several labels.
    """
    masks = [_one_structure(frames, number, name) for number in range(len(frames))]
    drawn = [mask for mask in masks if mask.any()]
    if len(drawn) > 1 and all(np.array_equal(mask, drawn[0]) for mask in drawn[1:]):
        return [drawn[0].astype(np.uint16)], f"its {len(frames)} frames are alike; one is taken"
    whole = np.sum(masks, axis=0, dtype=np.uint16)
    first, note = 1, f"each of its {len(frames)} frames is one label"
    if len(masks) > 1 and (whole == 1).all():
        masks, note = masks[1:], f"{note}, the first is the background"
    return [
        mask.astype(np.uint16) * np.uint16(number) for number, mask in enumerate(masks, first)
    ], note


def _one_structure(frames: Sequence[np.ndarray], number: int, name: str) -> np.ndarray:
    cut, _ = cut_soft_mask(frames[number], f"{name}, frame {number}")
    values = whole_numbers(cut, f"{name}, frame {number}")
    labels = present_labels(values)
    if len(labels) > 1:
        raise InputError(
            f"{name}: holds {len(frames)} frames, and frame {number} alone has {len(labels)} "
            "labels; save the frame that belongs to the image as a label map of its own"
        )
    return values > 0
