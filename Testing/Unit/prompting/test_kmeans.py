"""k-means of many sets is scikit-learn's, each set as if it were alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from FewShotSAMLib.prompting.kmeans import kmeans


def of_arrays(sets: list[np.ndarray], clusters: int, **options: int) -> list[np.ndarray]:
    found = kmeans([torch.from_numpy(one) for one in sets], clusters, **options)
    return [one.numpy() for one in found]


def in_order(centres: np.ndarray) -> np.ndarray:
    return centres[np.lexsort(centres.T)]


def spread_points(seed: int, count: int) -> np.ndarray:
    """No two at the same distance from a third, as pixels may be."""
    return np.random.default_rng(seed).normal(size=(count, 2)) * [40, 15] + 100


@pytest.mark.parametrize("restarts", [1, 10])
@pytest.mark.parametrize(("count", "clusters"), [(20, 1), (60, 3), (80, 4), (200, 8), (12, 11)])
def test_centres_are_those_of_scikit_learn(count: int, clusters: int, restarts: int) -> None:
    for seed in range(8):
        points = spread_points(seed, count)
        theirs = KMeans(
            clusters, n_init=restarts, algorithm="lloyd", random_state=seed
        ).fit(points).cluster_centers_
        (ours,) = of_arrays([points], clusters, seed=seed, restarts=restarts)
        assert np.abs(in_order(ours) - in_order(theirs)).max() < 1e-4


@given(
    sizes=st.lists(st.integers(5, 90), min_size=1, max_size=6),
    clusters=st.integers(1, 5),
    seed=st.integers(0, 1000),
)
def test_a_set_does_not_depend_on_the_others(sizes: list[int], clusters: int, seed: int) -> None:
    sets = [np.floor(spread_points(seed + n, size)) for n, size in enumerate(sizes)]
    together = of_arrays(sets, clusters, seed=seed)
    for points, centres in zip(sets, together, strict=True):
        (alone,) = of_arrays([points], clusters, seed=seed)
        assert np.allclose(centres, alone, rtol=0, atol=1e-9)
        assert np.isfinite(centres).all()


@given(seed=st.integers(0, 10_000), clusters=st.integers(2, 8), count=st.integers(9, 60))
def test_centres_are_means_of_what_is_nearest(seed: int, clusters: int, count: int) -> None:
    points = np.unique(np.floor(spread_points(seed, count) / 8), axis=0)
    if len(points) < clusters:
        return
    (centres,) = of_arrays([points], clusters, seed=seed, iterations=300)
    nearest = ((points[:, None] - centres) ** 2).sum(-1).argmin(1)
    for number in set(nearest):
        assert np.abs(centres[number] - points[nearest == number].mean(0)).max() < 0.1


def test_a_cluster_that_lost_its_points_takes_the_farthest() -> None:
    points = np.array([[0.0, 0], [0, 0], [0, 0], [0, 0], [9, 0]])
    (centres,) = of_arrays([points], 3, seed=0)
    assert np.isfinite(centres).all()
    assert {0.0, 9.0} <= set(np.round(centres[:, 0], 6))


def test_too_few_points_are_refused() -> None:
    with pytest.raises(ValueError, match="3 clusters need as many points"):
        of_arrays([np.zeros((2, 2))], 3, seed=0)
    assert kmeans([], 3, seed=0) == []
