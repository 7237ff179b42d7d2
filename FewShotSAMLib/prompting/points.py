"""From confidence maps to point prompts: top pixels, an interval, and k-means.

SynPo (MICCAI 2025), points selection module. Pure functions: what looks at every pixel of a batch
of maps stays on their device, few points are numpy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .kmeans import kmeans


def top_pixels(maps: Tensor, count: int) -> list[Tensor]:
    """The `count` highest pixels of each map (N, H, W), highest first: integer (x, y), (P, 2).

    Equal values are taken in raster order, so the choice does not depend on device or batch.
    Pixels of -inf are never taken: P is below `count` where fewer are finite.
    """
    width = maps.shape[-1]
    flat = maps.flatten(1)
    count = min(count, flat.shape[1])
    if len(maps) == 0 or count < 1:
        return [torch.zeros(0, 2, dtype=torch.long, device=maps.device) for _ in maps]
    lowest = torch.topk(flat, count, dim=1).values[:, -1:]
    candidates = (flat >= lowest) & (flat > -torch.inf)
    rows, places = torch.nonzero(candidates, as_tuple=True)
    order = torch.argsort(flat[candidates], descending=True, stable=True)
    order = order[torch.argsort(rows[order], stable=True)]
    several = candidates.sum(1)
    first = (several.cumsum(0) - several)[rows]  # rows are in order already
    among = torch.arange(len(rows), device=maps.device) - first
    chosen = _as_x_y(places[order[among < count]], width)
    return list(chosen.split(several.clamp(max=count).tolist()))


def interval_sample(
    maps: Tensor, low: Tensor, high: Tensor, count: int, *, seed: int
) -> list[Tensor]:
    """At most `count` random pixels of each map (N, H, W) whose values lie in its [low, high],
    (N,) each, in raster order: (x, y), (P, 2).

    NaN and infinite pixels never belong to the interval. Every map starts from `seed`.
    """
    flat = maps.flatten(1)
    inside = (flat >= low[:, None]) & (flat <= high[:, None]) & flat.isfinite()
    there = inside.sum(1).tolist()
    picks, first = [np.zeros(0, np.int64)], 0
    for several in there:
        few = np.arange(several)
        if several > count:
            random = np.random.default_rng(seed)
            few = np.sort(random.choice(several, size=count, replace=False))
        picks.append(first + few)
        first += several
    picked = torch.from_numpy(np.concatenate(picks)).to(maps.device)
    places = torch.nonzero(inside)[:, 1][picked]
    return list(_as_x_y(places, maps.shape[-1]).split([min(n, count) for n in there]))


def _as_x_y(places: Tensor, width: int) -> Tensor:
    """(x, y), (P, 2), of places (P,) in raster order."""
    return torch.stack([places % width, places // width], 1)


def cluster_centres(
    sets: Sequence[Tensor], clusters: int, *, seed: int, restarts: int = 1, iterations: int = 100,
) -> list[np.ndarray]:
    """Centroids of k-means on (x, y) of each set of pixels (P, 2), no two alike: float32 (K, 2).

    K = min(clusters, number of pixels); sorted by (y, x). Each set's are as if it were alone.
    """
    if not sets:
        return []
    clustered = iter(kmeans(
        [pixels for pixels in sets if len(pixels) > clusters], clusters,
        seed=seed, restarts=restarts, iterations=iterations,
    ))
    found = [next(clustered) if len(pixels) > clusters else pixels for pixels in sets]
    centres = torch.cat([one.to(torch.float32) for one in found]).cpu()  # all at once
    return [
        one[np.lexsort((one[:, 0], one[:, 1]))]
        for one in (part.numpy() for part in centres.split([len(one) for one in found]))
    ]


def drop_near(negatives: np.ndarray, positives: np.ndarray) -> np.ndarray:
    """Negatives (Q, 2) without those nearer to a positive than the positives' largest distance.

    With fewer than two positives there is no such distance and all are kept.
    """
    if len(positives) < 2 or len(negatives) == 0:
        return negatives
    nearest = distances(negatives, positives).min(axis=1)
    return negatives[nearest >= distances(positives, positives).max()]


def distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Euclidean distances (Q, P) of points (Q, 2) and (P, 2)."""
    return np.hypot(*np.moveaxis(one[:, None].astype(np.float64) - other[None], -1, 0))
