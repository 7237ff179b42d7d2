"""How well a segmentation agrees with the truth: overlap, surface distance, volume.

Masks are bool arrays of one shape; for 3-D distances (k, j, i) with the spacing given along
i, j, k in millimetres, as `Volume.spacing` has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage


@dataclass(frozen=True)
class SurfaceDistance:
    """Distances between two surfaces in millimetres.

    assd: average symmetric surface distance: the mean over both surfaces' voxels.
    hd95: the larger of the two directed 95th percentiles.
    Both NaN when both masks are empty, infinite when one is.
    """

    assd: float
    hd95: float


def dice(prediction: np.ndarray, truth: np.ndarray) -> float:
    """2 |P and T| / (|P| + |T|), over all voxels at once. NaN when both are empty.

    Raises ValueError when the shapes differ.
    """
    prediction, truth = _both(prediction, truth)
    total = int(prediction.sum()) + int(truth.sum())
    return 2 * int((prediction & truth).sum()) / total if total else float("nan")


def dice_given_slices(prediction: np.ndarray, truth: np.ndarray) -> float:
    """3-D Dice over the slices (first axis) on which the truth is not empty: the papers' way.

    What is segmented on other slices does not count, so it says nothing about knowing where a
    structure ends. NaN when the truth is empty.
    """
    prediction, truth = _both(prediction, truth)
    given = truth.any(axis=tuple(range(1, truth.ndim)))
    return dice(prediction[given], truth[given])


def dice_per_label(
    prediction: np.ndarray, truth: np.ndarray, labels: Iterable[int]
) -> dict[int, float]:
    """`dice` of each label of two integer arrays."""
    return {label: dice(prediction == label, truth == label) for label in labels}


def surface_distance(
    prediction: np.ndarray, truth: np.ndarray, spacing: Sequence[float]
) -> SurfaceDistance:
    """Distances between the border voxels of two masks.

    spacing: millimetres along i, j, k, the reverse of the array's axes. A border voxel is one
    with a face neighbour outside the mask; beyond the array's edge counts as outside.
    """
    prediction, truth = _both(prediction, truth)
    if len(spacing) != truth.ndim:
        raise ValueError(f"a mask of {truth.ndim} axes needs {truth.ndim} spacings, not {spacing}")
    if not prediction.any() or not truth.any():
        value = float("nan") if prediction.any() == truth.any() else float("inf")
        return SurfaceDistance(value, value)
    there, back = _directed(prediction, truth, tuple(spacing)[::-1])
    return SurfaceDistance(
        assd=float((there.sum() + back.sum()) / (len(there) + len(back))),
        hd95=float(max(np.percentile(there, 95), np.percentile(back, 95))),
    )


def _directed(
    prediction: np.ndarray, truth: np.ndarray, steps: tuple[float, ...]
) -> Iterator[np.ndarray]:
    """Of each border voxel of one mask to the other's border, and back; mm along the axes."""
    box = ndimage.find_objects((prediction | truth).astype(np.uint8))[0]
    borders = [_border(mask[box]) for mask in (prediction, truth)]
    for one, other in (borders, borders[::-1]):
        yield ndimage.distance_transform_edt(~other, sampling=steps)[one]


def volume_ml(mask: np.ndarray, spacing: Sequence[float]) -> float:
    """Volume of a mask in millilitres; spacing in millimetres."""
    return float(mask.astype(bool).sum()) * float(np.prod(spacing)) / 1000.0


def _border(mask: np.ndarray) -> np.ndarray:
    return mask & ~ndimage.binary_erosion(mask)


def _both(prediction: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if prediction.shape != truth.shape:
        raise ValueError(f"prediction {prediction.shape} and truth {truth.shape} differ in shape")
    return prediction.astype(bool), truth.astype(bool)
