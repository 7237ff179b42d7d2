"""Agreement of surfaces, measured by their area (Nikolov et al., 2018) with the makers' package
`surface-distance`: every piece of a surface counts by its size, so that voxels that are longer in
one direction than in another do no harm."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

TOLERANCE_MM = 2.0


@dataclass(frozen=True)
class SurfaceAgreement:
    """How well two surfaces agree.

    Attributes:
        nsd: normalised surface Dice: the part of both surfaces that lies within the tolerance of
            the other, 0 to 1.
        assd: the mean distance over both surfaces, in millimetres.
        hd95: the larger of the two directed 95th percentiles, in millimetres.
    """

    nsd: float
    assd: float
    hd95: float


def surface_agreement(
    prediction: np.ndarray,
    truth: np.ndarray,
    spacing: Sequence[float],
    tolerance: float = TOLERANCE_MM,
) -> SurfaceAgreement:
    """Of two 3-D masks (k, j, i).

    Args:
        spacing: millimetres along i, j, k, the reverse of the array's axes.
        tolerance: millimetres within which surfaces count as the same.

    Returns:
        All NaN where both masks are empty; 0 and infinite distances where one is.

    Raises:
        ValueError: the shapes differ, or they are not 3-D.
    """
    from surface_distance import (
        compute_average_surface_distance,
        compute_robust_hausdorff,
        compute_surface_dice_at_tolerance,
        compute_surface_distances,
    )

    if prediction.shape != truth.shape or prediction.ndim != 3:
        raise ValueError(f"two 3-D masks of one shape, not {prediction.shape} and {truth.shape}")
    prediction, truth = prediction.astype(bool), truth.astype(bool)
    if not prediction.any() or not truth.any():
        both = prediction.any() == truth.any()
        return SurfaceAgreement(*((np.nan,) * 3 if both else (0.0, np.inf, np.inf)))
    box = ndimage.find_objects((prediction | truth).astype(np.uint8))[0]
    # A margin of one voxel: the surface runs around what touches the volume's edge as well.
    pair = [np.pad(mask[box], 1) for mask in (truth, prediction)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of SciPy's names, up to SciPy 2
        distances = compute_surface_distances(*pair, tuple(spacing)[::-1])
    there, back = compute_average_surface_distance(distances)
    sizes = [distances[f"surfel_areas_{name}"].sum() for name in ("gt", "pred")]
    return SurfaceAgreement(
        nsd=float(compute_surface_dice_at_tolerance(distances, tolerance)),
        assd=float(np.average((there, back), weights=sizes)),
        hd95=float(compute_robust_hausdorff(distances, 95)),
    )
