"""A drawing's trace in the slices of another plane is no drawing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from FewShotSAMLib.data.drawn_planes import drawn_axis, outlined_slices
from FewShotSAMLib.data.errors import InputError
from FewShotSAMLib.data.slicing import AXES, GRID_AXIS
from FewShotSAMLib.data.support import Support
from FewShotSAMLib.data.volume import Segment, Volume

SHAPE = (20, 48, 44)
SPACING = (2.0, 2.0, 4.0)


def body(shape=SHAPE) -> np.ndarray:
    """An ellipsoid, 15 x 31 x 25 voxels."""
    k, j, i = np.indices(shape)
    return ((k - 10) / 7.5) ** 2 + ((j - 24) / 15.5) ** 2 + ((i - 20) / 12.5) ** 2 <= 1


def painted(truth: np.ndarray, **planes: list[int]) -> np.ndarray:
    """``truth`` on the named slices of each axis alone."""
    mask = np.zeros_like(truth)
    for axis, indices in planes.items():
        along = 2 - GRID_AXIS[axis]
        chosen = np.isin(np.arange(truth.shape[along]), indices)
        mask |= truth & np.expand_dims(chosen, tuple({0, 1, 2} - {along}))
    return mask


def image() -> Volume:
    voxels = np.random.default_rng(0).integers(0, 900, SHAPE).astype(np.int16)
    return Volume(voxels, SPACING, name="image.nrrd", modality="MR")


def support(mask: np.ndarray, **choices) -> Support:
    volume = image()
    labels = volume.with_voxels(mask.astype(np.uint8), name="mask.nrrd", modality="other")
    return Support.from_labels(volume, labels, **choices)


def test_two_planes_give_one_slice_and_a_note():
    found = support(painted(body(), axial=[10], coronal=[24]))
    assert (found.axis, found.slices) == ("axial", (10,))
    assert found.notes == (
        "was drawn on 1 axial and 1 coronal slices; the axial ones are used, axis= chooses others",
    )


@pytest.mark.parametrize(
    ("axis", "expected"), [("axial", (10,)), ("coronal", (24,)), ("sagittal", (20,))]
)
def test_each_plane_can_be_chosen(axis, expected):
    mask = painted(body(), axial=[10], coronal=[24], sagittal=[20])
    assert support(mask, axis=axis).slices == expected
    for choice in ("middle", "largest", "thirds"):
        assert support(mask, axis=axis, slices=choice).slices == expected


def test_an_axis_that_was_not_drawn_on_is_refused():
    with pytest.raises(InputError, match="not drawn on sagittal slices; choose with axis="):
        support(painted(body(), axial=[10], coronal=[24]), axis="sagittal")


def test_a_trace_that_is_asked_for_by_its_number_is_refused():
    mask = painted(body(), axial=[9, 10], coronal=[24])
    with pytest.raises(InputError, match="on axial slice 5; drawn slices are 9-10"):
        support(mask, slices=[5])
    assert support(mask, slices=[9]).slices == (9,)


def test_some_neighbouring_slices_and_a_plane_across():
    mask = painted(body(), axial=[8, 9, 10, 11], coronal=[24])
    assert outlined_slices(mask, "axial") == (8, 9, 10, 11)
    assert drawn_axis(mask, SPACING) == "axial"


def test_every_slice_but_the_last_and_a_plane_across():
    mask = painted(body(), axial=list(range(4, 15)), coronal=[24])
    assert drawn_axis(mask, SPACING) == "axial"
    assert set(range(4, 15)) <= set(outlined_slices(mask, "axial"))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(6, 14), min_size=1, max_size=4, unique=True),
    st.lists(st.integers(16, 32), min_size=1, max_size=2, unique=True),
    st.sampled_from(AXES[1:]),
)
def test_outlines_are_told_from_traces(axial, across, other):
    across = [index - 4 if other == "sagittal" else index for index in across]
    mask = painted(body(), axial=axial, **{other: across})
    assert set(outlined_slices(mask, "axial")) == set(axial)


@pytest.mark.parametrize("axis", AXES)
def test_slices_of_one_axis_are_all_outlines(axis):
    indices = {"axial": [5, 9, 10], "coronal": [12, 24, 36], "sagittal": [10, 20, 28]}[axis]
    mask = painted(body(), **{axis: indices})
    assert drawn_axis(mask, SPACING) == axis
    assert outlined_slices(mask, axis) == tuple(indices)


def shell() -> np.ndarray:
    k, j, i = np.indices(SHAPE)
    inner = ((k - 10) / 9.5) ** 2 + ((j - 24) / 13.5) ** 2 + ((i - 20) / 10.5) ** 2 <= 1
    outer = ((k - 10) / 9.9) ** 2 + ((j - 24) / 15.5) ** 2 + ((i - 20) / 12.5) ** 2 <= 1
    return outer & ~inner


def tube() -> np.ndarray:
    k, j, i = np.indices(SHAPE)
    return ((j - 24 - k / 4) / 2.0) ** 2 + ((i - 20) / 2.5) ** 2 <= 1


@pytest.mark.parametrize("structure", [body, shell, tube])
def test_a_whole_structure_keeps_all_its_slices(structure):
    mask = structure()
    slices = tuple(np.flatnonzero(mask.any(axis=(1, 2))).tolist())
    assert outlined_slices(mask, "axial") == slices
    assert support(mask, axis="axial").notes == ()


def test_labels_drawn_along_another_axis_are_named():
    volume, truth = image(), body()
    voxels = painted(truth, axial=[10]).astype(np.uint8)
    far = np.roll(painted(truth, coronal=[24]), 14, axis=1)
    voxels[far & (voxels == 0)] = 2
    labels = volume.with_voxels(
        voxels, segments={1: Segment("liver", (1, 0, 0)), 2: Segment("spleen", (0, 1, 0))}
    )
    found = Support.from_labels(volume, labels)
    assert found.names == {1: "liver"} and found.slices == (10,)
    assert "spleen was drawn along another axis than the axial one" in " ".join(found.notes)
    other = Support.from_labels(volume, labels, axis="coronal", keep_labels=[2])
    assert other.names == {2: "spleen"} and other.slices == (38,)
    with pytest.raises(InputError, match="label 2 is not drawn on axial slices"):
        Support.from_labels(volume, labels, axis="axial", keep_labels=[2])


@pytest.mark.parametrize("thickness", [1, 2, 3])
def test_planes_that_a_thick_brush_painted(thickness):
    axial, coronal = list(range(9, 9 + thickness)), list(range(23, 23 + thickness))
    mask = painted(body(), axial=axial, coronal=coronal)
    assert outlined_slices(mask, "axial") == tuple(axial)
    assert outlined_slices(mask, "coronal") == tuple(coronal)


@pytest.mark.parametrize("size", [(2, 2, 1), (3, 2, 1), (3, 3, 1), (2, 1, 3)])
def test_a_speck_is_outlined_along_every_axis(size):
    """A nerve of two pixels on two slices is no trace of an outline in another plane."""
    mask = np.zeros((9, 9, 9), bool)
    mask[3 : 3 + size[0], 3 : 3 + size[1], 3 : 3 + size[2]] = True
    for axis, count in zip(("axial", "coronal", "sagittal"), size):
        assert outlined_slices(mask, axis) == tuple(range(3, 3 + count)), axis
