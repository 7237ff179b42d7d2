"""Random geometry -> write -> read: the same voxels at the same place of the world."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("slicer", reason="needs slicer-core (pip install slicer-core)")

from FewShotSAMModule.scene.results import ResultWriter
from FewShotSAMModule.scene.segments import SegmentInfo, on_grid, read_layers
from FewShotSAMModule.scene.supports import read_supports
from FewShotSAMModule.scene.volumes import grid_of, read_volume_node
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scene_nodes import (
    add_segmentation,
    add_transform,
    add_volume,
    affine,
    centres,
    segment_mask,
    values_at,
    world_matrix,
)

CASES = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
angle = st.floats(-3.1, 3.1)
spacings = st.tuples(*[st.floats(0.3, 6.0)] * 3)
positions = st.tuples(*[st.floats(-200, 200)] * 3)
grids = st.builds(
    affine,
    spacing=spacings,
    origin=positions,
    turned=st.tuples(angle, angle, angle),
    order=st.permutations([0, 1, 2]),
    signs=st.tuples(*[st.sampled_from([-1, 1])] * 3),
)
rigid = st.builds(affine, origin=positions, turned=st.tuples(angle, angle, angle))
mirrored = st.builds(
    affine, origin=positions, turned=st.tuples(angle, angle, angle), signs=st.just((1, -1, 1))
)
stretched = st.builds(
    affine,
    spacing=st.tuples(*[st.floats(0.8, 1.25)] * 3),
    origin=positions,
    turned=st.tuples(angle, angle, angle),
)
moves = st.one_of(st.none(), rigid, mirrored, stretched)
sizes = st.tuples(*[st.integers(2, 7)] * 3)
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def add_move(scene, matrix):
    return None if matrix is None else add_transform(scene, matrix)


@CASES
@given(size=sizes, matrix=grids, move=moves, again=moves, seed=st.integers(0, 99))
def test_a_volume_is_read_where_the_views_show_it(scene, size, matrix, move, again, seed):
    voxels = np.random.default_rng(seed).integers(-500, 500, size).astype(np.int16)
    outer = add_move(scene, again)
    inner = None if move is None else add_transform(scene, move, parent=outer)
    node = add_volume(scene, voxels, matrix, inner)
    volume = read_volume_node(node)
    np.testing.assert_array_equal(volume.voxels, voxels)
    index = np.random.default_rng(seed).integers(0, size[::-1], (20, 3))
    expected = (world_matrix(node) @ matrix @ np.c_[index, np.ones(20)].T).T[:, :3]
    np.testing.assert_allclose(volume.index_to_world(index), expected * (-1, -1, 1), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(volume.direction, axis=0), 1)
    canonical, _ = volume.canonical()
    assert (np.diag(canonical.direction) > 0).all()


@CASES
@given(size=sizes, matrix=grids, move=moves, seed=st.integers(0, 99))
def test_a_new_result_lies_on_the_voxels_it_was_given_for(scene, size, matrix, move, seed):
    random = np.random.default_rng(seed)
    labels = random.integers(0, 4, size).astype(np.uint8)
    volume = add_volume(scene, random.integers(0, 9, size).astype(np.int16), matrix)
    volume.SetAndObserveTransformNodeID(t.GetID() if (t := add_move(scene, move)) else None)
    segments = {n: SegmentInfo(f"s{n}", f"Ségment {n}", (0.1 * n, 0, 1)) for n in (1, 2, 3)}
    node = ResultWriter(volume, segments).commit(labels)
    whole = world_matrix(volume) @ matrix
    for label in (1, 2, 3):
        mask, found = segment_mask(node, f"s{label}")
        np.testing.assert_allclose(centres(mask, found), centres(labels == label, whole), atol=1e-4)
    if labels.any():
        supports, infos = read_supports(volume, node, axis="axial")
        back = {info.name: supports[0].labels for info in infos.values()}
        assert list(back) == [f"Ségment {n}" for n in (1, 2, 3) if (labels == n).any()]


@CASES
@given(
    size=sizes,
    matrix=grids,
    move=moves,
    other=moves,
    crop=st.tuples(*[st.integers(-2, 2)] * 3),
    seed=st.integers(0, 99),
)
def test_what_is_painted_on_the_same_lattice_is_read_voxel_for_voxel(
    scene, size, matrix, move, other, crop, seed
):
    """The segmentation lies under another transform and in other coordinates, begins at another
    voxel, and is seen on the volume's voxels all the same."""
    random = np.random.default_rng(seed)
    painted = random.integers(0, 3, size).astype(np.uint8)
    move_v, move_s = add_move(scene, move), add_move(scene, other)
    volume = add_volume(scene, random.integers(0, 999, size).astype(np.int16), matrix, move_v)
    to_world = np.eye(4) if other is None else other
    whole = world_matrix(volume) @ matrix
    shift = np.eye(4)
    shift[:3, 3] = crop
    local = np.linalg.inv(to_world) @ whole @ np.linalg.inv(shift)
    node = add_segmentation(scene, [(painted, local, crop, {"a": (1, "a"), "b": (2, "b")})], move_s)
    present = [n for n in (1, 2) if (painted == n).any()]
    if not present:
        return
    supports, infos = read_supports(volume, node, axis="axial")
    assert len(supports) == 1
    support = supports[0]
    assert support.matches(read_volume_node(volume))
    for label, info in infos.items():
        expected = centres(painted == {"a": 1, "b": 2}[info.id], whole) * (-1, -1, 1)
        # The kept slices need not be neighbours: count their voxels by their places in the whole.
        canonical, orientation = read_volume_node(volume).canonical()
        stack = np.zeros(canonical.shape, bool)
        stack[list(support.slices)] = support.labels.voxels == label
        index = np.argwhere(stack)[:, ::-1]
        found = canonical.index_to_world(index)
        order = np.lexsort(np.round(found * (-1, -1, 1), 3).T)
        np.testing.assert_allclose(found[order], expected, atol=1e-4)


