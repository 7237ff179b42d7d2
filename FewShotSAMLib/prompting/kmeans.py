"""k-means of many small sets of pixels together.

Lloyd's algorithm (Lloyd 1982) from greedy k-means++ starts (Arthur and Vassilvitskii 2007: of some
candidates the one that leaves the least distance). Sets of a batch are worked as one array, each
as if it were alone. The draws, and when it has converged, are scikit-learn's, so that the same
seed gives what `sklearn.cluster.KMeans` gives; loading that package alone takes longer than
segmenting a slice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_TOLERANCE = 1e-4  # share of the pixels' variance below which the centres' move is none


def kmeans(
    sets: Sequence[np.ndarray], clusters: int, *, seed: int, restarts: int = 1,
    iterations: int = 100,
) -> list[np.ndarray]:
    """Centroids (clusters, D) in float64 of each of some sets of points (P, D).

    Every set starts from `seed`: its centroids do not depend on the others. Of several restarts
    the one with the least sum of squared distances counts.

    Raises:
        ValueError: a set has fewer points than clusters, or there are no clusters.
    """
    if clusters < 1 or any(len(one) < clusters for one in sets):
        raise ValueError(f"{clusters} clusters need as many points in each set")
    if not sets:
        return []
    points = _Points.of(sets)
    generator = np.random.RandomState(seed % 2**32)
    best, least = None, np.full(len(sets), np.inf)
    for _ in range(restarts):
        centres, inertia = points.lloyd(points.starts(clusters, generator), iterations)
        better = inertia < least
        best = centres if best is None else np.where(better[:, None, None], centres, best)
        least = np.where(better, inertia, least)
    return list(best + points.middle)


@dataclass(frozen=True, eq=False)
class _Points:
    """Sets of points, padded to one length.

    Attributes:
        places: (B, P, D), relative to each set's mean; 0 beyond its points.
        weight: (B, P), 1 for points, 0 beyond.
        counts: (B,) points of each set; middle: (B, 1, D) their means.
    """

    places: np.ndarray
    weight: np.ndarray
    counts: np.ndarray
    middle: np.ndarray

    @staticmethod
    def of(sets: Sequence[np.ndarray]) -> _Points:
        counts = np.array([len(one) for one in sets])
        places = np.zeros((len(sets), counts.max(), sets[0].shape[1]))
        middle = np.stack([one.astype(np.float64).mean(axis=0) for one in sets])
        for row, one in enumerate(sets):
            places[row, : len(one)] = one - middle[row]
        weight = (np.arange(counts.max()) < counts[:, None]).astype(np.float64)
        return _Points(places, weight, counts, middle[:, None])

    def distances(self, centres: np.ndarray) -> np.ndarray:
        """Squared distances (B, K, P) to centres (B, K, D)."""
        return ((centres[:, :, None] - self.places[:, None]) ** 2).sum(-1)

    def starts(self, clusters: int, generator: np.random.RandomState) -> np.ndarray:
        """Points (B, K, D) to start from, far from each other; all sets share the draws."""
        rows = np.arange(len(self.counts))
        trials = 2 + int(np.log(clusters))
        first = np.minimum((generator.random_sample() * self.counts).astype(int), self.counts - 1)
        chosen = [self.places[rows, first]]
        nearest = self.distances(chosen[0][:, None])[:, 0] * self.weight
        for _ in range(1, clusters):
            draws = generator.random_sample(trials) * nearest.sum(axis=1, keepdims=True)
            below = nearest.cumsum(axis=1)[:, None] < draws[:, :, None]
            tried = np.minimum(below.sum(axis=2), self.counts[:, None] - 1)
            places = self.places[rows[:, None], tried]
            left = np.minimum(self.distances(places) * self.weight[:, None], nearest[:, None])
            best = left.sum(axis=2).argmin(axis=1)
            nearest = left[rows, best]
            chosen.append(places[rows, best])
        return np.stack(chosen, axis=1)

    def lloyd(self, centres: np.ndarray, iterations: int) -> tuple[np.ndarray, np.ndarray]:
        """Centres (B, K, D) that no step moves, and the sums of squared distances (B,)."""
        numbers = np.arange(centres.shape[1])[:, None]
        variance = (self.places**2).sum(axis=1) / self.counts[:, None]
        tolerance = _TOLERANCE * variance.mean(axis=1)
        moving = np.ones(len(centres), bool)
        before = np.full(self.weight.shape, -1)
        for _ in range(iterations):
            nearest = self.distances(centres).argmin(axis=1)
            member = (nearest[:, None] == numbers) * self.weight[:, None]
            moved = self._means(member, nearest, centres)
            shift = ((moved - centres) ** 2).sum(axis=(1, 2))
            centres = np.where(moving[:, None, None], moved, centres)
            same = ((nearest == before) | (self.weight == 0)).all(axis=1)
            moving &= ~same & (shift > tolerance)
            before = nearest
            if not moving.any():
                break
        return centres, (self.distances(centres).min(axis=1) * self.weight).sum(axis=1)

    def _means(self, member: np.ndarray, nearest: np.ndarray, centres: np.ndarray) -> np.ndarray:
        """Means (B, K, D) of clusters; one that lost its points takes the point that lies farthest
        from its own."""
        for row, empty in zip(*np.nonzero(member.sum(axis=2) == 0), strict=True):
            own = centres[row, nearest[row]]
            apart = ((self.places[row] - own) ** 2).sum(-1) * self.weight[row]
            apart *= member[row].sum(axis=1)[member[row].argmax(axis=0)] > 1
            member[row, :, apart.argmax()] = 0
            member[row, empty, apart.argmax()] = 1
        return member @ self.places / member.sum(axis=2)[..., None]
