"""Numbers of each structure's voxels: SimpleITK's label statistics, or pyradiomics' features."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from ...data.errors import InputError
from ...data.label_values import present_labels
from ...data.volume import Volume

if TYPE_CHECKING:
    import SimpleITK as sitk

NONE, FIRST_ORDER, RADIOMICS = "none", "first-order", "radiomics"


def check_statistics(which: str) -> None:
    """Refuse statistics that cannot be computed.

    Raises:
        InputError: there are none of that name, or a package is missing.
    """
    if which not in (NONE, FIRST_ORDER, RADIOMICS):
        raise InputError(
            f"statistics {which!r}: unknown; use {NONE}, {FIRST_ORDER} or {RADIOMICS}"
        )
    if which == RADIOMICS and find_spec("radiomics") is None:
        raise InputError(
            "radiomics: pyradiomics is not installed; install it (pip install pyradiomics), or use "
            f"{FIRST_ORDER}"
        )


def statistics(volume: Volume, labels: Volume, which: str) -> dict[int, dict[str, float]]:
    """Of each label that is there, numbers by name.

    Args:
        volume: grey; of an RGB image there are no statistics.
        labels: on its grid.
        which: "none", "first-order" or "radiomics".

    Returns:
        First-order: mean, sigma, minimum, maximum, median, 5th and 95th percentile and skewness of
        the stored values; shape: surface in mm2, longest diameter (Feret) in mm, roundness, and
        the centroid in LPS mm. Radiomics: pyradiomics' default features by their own names.
    """
    if which == NONE or volume.is_rgb:
        return {}
    return _radiomics(volume, labels) if which == RADIOMICS else _first_order(volume, labels)


def _first_order(volume: Volume, labels: Volume) -> dict[int, dict[str, float]]:
    shapes = _shapes(labels.to_sitk())
    found = {}
    for label in present_labels(labels.voxels):
        values = volume.voxels[labels.voxels == label].astype(np.float64)
        values = values[np.isfinite(values)]
        if len(values):
            found[label] = {**_of_values(values), **_of_shape(shapes, label)}
    return found


def _of_values(values: np.ndarray) -> dict[str, float]:
    mean, sigma = float(values.mean()), float(values.std())
    low, median, high = (float(x) for x in np.percentile(values, (5, 50, 95)))
    return {
        "mean": mean,
        "sigma": sigma,
        "minimum": float(values.min()),
        "maximum": float(values.max()),
        "median": median,
        "percentile_5": low,
        "percentile_95": high,
        "skewness": float((((values - mean) / sigma) ** 3).mean()) if sigma else 0.0,
    }


def _shapes(labels: sitk.Image) -> sitk.LabelShapeStatisticsImageFilter:
    import SimpleITK as sitk

    shapes = sitk.LabelShapeStatisticsImageFilter()
    shapes.ComputePerimeterOn()
    shapes.ComputeFeretDiameterOn()
    shapes.Execute(labels)
    return shapes


def _of_shape(shapes: sitk.LabelShapeStatisticsImageFilter, label: int) -> dict[str, float]:
    x, y, z = shapes.GetCentroid(label)
    return {
        "surface_mm2": shapes.GetPerimeter(label),
        "longest_diameter_mm": shapes.GetFeretDiameter(label),
        "roundness": shapes.GetRoundness(label),
        "centroid_l_mm": x,
        "centroid_p_mm": y,
        "centroid_s_mm": z,
    }


def _radiomics(volume: Volume, labels: Volume) -> dict[int, dict[str, float]]:
    from radiomics.featureextractor import RadiomicsFeatureExtractor

    logging.getLogger("radiomics").setLevel(logging.ERROR)
    extractor = RadiomicsFeatureExtractor()
    image, mask = volume.to_sitk(), labels.to_sitk()
    found = {}
    for label in present_labels(labels.voxels):
        features = extractor.execute(image, mask, label=label)
        found[label] = {
            name.removeprefix("original_"): float(value)
            for name, value in features.items()
            if not name.startswith("diagnostics_")
        }
    return found
