"""Something to try the module with: a generated abdomen, and a public CT."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer

from FewShotSAMLib import Volume

from .placement import RAS_TO_LPS, to_matrix
from .results import ResultWriter
from .segments import SegmentInfo

GENERATED = "GeneratedAbdomen"
CATEGORY = "FewShotSAM"

_SLICER_DATA = "https://github.com/Slicer/SlicerTestingData/releases/download/SHA256/"
_CT_LIVER_SHA256 = "e16eae0ae6fefa858c5c11e58f0f1bb81834d81b7102e021571056324ef6f37e"

# Names of the generated organs -> SNOMED CT type and, where there are two, side.
_RIGHT, _LEFT = "SCT^24028007^Right", "SCT^7771000^Left"
_CODES = {
    "liver": ("SCT^10200004^Liver", "^^"),
    "right kidney": ("SCT^64033007^Kidney", _RIGHT),
    "left kidney": ("SCT^64033007^Kidney", _LEFT),
    "spleen": ("SCT^78961009^Spleen", "^^"),
}


LIVER_CT = {
    "sampleName": "FewShotSAMLiver",
    "uris": _SLICER_DATA + _CT_LIVER_SHA256,
    "fileNames": "CTLiver.nrrd",
    "nodeNames": "CTLiver",
    "checksums": f"SHA256:{_CT_LIVER_SHA256}",
}


def add_generated_abdomen(
    shape: tuple[int, int, int] = (40, 256, 256),
    spacing: tuple[float, float, float] = (1.25, 1.25, 5.0),
    seed: int = 0,
) -> list[Any]:
    """Adds a generated abdomen to the scene, with four organs painted on one slice; waits for it.

    Args:
        shape: voxels (k, j, i).
        spacing: mm along i, j, k.
        seed: of shapes and noise.

    Returns:
        The volume node and the segmentation node with the painted slice.
    """
    from FewShotSAMLib.phantom.abdomen import abdomen

    phantom = abdomen(shape, spacing, seed)
    volume = add_volume(phantom.image, "Generated abdomen")
    drawn = phantom.marked(phantom.marked_slice())
    return [volume, add_segmentation(volume, drawn, "Marked slice")]


def add_volume(volume: Volume, name: str) -> Any:
    """A library volume as a scalar volume node of the scene."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    node.SetIJKToRASMatrix(to_matrix(RAS_TO_LPS @ volume.affine))
    slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(volume.voxels))
    node.CreateDefaultDisplayNodes()
    if volume.modality in ("CT", "MR"):
        node.SetAttribute("DICOM.Modality", volume.modality)
    return node


def add_segmentation(volume_node: Any, labels: Volume, name: str) -> Any:
    """Library labels on a volume's grid as a segmentation node with names, colours and
    terminology."""
    segments = {
        value: SegmentInfo(
            f"Segment_{value}", one.name, one.colour, one.terminology or terminology(one.name)
        )
        for value, one in labels.segments.items()
    }
    return ResultWriter(volume_node, segments, name=name).commit(labels.voxels)


def terminology(name: str) -> str:
    """Slicer's terminology entry of one of the generated organs, "" for other names."""
    if name not in _CODES:
        return ""
    organ, side = _CODES[name]
    return (
        "Segmentation category and type - 3D Slicer General Anatomy list"
        f"~SCT^123037004^Anatomical Structure~{organ}~{side}"
        "~Anatomic codes - DICOM master list~^^~^^"
    )
