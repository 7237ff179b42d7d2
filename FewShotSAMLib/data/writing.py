"""Writing labels and images, each file whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from .colours import default_colour
from .errors import InputError
from .files import NIFTI, extension, save_image
from .label_values import present_labels, whole_numbers
from .nifti_writing import save_nifti
from .volume import Segment, Volume

_LONGEST_NIFTI = 32767

SEG = ".dcm"  # labels as DICOM SEG
WRITABLE = (".seg.nrrd", ".nii.gz", ".nii", ".nrrd", ".mha", ".png", SEG)


def write_labels(
    result: Any,
    path: str | Path,
    *,
    names: Mapping[int, str] | None = None,
    sources: Sequence[Path] = (),
    seg_type: str = "BINARY",
) -> None:
    """Write labels as .seg.nrrd (names and colours kept, opens as a segmentation in 3D Slicer),
    .nii.gz, .nii, .nrrd, .mha, .png (one axial slice, in the segments' colours if it has any), or
    .dcm (a DICOM SEG with names, colours and codes).

    Args:
        result: a label ``Volume``, or an object with one as ``labels``.
        path: where to; missing folders are made.
        names: label value -> name, in place of the segments' own.
        sources: for .dcm, the DICOM files that were segmented, or a folder of them.
        seg_type: for .dcm, "BINARY", "LABELMAP", or "FRACTIONAL", which says of each voxel how
            sure its slice is.

    Raises:
        InputError: unknown extension, a grid that the format cannot hold (``check_grid`` tells
            beforehand), or it cannot be written there.
    """
    path = Path(path)
    labels: Volume = result if isinstance(result, Volume) else result.labels
    kind = check_output(path)
    voxels = whole_numbers(labels.voxels, labels.name or "labels")
    segments = {
        value: replace(segment, name=(names or {}).get(value, segment.name))
        for value, segment in labels.segments.items()
    }
    for value in [v for v in present_labels(voxels) if v not in segments]:
        name = (names or {}).get(value, f"label_{value}")
        segments[value] = Segment(name, default_colour(value))
    labels = replace(labels, voxels=voxels, segments=segments if kind == SEG else labels.segments)
    if kind == SEG:
        _write_seg(labels, path, sources, seg_type, result)
        return
    _check_axes(labels, path, kind)
    if kind == ".png":
        coloured = segments if labels.segments else {}
        save_image(_picture(labels.with_voxels(_paint(voxels, coloured)), path), path)
        return
    if kind in NIFTI:
        save_nifti(labels, path)
        return
    image = labels.to_sitk()
    if kind == ".seg.nrrd":
        for key, text in _segmentation_header(voxels, segments).items():
            image.SetMetaData(key, text)
    save_image(image, path)


def _write_seg(
    labels: Volume, path: Path, sources: Sequence[Path], seg_type: str, result: Any
) -> None:
    from .dicom_seg_writing import confidence_maps, write_seg
    from .dicom_sources import find_sources

    headers = find_sources(sources, labels)
    sure = confidence_maps(result) if hasattr(result, "slices") else {}
    write_seg(labels, path, headers, seg_type=seg_type, confidence=sure)


def write_volume(volume: Volume, path: str | Path) -> None:
    """Write an image as .nii.gz, .nii, .nrrd, .mha, or .png (one axial slice, 8 or 16 bits).

    Raises:
        InputError: unknown extension, or it cannot be written there.
    """
    path = Path(path)
    kind = check_output(path)
    if kind == SEG:
        raise InputError(f"{path}: images are not written as DICOM; use .nii.gz or .nrrd")
    _check_axes(volume, path, kind)
    if kind in NIFTI:
        save_nifti(volume, path)
        return
    save_image(_picture(volume, path) if kind == ".png" else volume.to_sitk(), path)


def check_output(path: Path) -> str:
    """The extension of an output file.

    Raises:
        InputError: it is none that can be written.
    """
    kind = extension(path)
    if kind not in WRITABLE:
        raise InputError(f"{path}: cannot write {kind or 'no extension'}; use {' '.join(WRITABLE)}")
    return kind


def check_grid(volume: Volume, path: Path) -> None:
    """Refuse a file that cannot hold labels on the grid of ``volume``, before they are made.

    Raises:
        InputError: the extension is unknown, a PNG of several slices, or sheared axes in NIfTI.
    """
    kind = check_output(path)
    _check_axes(volume, path, kind)
    if kind == ".png" and volume.shape[0] != 1:
        raise InputError(
            f"{path}: a PNG holds one slice and {volume.name or 'the image'} has "
            f"{volume.shape[0]}; end the name in .nii.gz or .seg.nrrd"
        )
    if kind in NIFTI and max(volume.size) > _LONGEST_NIFTI:
        raise InputError(
            f"{path}: NIfTI holds up to {_LONGEST_NIFTI} voxels along an axis and "
            f"{volume.name or 'the image'} has {max(volume.size)}; use .nrrd or .mha"
        )


def _check_axes(volume: Volume, path: Path, kind: str) -> None:
    """Refuse a sheared grid (tilted gantry) for NIfTI, which ITK would straighten in silence."""
    upright = np.allclose(volume.direction.T @ volume.direction, np.eye(3), atol=1e-3)
    if kind in NIFTI and not upright:
        raise InputError(
            f"{path}: the slices of {volume.name or 'the image'} are sheared (tilted gantry), "
            "which NIfTI does not keep; use .seg.nrrd, .nrrd or .mha"
        )


def _picture(volume: Volume, path: Path) -> Any:
    import SimpleITK as sitk

    if volume.shape[0] != 1 or volume.voxels.dtype not in (np.uint8, np.uint16):
        raise InputError(
            f"{path}: a PNG holds one slice of whole numbers, this volume is "
            f"{' x '.join(map(str, volume.size))} of {volume.voxels.dtype}; use .nii.gz or .nrrd"
        )
    pixels = np.ascontiguousarray(volume.voxels[0])
    return sitk.GetImageFromArray(pixels, isVector=volume.is_rgb)


def _paint(voxels: np.ndarray, segments: Mapping[int, Segment]) -> np.ndarray:
    """Labels in their segments' colours (k, j, i, 3), or as they are where two would look alike
    or black."""
    colours = {v: tuple(round(c * 255) for c in s.colour) for v, s in segments.items()}
    if not colours or len({*colours.values(), (0, 0, 0)}) <= len(colours):
        return voxels
    table = np.zeros((int(max(colours)) + 1, 3), np.uint8)
    for value, colour in colours.items():
        table[value] = colour
    return table[voxels]


def _segmentation_header(voxels: np.ndarray, segments: Mapping[int, Segment]) -> dict[str, str]:
    """The header entries by which 3D Slicer knows a segmentation."""
    header = {
        "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
        "Segmentation_ConversionParameters": "",
        "Segmentation_MasterRepresentation": "Binary labelmap",
        "Segmentation_SourceRepresentation": "Binary labelmap",
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
    }
    boxes = ndimage.find_objects(voxels, max(segments, default=0))
    for number, value in enumerate(sorted(segments)):
        segment = segments[value]
        tags = f"TerminologyEntry:{segment.terminology}|" if segment.terminology else "|"
        entries = {
            "ID": f"Segment_{value}",
            "Name": " ".join(segment.name.split()),
            "NameAutoGenerated": "0",
            "Color": " ".join(f"{part:.6g}" for part in segment.colour),
            "ColorAutoGenerated": "0",
            "Extent": " ".join(map(str, _extent(boxes[value - 1]))),
            "LabelValue": str(value),
            "Layer": "0",
            "Tags": tags,
        }
        header.update({f"Segment{number}_{key}": text for key, text in entries.items()})
    return header


def _extent(box: tuple[slice, slice, slice] | None) -> list[int]:
    """First and last index along i, j and k of a box (k, j, i); 0 and -1 each for none."""
    if box is None:
        return [0, -1] * 3
    return [edge for line in box[::-1] for edge in (line.start, line.stop - 1)]
