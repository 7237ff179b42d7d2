"""The fields of a NIfTI-1, NIfTI-2 or Analyze header, and the places that they tell.

Formats: https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h and
https://nifti.nimh.nih.gov/pub/dist/doc/nifti2.h
"""

from __future__ import annotations

from typing import Any

import numpy as np

_FIRST = np.dtype([
    ("sizeof_hdr", "i4"), ("unused", "S35"), ("dim_info", "u1"), ("dim", "i2", 8),
    ("intent_p", "f4", 3), ("intent_code", "i2"), ("datatype", "i2"), ("bitpix", "i2"),
    ("slice_start", "i2"), ("pixdim", "f4", 8), ("vox_offset", "f4"), ("scl_slope", "f4"),
    ("scl_inter", "f4"), ("slice_end", "i2"), ("slice_code", "u1"), ("xyzt_units", "u1"),
    ("range", "f4", 4), ("unused2", "i4", 2), ("descrip", "S80"), ("aux_file", "S24"),
    ("qform_code", "i2"), ("sform_code", "i2"), ("quatern_b", "f4"), ("quatern_c", "f4"),
    ("quatern_d", "f4"), ("qoffset_x", "f4"), ("qoffset_y", "f4"), ("qoffset_z", "f4"),
    ("srow_x", "f4", 4), ("srow_y", "f4", 4), ("srow_z", "f4", 4), ("intent_name", "S16"),
    ("magic", "S4"),
])  # fmt: skip

_SECOND = np.dtype([
    ("sizeof_hdr", "i4"), ("magic", "S4"), ("signature", "V4"), ("datatype", "i2"),
    ("bitpix", "i2"), ("dim", "i8", 8), ("intent_p", "f8", 3), ("pixdim", "f8", 8),
    ("vox_offset", "i8"), ("scl_slope", "f8"), ("scl_inter", "f8"), ("range", "f8", 4),
    ("slice_start", "i8"), ("slice_end", "i8"), ("descrip", "S80"), ("aux_file", "S24"),
    ("qform_code", "i4"), ("sform_code", "i4"), ("quatern_b", "f8"), ("quatern_c", "f8"),
    ("quatern_d", "f8"), ("qoffset_x", "f8"), ("qoffset_y", "f8"), ("qoffset_z", "f8"),
    ("srow_x", "f8", 4), ("srow_y", "f8", 4), ("srow_z", "f8", 4), ("slice_code", "i4"),
    ("xyzt_units", "i4"), ("intent_code", "i4"), ("intent_name", "S16"), ("dim_info", "u1"),
    ("unused", "S15"),
])  # fmt: skip

LONGEST = _SECOND.itemsize
_LEAST_REAL = 1e-7  # below it a quaternion turns by half a turn


def parsed(start: bytes) -> Any:
    """The header that a file starts with, as a numpy record of named fields; None where it is none.

    A header of Analyze, which tells no place, has its sizes where NIfTI-1 has them.
    """
    for kind in (_FIRST, _SECOND):
        for order in "<>":
            if len(start) < kind.itemsize:
                continue
            header = np.frombuffer(start, kind.newbyteorder(order), 1)[0]
            if int(header["sizeof_hdr"]) == kind.itemsize and (
                kind is _FIRST or is_nifti_2(header)
            ):
                return header
    return None


def is_nifti_2(header: Any) -> bool:
    """Whether it is of the second version."""
    return bytes(header["magic"]) in (b"n+2", b"ni2")


def is_analyze(header: Any) -> bool:
    """Whether it is the older format's, which tells no place."""
    return bytes(header["magic"])[:2] not in (b"n+", b"ni")


def affine_of(header: Any, form: str) -> np.ndarray:
    """The 4x4 from voxel (i, j, k, 1) to RAS mm that "qform" or "sform" tells.

    Codes are not looked at.
    """
    affine = np.eye(4)
    if form == "sform":
        affine[:3] = [header[f"srow_{row}"] for row in "xyz"]
        return affine
    steps = np.array(header["pixdim"][1:4], np.float64)
    if header["pixdim"][0] < 0:
        steps[2] = -steps[2]
    affine[:3, :3] = _rotation([float(header[f"quatern_{part}"]) for part in "bcd"]) * steps
    affine[:3, 3] = [header[f"qoffset_{axis}"] for axis in "xyz"]
    return affine


def _rotation(imaginary: list[float]) -> np.ndarray:
    """3x3 of a unit quaternion's imaginary part; its real part is not negative."""
    b, c, d = imaginary
    rest = 1.0 - (b * b + c * c + d * d)
    if rest < _LEAST_REAL:
        length = np.sqrt(b * b + c * c + d * d)
        a, b, c, d = 0.0, b / length, c / length, d / length
    else:
        a = np.sqrt(rest)
    return np.array([
        [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
        [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
        [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
    ])
