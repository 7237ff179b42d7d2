"""Supervoxels: an unlabelled volume cut into parts that look like organs (methods, section 2).

Felzenszwalb and Huttenlocher's graph-based segmentation, in 3-D. With the settings of the papers
(sigma 0, grey levels 0 to 255, a scale next to nothing) all that decides is the second half of that
method: edges between neighbouring voxels are taken from the smallest difference on, and the parts
at their ends become one wherever one of them is still smaller than the least size. An edge inside
of a part never joins anything, so the edges of a minimum spanning forest give the same result and
are all that is looked at.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import minimum_spanning_tree

from ..data.errors import InputError
from ..data.files import open_image, save_image
from ..data.volume import Volume

AIR = 10.0  # of 255
LEAST = 5000
_METHOD = 1  # counted up when the same input would give other supervoxels


def supervoxels(
    grey: np.ndarray, spacing: tuple[float, float, float], least: int = LEAST
) -> np.ndarray:
    """Labels (S, H, W), uint16: 0 air, then supervoxels from 1 in raster order.

    Deterministic. A supervoxel is connected across faces of voxels and has `least` voxels, unless
    all that it is connected to has fewer.

    Args:
        grey: (S, H, W) in [0, 1].
        spacing: mm between columns, rows and slices. Differences of neighbours are divided by the
            root of their distance: that is how fast those of a random walk grow, and thick slices
            would hardly ever be joined otherwise.
        least: voxels of a supervoxel; 5000 in slices of 256 x 256 as published.
    """
    levels = np.asarray(grey, np.float32) * 255
    inside = body(levels)
    number = np.full(inside.shape, -1, np.int64)
    count = int(inside.sum())
    number[inside] = np.arange(count)
    labels = np.zeros(inside.shape, np.uint16)
    if count:
        labels[inside] = _joined(*_edges(number, levels, spacing), count, least)
    return labels


def _edges(
    number: np.ndarray, levels: np.ndarray, spacing: tuple[float, float, float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Between neighbouring voxels: the numbers of both, and how much they differ.

    number: of each voxel, -1 for air.
    """
    starts, ends, costs = [], [], []
    for axis, distance in enumerate(spacing[::-1]):
        numbers, values = np.moveaxis(number, axis, 0), np.moveaxis(levels, axis, 0)
        first, second = numbers[:-1], numbers[1:]
        keep = (first >= 0) & (second >= 0)
        starts.append(first[keep])
        ends.append(second[keep])
        costs.append(np.abs(values[1:] - values[:-1])[keep] / np.sqrt(distance / min(spacing)))
    return np.concatenate(starts), np.concatenate(ends), np.concatenate(costs)


def cached_supervoxels(
    grey: np.ndarray,
    spacing: tuple[float, float, float],
    folder: Path,
    least: int = LEAST,
) -> np.ndarray:
    """`supervoxels`, kept in a folder as supervoxels-HASH.nrrd; the hash is of all that goes in."""
    grey = np.ascontiguousarray(grey)
    settings = [_METHOD, grey.shape, str(grey.dtype), [round(s, 6) for s in spacing], least, AIR]
    digest = hashlib.sha256(json.dumps(settings).encode())
    digest.update(grey)
    path = folder / f"supervoxels-{digest.hexdigest()[:24]}.nrrd"
    if (kept := _kept(path)) is not None and kept.shape == grey.shape:
        return kept.astype(np.uint16)
    labels = supervoxels(grey, spacing, least)
    save_image(Volume(labels, spacing).to_sitk(), path)
    return labels


def _kept(path: Path) -> np.ndarray | None:
    """None where there is no such file, or a damaged one: it is made again."""
    if not path.exists():
        return None
    try:
        return Volume.from_sitk(open_image(path)).voxels
    except InputError:
        return None


def body(levels: np.ndarray) -> np.ndarray:
    """bool (S, H, W): in each slice the largest connected part without air, its holes filled."""
    inside = np.zeros(levels.shape, bool)
    for plane, found in zip(levels, inside):
        parts, number = ndimage.label(plane > AIR)
        if number:
            largest = 1 + np.argmax(np.bincount(parts.ravel())[1:])
            found[:] = ndimage.binary_fill_holes(parts == largest)
    return inside


def _joined(
    starts: np.ndarray, ends: np.ndarray, costs: np.ndarray, count: int, least: int
) -> np.ndarray:
    """The part, from 1, of each of `count` voxels, by Kruskal's algorithm."""
    parent, size = list(range(count)), [1] * count
    for a, b in _forest(starts, ends, costs, count):
        while parent[a] != a:
            parent[a] = a = parent[parent[a]]
        while parent[b] != b:
            parent[b] = b = parent[parent[b]]
        if size[a] < least or size[b] < least:
            if size[a] < size[b]:
                a, b = b, a
            parent[b] = a
            size[a] += size[b]
    return _ranks(np.array(parent))


def _forest(
    starts: np.ndarray, ends: np.ndarray, costs: np.ndarray, count: int
) -> Iterator[tuple[int, int]]:
    """The edges that hold every connected part together most cheaply, the cheapest first."""
    # A zero would be no edge to scipy.
    graph = coo_matrix((costs.astype(np.float64) + 1e-3, (starts, ends)), shape=(count, count))
    forest = minimum_spanning_tree(graph.tocsr()).tocoo()
    order = np.argsort(forest.data, kind="stable")
    return zip(forest.row[order].tolist(), forest.col[order].tolist(), strict=True)


def _ranks(roots: np.ndarray) -> np.ndarray:
    """Of a forest of parents: the trees counted from 1 in the order of their first members."""
    while not np.array_equal(roots, higher := roots[roots]):
        roots = higher
    _, first, part = np.unique(roots, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(1, len(first) + 1)
    return rank[part]
