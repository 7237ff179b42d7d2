"""k-means of many small sets of pixels together.

Lloyd's algorithm (Lloyd 1982) from greedy k-means++ starts (Arthur and Vassilvitskii 2007: of some
candidates the one that leaves the least distance). Sets of a batch are worked as one tensor on
their device, each as if it were alone. The draws, and when it has converged, are scikit-learn's, so
that the same seed gives what `sklearn.cluster.KMeans` gives; loading that package alone takes
longer than segmenting a slice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

_TOLERANCE = 1e-4  # share of the pixels' variance below which the centres' move is none


def kmeans(
    sets: Sequence[Tensor], clusters: int, *, seed: int, restarts: int = 1, iterations: int = 100,
) -> list[Tensor]:
    """Centroids (clusters, D) in float64 of each of some sets of points (P, D), on their device.

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
    best, least = points.lloyd(points.starts(clusters, generator), iterations)
    for _ in range(1, restarts):
        centres, inertia = points.lloyd(points.starts(clusters, generator), iterations)
        best = torch.where((inertia < least)[:, None, None], centres, best)
        least = torch.minimum(inertia, least)
    return list((best + points.middle).to(sets[0].device))


@dataclass(frozen=True, eq=False)
class _Points:
    """Sets of points, padded to one length.

    Attributes:
        places: (B, P, D), relative to each set's mean; 0 beyond its points.
        weight: (B, P), 1 for points, 0 beyond.
        counts: (B,) points of each set; middle: (B, 1, D) their means.
    """

    places: Tensor
    weight: Tensor
    counts: Tensor
    middle: Tensor

    @staticmethod
    def of(sets: Sequence[Tensor]) -> _Points:
        device = sets[0].device
        if device.type == "mps":  # has no float64
            device = torch.device("cpu")
        padded = pad_sequence([one.to(device, torch.float64) for one in sets], batch_first=True)
        counts = torch.tensor([len(one) for one in sets], device=device)
        weight = (torch.arange(padded.shape[1], device=device) < counts[:, None]).double()
        middle = padded.sum(1, keepdim=True) / counts[:, None, None]
        return _Points((padded - middle) * weight[..., None], weight, counts, middle)

    def distances(self, centres: Tensor) -> Tensor:
        """Squared distances (B, K, P) to centres (B, K, D)."""
        one, *others = (
            (of_centres[:, :, None] - of_places[:, None]) ** 2  # a short axis is slow to sum over
            for of_centres, of_places in zip(centres.unbind(2), self.places.unbind(2), strict=True)
        )
        return sum(others, one)

    def starts(self, clusters: int, generator: np.random.RandomState) -> Tensor:
        """Points (B, K, D) to start from, far from each other; all sets share the draws."""
        rows = torch.arange(len(self.counts), device=self.counts.device)
        trials, last = 2 + int(np.log(clusters)), self.counts - 1
        first = torch.minimum((generator.random_sample() * self.counts.double()).long(), last)
        chosen = [self.places[rows, first]]
        nearest = self.distances(chosen[0][:, None])[:, 0] * self.weight
        for _ in range(1, clusters):
            draws = torch.from_numpy(generator.random_sample(trials)).to(nearest.device)
            draws = draws * nearest.sum(1, keepdim=True)
            below = nearest.cumsum(1)[:, None] < draws[:, :, None]
            tried = torch.minimum(below.sum(2), last[:, None])
            places = self.places[rows[:, None], tried]
            left = torch.minimum(self.distances(places) * self.weight[:, None], nearest[:, None])
            best = left.sum(2).argmin(1)
            nearest = left[rows, best]
            chosen.append(places[rows, best])
        return torch.stack(chosen, 1)

    def lloyd(self, centres: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
        """Centres (B, K, D) that no step moves, and the sums of squared distances (B,)."""
        variance = (self.places**2).sum(1) / self.counts[:, None]
        tolerance = _TOLERANCE * variance.mean(1)
        moving = torch.ones(len(centres), dtype=torch.bool, device=centres.device)
        before = torch.full(self.weight.shape, -1, device=centres.device)
        for _ in range(iterations):
            nearest = self.distances(centres).argmin(1)
            moved = self._means(nearest, centres)
            shift = ((moved - centres) ** 2).sum((1, 2))
            centres = torch.where(moving[:, None, None], moved, centres)
            same = ((nearest == before) | (self.weight == 0)).all(1)
            moving &= ~same & (shift > tolerance)
            before = nearest
            if not moving.any():
                break
        return centres, (self.distances(centres).amin(1) * self.weight).sum(1)

    def _means(self, nearest: Tensor, centres: Tensor) -> Tensor:
        """Means (B, K, D) of clusters; one that lost its points takes the point that lies farthest
        from its own."""
        member = F.one_hot(nearest, centres.shape[1]).mT * self.weight[:, None]
        for row, empty in torch.nonzero(member.sum(2) == 0).tolist():
            own = centres[row, nearest[row]]
            apart = ((self.places[row] - own) ** 2).sum(-1) * self.weight[row]
            apart = apart * (member[row].sum(1)[member[row].argmax(0)] > 1)
            member[row, :, apart.argmax()] = 0
            member[row, empty, apart.argmax()] = 1
        return member @ self.places / member.sum(2)[..., None]
