"""Whether values are Hounsfield units: by air, soft tissue and their shares, never by the extremes
nor by a tag alone. Metal and padding are few or far away, and change nothing."""

from __future__ import annotations

import numpy as np

from .sampling import evenly_spread

# Below this there is nothing in a body or around it: what scanners pad with.
_PADDING = -1100
# Above this lies metal. CT stores 12 bits (4095 - 1024), more where metal is to be seen.
_METAL = 4100
_MOST_METAL = 0.02

def modality_of(voxels: np.ndarray, tagged: str) -> tuple[str, str | None]:
    """What a volume is by its tag and its values together, and a note where they differ.

    Args:
        voxels: (k, j, i), or (k, j, i, 3) of colours.
        tagged: the modality that the source tells, "CT"; "" where it tells none.

    Returns:
        "CT", "MR", "RGB" or "other", and one sentence or None.
    """
    if voxels.ndim == 4:
        return "RGB", None
    if not tagged:
        return detect_modality(voxels), None
    if tagged != "CT":
        return ("MR" if tagged == "MR" else "other"), None
    if holds_hounsfield_units(voxels):
        return "CT", None
    return "other", (
        f"is tagged CT, but its values ({np.nanmin(voxels):g} to {np.nanmax(voxels):g}) are no "
        "Hounsfield units; it is shown by percentiles, modality= or window= choose otherwise"
    )


def detect_modality(voxels: np.ndarray) -> str:
    """ "RGB", "CT" or "MR" from the values of a volume (k, j, i[, 3]) whose source does not tell.

    CT is recognised by Hounsfield units: air near -1000 together with soft tissue, or, cropped
    inside the body, whole numbers that lie where fat, organs and bone do. Padding below -1100 and
    some metal are left out. Everything else that is grey counts as MR.
    """
    if voxels.ndim == 4:
        return "RGB"
    if voxels.dtype.kind in "ub":
        return "MR"
    values = _within_body(evenly_spread(voxels))
    if values is None or values.min() >= 0:
        return "MR"
    if _has_air_and_tissue(values):
        return "CT"
    low, middle, high = np.percentile(values, (1, 50, 99))
    whole = np.mean(np.abs(values - np.rint(values)) < 1e-3) > 0.99
    tissue, fat = _share(values, -200, 400), _share(values, -150, -40)
    inside = tissue > 0.8 and fat > 0.005 and -150 <= middle <= 200 and high - low > 60
    return "CT" if whole and inside else "MR"


def holds_hounsfield_units(voxels: np.ndarray) -> bool:
    """Whether the values of an image that is tagged CT are Hounsfield units.

    Milder than ``detect_modality``, since the tag speaks for them: air with soft tissue; or,
    without air, fat and soft tissue; or soft tissue nearly alone, over a range that tissue has.
    What is never negative and has a common lowest value is no such crop but stored values that
    lack their intercept (dental CT, micro-CT).
    """
    values = _within_body(evenly_spread(voxels))
    if values is None or voxels.ndim == 4:
        return False
    if _has_air_and_tissue(values):
        return True
    low, middle, high = np.percentile(values, (0.5, 50, 99.5))
    tissue, fat = _share(values, -200, 400), _share(values, -150, -40)
    if high - low < 25 or not -200 <= middle <= 600:
        return False
    if values.min() >= 0 and (high > 600 or np.mean(values == values.min()) > 0.01):
        return False
    return (fat > 0.005 and tissue > 0.3) or (tissue > 0.8 and high <= 600)


def _within_body(values: np.ndarray) -> np.ndarray | None:
    """Values without padding and metal, float32; None where they cannot be Hounsfield units."""
    if not values.size:
        return None
    padding, metal = values < _PADDING, values > _METAL
    if np.mean(padding & (values != values.min())) > 0.02 or padding.all():
        return None
    kept = values[~(padding | metal)]
    if not kept.size or metal.sum() > _MOST_METAL * (~padding).sum():
        return None
    return kept.astype(np.float32)


def _has_air_and_tissue(values: np.ndarray) -> bool:
    air, lung = np.mean(values < -900), _share(values, -900, -200)
    tissue = _share(values, -200, 400)
    return bool(air > 0.005 and tissue > 0.05 and tissue > 0.25 * lung)


def _share(values: np.ndarray, low: float, high: float) -> float:
    return float(np.mean((values >= low) & (values <= high)))
