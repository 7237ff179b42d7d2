"""Grids in patient space: canonical orientation and back, whatever the axis order and direction."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from FewShotSAMLib.data.errors import InputError
from FewShotSAMLib.data.reading import read_volume
from FewShotSAMLib.data.volume import Volume

SIGNED_PERMUTATIONS = [
    np.eye(3)[list(order)] * signs
    for order in permutations(range(3))
    for signs in product((1, -1), repeat=3)
]

directions = st.tuples(
    st.sampled_from(SIGNED_PERMUTATIONS), st.tuples(*[st.floats(-180, 180)] * 3)
).map(lambda t: Rotation.from_euler("xyz", t[1], degrees=True).as_matrix() @ t[0])
spacings = st.tuples(*[st.floats(0.2, 9.0)] * 3)
origins = st.tuples(*[st.floats(-400, 400)] * 3)
shapes = st.tuples(*[st.integers(1, 6)] * 3)


@st.composite
def volumes(draw):
    shape = draw(shapes)
    voxels = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    return Volume(voxels, draw(spacings), draw(origins), draw(directions))


def world_of_voxels(volume: Volume) -> np.ndarray:
    """LPS positions of all voxels, sorted by value (each voxel has its own)."""
    index = np.argwhere(np.ones(volume.shape, bool))
    order = np.argsort(volume.voxels.ravel())
    return volume.index_to_world(index[:, ::-1])[order]


@settings(max_examples=150, deadline=None)
@given(volumes())
def test_canonical_keeps_every_voxel_in_its_place_and_restore_inverts_it(volume):
    canonical, orientation = volume.canonical()
    np.testing.assert_allclose(world_of_voxels(canonical), world_of_voxels(volume), atol=1e-6)
    np.testing.assert_array_equal(orientation.restore(canonical.voxels), volume.voxels)
    np.testing.assert_array_equal(orientation.apply(volume.voxels), canonical.voxels)


@settings(max_examples=100, deadline=None)
@given(volumes())
def test_canonical_directions_point_left_posterior_superior_and_are_the_closest(volume):
    canonical, _ = volume.canonical()
    cosines = canonical.direction
    assert (np.diag(cosines) >= 0).all()
    best = max(
        sum(abs(volume.direction[a, order[a]]) for a in range(3))
        for order in permutations(range(3))
    )
    assert np.trace(cosines) == pytest.approx(best, abs=1e-5)
    again, orientation = canonical.canonical()
    assert orientation.permutation == (0, 1, 2)
    assert orientation.flips == (False, False, False)
    np.testing.assert_array_equal(again.voxels, canonical.voxels)


@pytest.mark.parametrize("direction", SIGNED_PERMUTATIONS)
def test_all_48_axis_aligned_orders_become_the_same_volume(direction):
    reference = Volume(np.arange(60).reshape(3, 4, 5), (1.5, 2.0, 4.0), (-10.0, 20.0, 30.0))
    image = sitk.GetImageFromArray(reference.voxels)
    image.SetSpacing(reference.spacing)
    image.SetOrigin(reference.origin)
    axes = "".join(
        ("LPS" if direction[:, n].sum() > 0 else "RAI")[int(np.argmax(abs(direction[:, n])))]
        for n in range(3)
    )
    turned = Volume.from_sitk(sitk.DICOMOrient(image, axes))
    assert turned.axes() == axes
    canonical, _ = turned.canonical()
    np.testing.assert_array_equal(canonical.voxels, reference.voxels)
    np.testing.assert_allclose(canonical.affine, reference.affine, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(volumes(), st.tuples(*[st.floats(-20, 20)] * 3))
def test_index_and_world_are_inverse_and_agree_with_simpleitk(volume, index):
    world = volume.index_to_world(np.array(index))
    np.testing.assert_allclose(volume.world_to_index(world), index, atol=1e-6)
    expected = volume.to_sitk().TransformContinuousIndexToPhysicalPoint(index)
    np.testing.assert_allclose(world, expected, atol=1e-6)
    np.testing.assert_allclose(volume.affine @ [*index, 1.0], [*world, 1.0], atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(volumes())
def test_simpleitk_round_trip(volume):
    back = Volume.from_sitk(volume.to_sitk())
    np.testing.assert_array_equal(back.voxels, volume.voxels)
    np.testing.assert_allclose(back.affine, volume.affine, atol=1e-9)


def test_rgb_voxels_turn_with_their_grid():
    voxels = np.random.default_rng(0).integers(0, 255, (2, 3, 4, 3), dtype=np.uint8)
    volume = Volume(voxels, direction=SIGNED_PERMUTATIONS[13], modality="RGB")
    canonical, orientation = volume.canonical()
    grey, _ = replace(volume, voxels=voxels[..., 1], modality="MR").canonical()
    np.testing.assert_array_equal(canonical.voxels[..., 1], grey.voxels)
    np.testing.assert_array_equal(orientation.restore(canonical.voxels), voxels)
    np.testing.assert_array_equal(Volume.from_sitk(volume.to_sitk()).voxels, voxels)


@pytest.mark.parametrize("axes", ["LPS", "RAI", "PIR", "ASL"])
def test_canonical_index_says_where_a_slice_of_the_file_went(axes):
    image = sitk.DICOMOrient(sitk.GetImageFromArray(np.arange(60).reshape(3, 4, 5)), axes)
    volume = Volume.from_sitk(image)
    canonical, orientation = volume.canonical()
    for axis in range(3):
        source = orientation.permutation[axis]
        for index in range(volume.size[source]):
            there = orientation.canonical_index(axis, index)
            np.testing.assert_array_equal(
                np.sort(volume.voxels.take(index, axis=2 - source), axis=None),
                np.sort(canonical.voxels.take(there, axis=2 - axis), axis=None),
            )
            assert orientation.canonical_index(axis, there) == index


def test_same_grid_forgives_rounding_and_nothing_more():
    volume = Volume(np.zeros((5, 6, 7)), (1.0, 1.0, 3.0), (0.0, 0.0, 0.0))
    assert volume.same_grid(replace(volume, origin=(0.01, 0.0, -0.01)))
    assert not volume.same_grid(replace(volume, origin=(0.2, 0.0, 0.0)))
    assert not volume.same_grid(replace(volume, spacing=(1.0, 1.0, 3.1)))
    assert not volume.same_grid(replace(volume, direction=-np.eye(3)))
    assert not volume.same_grid(replace(volume, voxels=np.zeros((5, 6, 8))))


def test_bounds_reach_to_the_voxels_edges():
    volume = Volume(np.zeros((5, 6, 7)), (1.0, 2.0, 3.0), (10.0, 20.0, 30.0))
    low, high = volume.bounds()
    np.testing.assert_allclose(low, (9.5, 19, 28.5))
    np.testing.assert_allclose(high, (16.5, 31, 43.5))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"voxels": np.zeros((4, 4))}, "shape"),
        ({"voxels": np.zeros((4, 4, 4, 2))}, "shape"),
        ({"voxels": np.zeros((0, 4, 4))}, "no voxels"),
        ({"spacing": (1, 0, 1)}, "spacing"),
        ({"spacing": (1, float("nan"), 1)}, "spacing"),
        ({"origin": (0, float("inf"), 0)}, "origin"),
        ({"direction": np.zeros((3, 3))}, "degenerate"),
        ({"modality": "US"}, "modality"),
    ],
)
def test_impossible_grids_are_refused_in_one_line(fields, message):
    with pytest.raises(InputError, match=message) as error:
        Volume(**{"voxels": np.zeros((2, 2, 2)), "name": "head.nrrd", **fields})
    assert str(error.value).startswith("head.nrrd: ")
    assert "\n" not in str(error.value)


def test_the_ten_stored_orders_of_one_head_are_one_canonical_volume(shared_data):
    files = sorted((shared_data / "orientation").glob("*.nii.gz"))
    assert len(files) == 10
    read = [read_volume(file) for file in files]
    for file, volume in zip(files, read):
        # NIfTI names point the same way as the file's name: to RAS+ letters.
        assert volume.axes() == file.name[:3]
    reference, _ = read[0].canonical()
    assert reference.axes() == "LPS"
    for volume in read[1:]:
        canonical, orientation = volume.canonical()
        np.testing.assert_array_equal(canonical.voxels, reference.voxels)
        np.testing.assert_allclose(canonical.affine, reference.affine, atol=1e-3)
        np.testing.assert_array_equal(orientation.restore(canonical.voxels), volume.voxels)
