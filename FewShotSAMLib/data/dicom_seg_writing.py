"""Labels as DICOM SEG, written with highdicom: names, colours and codes, at their place in patient
space whatever the order, tilt or spacing of the slices (PS3.3 A.51, A.70)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..version import __version__
from .errors import InputError
from .files import atomic_path
from .slicing import GRID_AXIS
from .volume import Segment, Volume

if TYPE_CHECKING:
    from highdicom.seg import SegmentDescription
    from pydicom import Dataset

BINARY, LABELMAP, FRACTIONAL = "BINARY", "LABELMAP", "FRACTIONAL"
SEG_TYPES = (BINARY, LABELMAP, FRACTIONAL)
_TISSUE = ("SCT", "85756007", "Tissue")  # what 3D Slicer takes where nothing was chosen
_LONGEST_NAME = 64  # characters of a DICOM long string


def write_seg(
    labels: Volume,
    path: str | Path,
    sources: Sequence[Dataset],
    *,
    seg_type: str = BINARY,
    confidence: Mapping[int, np.ndarray] | None = None,
) -> None:
    """Write labels as a DICOM SEG, whole or not at all.

    Segments are numbered 1, 2, 3 ... in the order of the label values; a value itself is kept in
    the segment's tracking identifier ("label 4"). A code that 3D Slicer's terminology gives is
    taken; without one a segment is of the category and type "Tissue".

    Args:
        labels: on any grid of the sources' frame of reference.
        path: the file.
        sources: headers of the images that were segmented (see `dicom_sources`).
        seg_type: "BINARY"; "LABELMAP", one frame for all segments of a slice, which few readers
            know yet; or "FRACTIONAL".
        confidence: for FRACTIONAL, by label value, 0 to 1 in an array of the labels' shape.

    Raises:
        InputError: highdicom is not installed, there are no labels or sources, or these lack what
            a SEG must say.
    """
    path = Path(path)
    if seg_type not in SEG_TYPES:
        raise InputError(f"DICOM SEG type {seg_type!r}: unknown; use {', '.join(SEG_TYPES)}")
    if not sources:
        raise InputError(
            f"{path}: a DICOM SEG belongs to a DICOM series, and the image is none; use .seg.nrrd"
        )
    if not labels.segments:
        raise InputError(f"{path}: there is no structure to write")
    written = _segmentation(labels, path, sources, seg_type, confidence or {})
    with atomic_path(path) as temporary:
        written.save_as(temporary)


def _segmentation(
    labels: Volume,
    path: Path,
    sources: Sequence[Dataset],
    seg_type: str,
    confidence: Mapping[int, np.ndarray],
) -> Any:
    try:
        import highdicom as hd
    except ModuleNotFoundError:
        raise InputError(
            f'{path}: writing DICOM SEG needs highdicom: pip install "fewshotsam[batch]"'
        ) from None
    values = sorted(labels.segments)
    i, j, k = labels.direction.T
    dx, dy, dz = labels.spacing
    apart = float(dz * abs(k @ np.cross(i, j)))  # of a sheared stack less than from slice to slice
    steps = np.zeros((labels.shape[0], 3))
    steps[:, 2] = np.arange(labels.shape[0])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sources that take liberties with the standard
            return hd.seg.Segmentation(
                source_images=sources,
                pixel_array=_pixels(labels, values, seg_type, confidence),
                segmentation_type=seg_type,
                segment_descriptions=[
                    _description(labels.segments[value], value, number)
                    for number, value in enumerate(values, start=1)
                ],
                series_instance_uid=hd.UID(),
                series_number=_series_number(sources[0]),
                sop_instance_uid=hd.UID(),
                instance_number=1,
                manufacturer="FewShotSAM developers",
                manufacturer_model_name="FewShotSAM",
                software_versions=__version__,
                device_serial_number="0",
                content_description="one-shot segmentation; not for diagnosis",
                content_label="SEGMENTATION",
                plane_orientation=hd.PlaneOrientationSequence("PATIENT", [*i, *j]),
                plane_positions=[
                    hd.PlanePositionSequence("PATIENT", position)
                    for position in labels.index_to_world(steps)
                ],
                pixel_measures=hd.PixelMeasuresSequence((dy, dx), apart, apart),
            )
    except (AttributeError, ValueError, KeyError, TypeError) as problem:
        what = " ".join(str(problem).split())
        raise InputError(
            f"{path}: the image's DICOM headers do not allow a SEG ({what}); use .seg.nrrd"
        ) from None


def _pixels(
    labels: Volume, values: Sequence[int], seg_type: str, confidence: Mapping[int, np.ndarray]
) -> np.ndarray:
    """Frames (k, j, i) of segment numbers, or (k, j, i, segment) of fractions."""
    if seg_type != FRACTIONAL:
        table = np.zeros(int(max(labels.voxels.max(), *values)) + 1, np.uint16)
        table[list(values)] = np.arange(1, len(values) + 1)
        numbers = table[labels.voxels]
        return numbers.astype(np.uint8) if len(values) < 256 else numbers
    fractions = [
        np.where(labels.voxels == value, confidence.get(value, 1.0), 0.0) for value in values
    ]
    return np.clip(np.stack(fractions, axis=-1), 0.0, 1.0).astype(np.float32)


def _description(segment: Segment, value: int, number: int) -> SegmentDescription:
    import highdicom as hd
    from pydicom.sr.coding import Code

    category, kind = (Code(v, s, m) for s, v, m in codes_of(segment.terminology))
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=segment.name[:_LONGEST_NAME],
        segmented_property_category=category,
        segmented_property_type=kind,
        algorithm_type="SEMIAUTOMATIC",  # a person marked a slice
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name="FewShotSAM", version=__version__,
            family=Code("123110", "DCM", "Artificial Intelligence"),
        ),
        tracking_uid=hd.UID(),
        tracking_id=f"label {value}",
        display_color=hd.color.CIELabColor.from_rgb(*(round(c * 255) for c in segment.colour)),
    )  # fmt: skip


def confidence_maps(result: Any) -> dict[int, np.ndarray]:
    """How sure a result is of each voxel: the score of its slice, by label.

    Args:
        result: with `labels`, `axis` and `slices` as a `VolumeResult` has them, slices counted
            along the file's own axis.

    Returns:
        float32 arrays (k, j, i) of the labels' shape.
    """
    labels: Volume = result.labels
    _, orientation = labels.canonical()
    along = 2 - orientation.permutation[GRID_AXIS[result.axis]]
    maps = {value: np.zeros(labels.shape, np.float32) for value in labels.segments}
    for one in result.slices:
        plane = [slice(None)] * 3
        plane[along] = one.index
        maps[one.label][tuple(plane)] = one.score
    return maps


def codes_of(terminology: str) -> tuple[tuple[str, str, str], tuple[str, str, str]]:
    """Category and type, each as (scheme, value, meaning), of 3D Slicer's terminology entry
    "context~scheme^value^meaning~scheme^value^meaning~..."; "Tissue" where it has none."""
    parts = terminology.split("~")[1:3]
    found = [tuple(part.split("^")[:3]) for part in parts]
    if len(found) == 2 and all(len(code) == 3 and all(code) for code in found):
        return found[0], found[1]
    return _TISSUE, _TISSUE


def _series_number(source: Dataset) -> int:
    """One that the study is unlikely to have."""
    return 1000 + int(source.get("SeriesNumber") or 0) % 100000