@CASES
@given(
    size=sizes,
    matrix=grids,
    move=moves,
    seed=st.integers(0, 99),
    other=moves,
    overwrite=st.sampled_from(["never", "unlocked", "all"]),
)
def test_an_existing_segmentation_elsewhere_shows_the_result_at_its_place(
    scene, size, matrix, move, other, overwrite, seed
):
    """Into a segmentation under another transform: Slicer finds the segments of the result at
    every voxel of the volume, and nothing beside it."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, size).astype(np.uint8)
    labels[tuple(n // 2 for n in size)] = 1
    volume = add_volume(
        scene, random.integers(0, 9, size).astype(np.int16), matrix, add_move(scene, move)
    )
    node = add_segmentation(scene, [], add_move(scene, other))
    segments = {n: SegmentInfo(f"s{n}", f"s{n}", (0.1 * n, 0, 1)) for n in (1, 2)}
    writer = ResultWriter(volume, segments, output=node, into="existing", overwrite=overwrite)
    assert writer.commit(labels) is node
    everywhere = np.ones(size, bool)
    index = np.argwhere(everywhere)[:, ::-1]
    points = index @ (world_matrix(volume) @ matrix)[:3, :3].T
    points = points + (world_matrix(volume) @ matrix)[:3, 3]
    expected = [{f"s{labels[k, j, i]}"} - {"s0"} for i, j, k in index]
    assert values_at(node, points) == expected


@CASES
@given(
    size=sizes,
    matrix=grids,
    move=moves,
    lattice=grids,
    other=moves,
    painted_size=sizes,
    first=st.tuples(*[st.integers(-3, 3)] * 3),
    seed=st.integers(0, 99),
)
def test_what_is_painted_on_any_lattice_is_read_where_slicer_shows_it(
    scene, size, matrix, move, lattice, other, painted_size, first, seed
):
    """At the centre of every voxel of the volume, the label is that of the segment which Slicer
    finds there."""
    random = np.random.default_rng(seed)
    volume = add_volume(
        scene, random.integers(0, 9, size).astype(np.int16), matrix, add_move(scene, move)
    )
    whole = world_matrix(volume) @ matrix
    move_s = add_move(scene, other)
    # Both around the same place, or they would hardly ever meet.
    to_world = np.eye(4) if other is None else other
    middle = whole @ [*(np.array(size[::-1]) - 1) / 2, 1]
    local = lattice.copy()
    inside = np.array([*first, 0]) + [*(np.array(painted_size[::-1]) - 1) / 2, 1]
    local[:3, 3] += (np.linalg.inv(to_world) @ middle - lattice @ inside)[:3]
    painted = random.integers(0, 3, painted_size).astype(np.uint8)
    ids = {"a": (1, "a"), "b": (2, "b")}
    node = add_segmentation(scene, [(painted, local, first, ids)], move_s)
    grid = grid_of(volume)
    layers = read_layers(node, None, grid)
    found = [on_grid(layer.labels, grid, [1, 2]) for layer in layers]
    found = found[0] if found and found[0] is not None else np.zeros(size, np.uint8)
    index = np.argwhere(np.ones(size, bool))[:, ::-1]
    points = index @ whole[:3, :3].T + whole[:3, 3]
    # Half-way between two voxels either is right.
    at = np.c_[points, np.ones(len(points))] @ np.linalg.inv(to_world @ local).T[:, :3]
    clear = (np.abs(at % 1 - 0.5) > 1e-3).all(axis=1)
    expected = [{"a": 1, "b": 2}.get("".join(here), 0) for here in values_at(node, points)]
    expected = np.array(expected)
    labels = found[tuple(index[:, ::-1].T)]
    # A segment too thin to be nearest to any voxel is put where it falls.
    thin = [value for value in (1, 2) if not (expected[clear] == value).any()]
    clear &= ~np.isin(labels, thin)
    np.testing.assert_array_equal(labels[clear], expected[clear])
