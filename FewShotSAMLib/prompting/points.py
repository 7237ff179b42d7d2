"""From one confidence map to point prompts: top pixels, an interval, and k-means.

SynPo (MICCAI 2025), points selection module. Pure functions on numpy arrays of one slice, and
`top_pixels` on a batch on the device.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .kmeans import kmeans


def top_pixels(maps: Tensor, count: int) -> list[np.ndarray]:
    """The `count` highest pixels of each map (N, H, W), highest first: integer (x, y), (P, 2).

    Equal values are taken in raster order, so the choice does not depend on device or batch.
    Pixels of -inf are never taken: P is below `count` where fewer are finite.
    """
    width = maps.shape[-1]
    flat = maps.flatten(1)
    count = min(count, flat.shape[1])
    if len(maps) == 0 or count < 1:
        return [np.zeros((0, 2), np.int64) for _ in maps]
    lowest = torch.topk(flat, count, dim=1).values[:, -1:]
    candidates = (flat >= lowest) & (flat > -torch.inf)
    rows, places = (index.cpu().numpy() for index in torch.nonzero(candidates, as_tuple=True))
    values = flat[candidates].cpu().numpy()
    chosen = []
    for row in range(len(maps)):
        first, last = np.searchsorted(rows, [row, row + 1])
        order = np.argsort(-values[first:last], kind="stable")[:count]
        place = places[first:last][order]
        chosen.append(np.stack([place % width, place // width], axis=1))
    return chosen


def interval_sample(
    confidence: np.ndarray, low: float, high: float, count: int, rng: np.random.Generator
) -> np.ndarray:
    """At most `count` random pixels whose confidence (H, W) lies in [low, high], as (x, y), (P, 2).

    NaN and infinite pixels never belong to the interval.
    """
    places = np.flatnonzero((confidence >= low) & (confidence <= high) & np.isfinite(confidence))
    if len(places) > count:
        places = np.sort(rng.choice(places, size=count, replace=False))
    width = confidence.shape[1]
    return np.stack([places % width, places // width], axis=1)


def cluster_centres(
    sets: Sequence[np.ndarray], clusters: int, *, seed: int, restarts: int = 1,
    iterations: int = 100,
) -> list[np.ndarray]:
    """Centroids of k-means on (x, y) of each set of pixels (P, 2), no two alike: float32 (K, 2).

    K = min(clusters, number of pixels); sorted by (y, x). Each set's are as if it were alone.
    """
    centres = [pixels.astype(np.float32).reshape(-1, 2) for pixels in sets]
    more = [place for place, pixels in enumerate(sets) if len(pixels) > clusters]
    found = kmeans(
        [sets[place] for place in more], clusters,
        seed=seed, restarts=restarts, iterations=iterations,
    )
    for place, one in zip(more, found, strict=True):
        centres[place] = one.astype(np.float32)
    return [one[np.lexsort((one[:, 0], one[:, 1]))] for one in centres]


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
