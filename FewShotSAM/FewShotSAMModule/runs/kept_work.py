"""What a person did to slices of a result, as text that a scene keeps: the voxels of rejected
slices and the points that were moved."""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from FewShotSAMLib.prompting.point_prompts import PointPrompts

# By slice, and by label within it.
MovedPoints = dict[int, dict[int, "PointPrompts"]]


def packed_slices(slices: Mapping[int, np.ndarray]) -> dict[str, Any]:
    """2-D labels by slice, ready for JSON: type, size, and the compressed voxels."""
    return {
        str(index): [
            labels.dtype.str, labels.shape,
            base64.b64encode(zlib.compress(np.ascontiguousarray(labels).tobytes())).decode(),
        ]
        for index, labels in slices.items()
    }  # fmt: skip


def unpacked_slices(content: Mapping[str, Any]) -> dict[int, np.ndarray]:
    """The inverse of `packed_slices`. Raises ValueError or TypeError for anything else."""
    found = {}
    for index, (kind, shape, text) in content.items():
        try:
            voxels = zlib.decompress(base64.b64decode(text))
        except (zlib.error, binascii.Error) as problem:
            raise ValueError(f"not the voxels of a slice: {problem}") from None
        if kind not in ("|u1", "<u2"):
            raise ValueError(f"not labels: {kind}")
        found[int(index)] = np.frombuffer(voxels, kind).reshape(shape)
    return found


def packed_points(points: MovedPoints) -> dict[str, Any]:
    """Points by slice and label, ready for JSON."""
    return {
        str(index): {str(label): one.to_json() for label, one in of_slice.items()}
        for index, of_slice in points.items()
    }


def unpacked_points(content: Mapping[str, Any]) -> MovedPoints:
    """The inverse of `packed_points`. Raises ValueError, KeyError or TypeError for others."""
    from FewShotSAMLib.prompting.point_prompts import PointPrompts

    return {
        int(index): {int(label): PointPrompts.from_json(one) for label, one in of_slice.items()}
        for index, of_slice in content.items()
    }
