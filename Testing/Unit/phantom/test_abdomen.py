"""The generated abdomen."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from FewShotSAMLib.phantom.abdomen import SEGMENTS, abdomen

SMALL = {"shape": (20, 96, 96), "spacing": (3.4, 3.4, 10.0)}


@pytest.fixture(scope="module")
def phantom():
    return abdomen(**SMALL)


def millilitres(phantom, label):
    return (phantom.truth.voxels == label).sum() * np.prod(phantom.truth.spacing) / 1000


def test_organs_have_the_sizes_of_a_patient(phantom):
    for label, (low, high) in {1: (700, 2000), 2: (90, 220), 3: (90, 220), 4: (80, 350)}.items():
        assert low < millilitres(phantom, label) < high, SEGMENTS[label].name


def test_each_organ_is_one_piece(phantom):
    for label in SEGMENTS:
        parts, count = ndimage.label(phantom.truth.voxels == label, np.ones((3, 3, 3)))
        assert np.bincount(parts.ravel())[1:].max() > 0.97 * (parts > 0).sum(), (label, count)


def test_organs_lie_on_their_sides(phantom):
    # LPS: x grows to the patient's left.
    x = {
        label: phantom.truth.index_to_world(
            np.argwhere(phantom.truth.voxels == label)[:, ::-1]
        ).mean(axis=0)[0]
        for label in SEGMENTS
    }
    assert x[1] < 0 and x[2] < 0 < x[3] and x[4] > 0


def test_organs_differ_from_the_air_and_from_each_other(phantom):
    image, truth = phantom.image.voxels.astype(float), phantom.truth.voxels
    brightness = {label: np.median(image[truth == label]) for label in (0, 1, 2, 4)}
    assert brightness[0] < 0.5 * brightness[1] < 0.5 * brightness[2]
    assert np.std(image[truth == 1]) > 10, "tissue without texture"


def test_seed_decides_everything(phantom):
    again, other = abdomen(**SMALL), abdomen(**SMALL, seed=1)
    assert np.array_equal(again.image.voxels, phantom.image.voxels)
    assert np.array_equal(again.truth.voxels, phantom.truth.voxels)
    assert not np.array_equal(other.truth.voxels, phantom.truth.voxels)


def test_marked_slice_shows_every_organ_and_nothing_else_is_marked(phantom):
    index = phantom.marked_slice()
    marked = phantom.marked(index)
    assert set(np.unique(marked.voxels[index])) == {0, *SEGMENTS}
    assert np.count_nonzero(marked.voxels) == np.count_nonzero(phantom.truth.voxels[index])
    assert marked.same_grid(phantom.image)


def test_resolution_does_not_change_the_patient(phantom):
    fine = abdomen(shape=(40, 96, 96), spacing=(3.4, 3.4, 5.0))
    for label in (1, 2, 3):
        assert millilitres(fine, label) == pytest.approx(millilitres(phantom, label), rel=0.35)
