"""Supervoxels: what they are by definition, what they look like on an abdomen, and their cache."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from FewShotSAMLib.data.intensity import intensity_range, normalise
from FewShotSAMLib.phantom import organs
from FewShotSAMLib.phantom.abdomen import abdomen
from FewShotSAMLib.training import supervoxels as module
from FewShotSAMLib.training.supervoxels import body, cached_supervoxels, supervoxels

CUBE = (1.0, 1.0, 1.0)


def literal(grey: np.ndarray, spacing: tuple[float, float, float], least: int) -> np.ndarray:
    """Felzenszwalb's merging by size over all edges, one after another, with plain sets."""
    inside = body(grey.astype(np.float32) * 255)
    part = {tuple(v): {tuple(v)} for v in np.argwhere(inside)}
    edges = []
    for axis, distance in enumerate(spacing[::-1]):
        for one in part:
            other = tuple(c + (n == axis) for n, c in enumerate(one))
            if other in part:
                difference = abs(float(grey[one]) - float(grey[other])) * 255
                edges.append((difference / np.sqrt(distance / min(spacing)), one, other))
    for _, one, other in sorted(edges):
        a, b = part[one], part[other]
        if a is not b and min(len(a), len(b)) < least:
            a |= b
            for voxel in b:
                part[voxel] = a
    labels = np.zeros(grey.shape, int)
    for voxel in sorted(part):
        if not labels[voxel]:
            labels[tuple(np.array(sorted(part[voxel])).T)] = labels.max() + 1
    return labels


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000), least=st.integers(1, 40), thick=st.floats(0.5, 8.0),
)
def test_the_spanning_forest_gives_what_all_edges_give(seed, least, thick):
    random = np.random.default_rng(seed)
    grey = ndimage.gaussian_filter(random.random((4, 9, 8)), 0.7).astype(np.float32)
    spacing = (1.0, 1.0, thick)
    found = supervoxels(grey, spacing, least)
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, literal(grey, spacing, least))


def blocks(noise: float = 0.02) -> np.ndarray:
    """Two bright blocks in a grey body in air."""
    grey = np.zeros((8, 48, 48), np.float32)
    grey[:, 4:44, 4:44] = 0.3
    grey[1:7, 8:22, 8:22] = 0.7
    grey[2:8, 26:40, 24:40] = 0.9
    grey[grey > 0] += noise * np.random.default_rng(0).standard_normal((grey > 0).sum())
    return np.clip(grey, 0, 1)


def test_what_is_uniform_becomes_one_supervoxel():
    found = supervoxels(blocks(), CUBE, 1000)
    for box in (np.s_[1:7, 8:22, 8:22], np.s_[2:8, 26:40, 24:40]):
        assert len(np.unique(found[box])) == 1
        assert (found == found[box][0, 0, 0]).sum() == found[box].size
    assert len({found[4, 15, 15], found[4, 30, 30], found[4, 24, 5], 0}) == 4
    assert not found[:, :4].any() and not found[:, :, 44:].any()
    assert supervoxels(blocks(noise=0), CUBE, 1000).max() == 3


@pytest.mark.parametrize("least", [50, 500, 3000])
def test_supervoxels_are_connected_and_large_enough(least):
    found = supervoxels(blocks(0.1), CUBE, least)
    sizes = np.bincount(found.ravel())[1:]
    assert (sizes >= least).all()
    for value in range(1, len(sizes) + 1):
        assert ndimage.label(found == value)[1] == 1


def test_the_same_comes_out_again():
    one, two = (supervoxels(blocks(0.1), CUBE, 100) for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_thick_slices_are_joined_more_easily():
    """A step between slices that would part them on a cubic grid does not where they are thick."""
    grey = np.full((6, 20, 20), 0.5, np.float32)
    grey += 0.05 * np.arange(6)[:, None, None]  # 0.05 from slice to slice
    grey[:, :, 10:] += 0.03  # less than that within slices
    across = supervoxels(grey, (1.0, 1.0, 9.0), 300)  # 0.05 / 3 is less than 0.03
    assert across[0, 0, 0] == across[1, 0, 0] != across[0, 0, 19]
    within = supervoxels(grey, CUBE, 300)
    assert within[0, 0, 0] == within[0, 0, 19] != within[1, 0, 0]


def test_air_is_no_supervoxel_and_holes_belong_to_the_body():
    levels = np.zeros((2, 30, 30), np.float32)
    levels[0, 5:25, 5:25] = 90
    levels[0, 10:14, 10:14] = 0  # bowel gas
    levels[0, 0:2, 0:2] = 90  # an arm, or the table
    inside = body(levels)
    assert inside[0, 5:25, 5:25].all() and inside[0].sum() == 400
    assert not inside[1].any()
    assert supervoxels(np.zeros((2, 5, 5), np.float32), CUBE, 3).max() == 0


@pytest.fixture(scope="module")
def patient():
    return abdomen(shape=(36, 256, 256), spacing=(1.25, 1.25, 5.6), seed=3)


def test_an_abdomen_falls_into_organs_in_less_than_a_minute(patient):
    grey = normalise(patient.image.voxels, intensity_range(patient.image))
    begun = time.process_time()
    found = supervoxels(grey, patient.image.spacing)
    assert time.process_time() - begun < 60
    assert 5 <= found.max() <= 150
    for organ in (organs.LIVER, organs.SPLEEN, organs.LEFT_KIDNEY, organs.RIGHT_KIDNEY):
        truth = patient.truth.voxels == organ
        values, counts = np.unique(found[truth], return_counts=True)
        best = found == values[np.argmax(counts)]
        overlap = (best & truth).sum() / truth.sum()
        assert overlap > 0.6, f"organ {organ}: its largest supervoxel covers {overlap:.2f} of it"


# ------------------------------------------------------------------------------ the cache


def test_supervoxels_are_kept_and_taken_from_the_cache(tmp_path, monkeypatch):
    grey = blocks().astype(np.float16)
    first = cached_supervoxels(grey, CUBE, tmp_path, 500)
    assert [p.suffix for p in tmp_path.iterdir()] == [".nrrd"]
    monkeypatch.setattr(module, "supervoxels", lambda *_: pytest.fail("made again"))
    np.testing.assert_array_equal(cached_supervoxels(grey, CUBE, tmp_path, 500), first)


def test_other_input_has_another_place_in_the_cache(tmp_path):
    grey = blocks()
    cached_supervoxels(grey, CUBE, tmp_path, 500)
    cached_supervoxels(grey, CUBE, tmp_path, 400)
    cached_supervoxels(grey, (1.0, 1.0, 2.0), tmp_path, 500)
    other = grey.copy()
    other[4, 24, 24] += 0.01
    cached_supervoxels(other, CUBE, tmp_path, 500)
    assert len(list(tmp_path.iterdir())) == 4


def test_a_damaged_file_in_the_cache_is_made_again(tmp_path):
    grey = blocks()
    first = cached_supervoxels(grey, CUBE, tmp_path, 500)
    kept = next(tmp_path.iterdir())
    whole = kept.read_bytes()
    for damage in (b"", whole[: len(whole) // 2], b"no image"):
        kept.write_bytes(damage)
        np.testing.assert_array_equal(cached_supervoxels(grey, CUBE, tmp_path, 500), first)
    assert list(tmp_path.iterdir()) == [kept]
