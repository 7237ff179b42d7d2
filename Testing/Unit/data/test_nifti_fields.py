"""Headers say what nibabel says that they say."""

from __future__ import annotations

import io

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from FewShotSAMLib.data.nifti_fields import LONGEST, affine_of, is_analyze, is_nifti_2, parsed

KINDS = (nibabel.Nifti1Header, nibabel.Nifti2Header)


def stored(header) -> bytes:
    file = io.BytesIO()
    header.write_to(file)
    return file.getvalue()


@given(
    kind=st.sampled_from(KINDS),
    order=st.sampled_from("<>"),
    turn=st.tuples(*[st.floats(-3.1, 3.1)] * 3),
    mirrored=st.booleans(),
    spacing=st.tuples(*[st.floats(0.01, 50)] * 3),
    origin=st.tuples(*[st.floats(-1e4, 1e4)] * 3),
)
def test_fields_and_places(kind, order, turn, mirrored, spacing, origin):
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", turn).as_matrix() * spacing
    affine[:3, 2] *= -1 if mirrored else 1
    affine[:3, 3] = origin
    theirs = kind(endianness=order)
    theirs.set_data_shape((3, 4, 5))
    theirs.set_data_dtype(np.int16)
    theirs.set_qform(affine, 1)
    theirs.set_sform(affine, 2)
    ours = parsed(stored(theirs))
    for name in ("dim", "pixdim", "datatype", "bitpix", "qform_code", "sform_code", "srow_y",
                 "vox_offset", "scl_slope", "magic", "xyzt_units", "descrip"):
        assert np.array_equal(ours[name], theirs[name], equal_nan=name == "scl_slope"), name
    assert is_nifti_2(ours) == (kind is nibabel.Nifti2Header)
    assert not is_analyze(ours)
    for form in ("qform", "sform"):
        told = getattr(theirs, f"get_{form}")()
        assert np.allclose(affine_of(ours, form), told, rtol=1e-5, atol=2e-4), form


@pytest.mark.parametrize("turn", [[180, 0, 0], [0, 180, 0], [0, 0, 180], [90, 90, 0]])
def test_turns_by_half(turn):
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", turn, degrees=True).as_matrix()
    theirs = nibabel.Nifti1Header()
    theirs.set_data_shape((3, 4, 5))
    theirs.set_qform(affine, 1)
    assert np.allclose(affine_of(parsed(stored(theirs)), "qform"), affine, atol=1e-6)


def test_a_sign_of_zero_mirrors_nothing():
    """As the format says of pixdim[0], which some programs leave empty."""
    theirs = nibabel.Nifti1Header()
    theirs.set_data_shape((3, 4, 5))
    theirs.set_qform(np.eye(4), 1)
    theirs["pixdim"][0] = 0
    assert np.array_equal(affine_of(parsed(stored(theirs)), "qform"), np.eye(4))


def test_what_is_no_header():
    assert parsed(b"") is None
    assert parsed(b"\x5c\x01\0\0") is None  # cut short
    assert parsed(bytes(LONGEST)) is None
    analyze = parsed(stored(nibabel.AnalyzeHeader(endianness=">")))
    assert is_analyze(analyze)
    assert analyze["dim"][0] == 0
    second = bytearray(stored(nibabel.Nifti2Header()))
    second[4:7] = b"abc"
    assert parsed(bytes(second)) is None
