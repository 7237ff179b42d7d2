"""Where background prompts lie around a marked structure: FoB's ring (methods, section 2.3).

A band around the mask, its outer contour, points at equal distances along it, and their order.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

OUTER, INNER = 21, 15  # sides of the two dilations whose difference is the ring

# The eight neighbours (dx, dy), turning left from the right-hand one; rows go down.
_NEIGHBOURS = ((1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1))


def ring_points(mask: Tensor, count: int) -> np.ndarray | None:
    """Background points around a mask, in FoB's order.

    Args:
        mask: (S, S), 0 to 1.
        count: number of points.

    Returns:
        int64 (count, 2), (x, y) in pixels; None where there is no ring: the mask is empty, or
        covers all but the picture's edge.
    """
    points = contour_points(ring(mask).cpu().numpy() > 0, count)
    return None if points is None else in_order(points)


def ring(mask: Tensor) -> Tensor:
    """Pixels 8 to 10 away from the mask (as a square measures it): float (S, S)."""
    return _widened(mask, OUTER) - _widened(mask, INNER)


def _widened(mask: Tensor, side: int) -> Tensor:
    """The mask dilated by a square: the largest value along rows, then along columns."""
    along = F.max_pool1d(mask.float(), side, 1, side // 2)
    return F.max_pool1d(along.T, side, 1, side // 2).T


def contour_points(band: np.ndarray, count: int) -> np.ndarray | None:
    """Points at equal distances along the outer contour that encloses the largest area.

    The contour is not closed: the first point is its first vertex and the last its last one. Of
    contours with equal areas the one that starts lowest counts.

    Args:
        band: bool (H, W).
        count: number of points.

    Returns:
        int64 (count, 2), (x, y), rounded to even at halves; None for an empty band.
    """
    parts, number = ndimage.label(band, np.ones((3, 3)))
    if number == 0:
        return None
    contours = [
        _outer_contour(parts, label, place)
        for label, place in enumerate(ndimage.find_objects(parts), start=1)
    ]
    contours.sort(key=lambda c: (c[0, 1], c[0, 0]), reverse=True)
    vertices = max(contours, key=_area)
    steps = np.linalg.norm(np.diff(vertices, axis=0), axis=1)
    length = np.concatenate([[0.0], np.cumsum(steps)])
    if len(vertices) == 1:
        return np.repeat(vertices, count, axis=0)
    wanted = np.linspace(0, length[-1], count)
    segment = np.clip(np.searchsorted(length, wanted) - 1, 0, len(steps) - 1)
    share = (wanted - length[segment]) / steps[segment]
    start, end = vertices[segment], vertices[segment + 1]
    return np.round(start + share[:, None] * (end - start)).astype(np.int64)


def in_order(points: np.ndarray) -> np.ndarray:
    """Points (K, 2) sorted by the angle at which the leftmost of them sees them (itself at 0)."""
    return points[order_of(points)]


def order_of(points: np.ndarray) -> np.ndarray:
    """Indices (K,) that bring points (K, 2) into FoB's order; ties stay as they came."""
    x, y = (points - points[np.argmin(points[:, 0])]).T
    return np.argsort(np.arctan2(y, x), kind="stable")


def _area(vertices: np.ndarray) -> float:
    x, y = vertices.T.astype(np.float64)
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def _outer_contour(parts: np.ndarray, label: int, place: tuple[slice, slice]) -> np.ndarray:
    """Vertices (V, 2) of one part's outer border, (x, y), where it changes direction.

    Border following (Suzuki and Abe 1985) from the first pixel in raster order, down its left
    side first.
    """
    inside = np.pad(parts[place] == label, 1)
    top, left = place[0].start - 1, place[1].start - 1
    x, y = first = int(np.argmax(inside[1])), 1
    # Clockwise from the left-hand neighbour to the border's other end.
    turn = next((d % 8 for d in range(3, -5, -1) if _at(inside, first, d)), None)
    if turn is None:
        return np.array([[x + left, y + top]])
    last = _step(first, turn)
    vertices, came = [], turn ^ 4
    while True:
        turn = next(d % 8 for d in range(turn + 1, turn + 9) if _at(inside, (x, y), d))
        if turn != came:
            vertices.append((x + left, y + top))
            came = turn
        here, (x, y) = (x, y), _step((x, y), turn)
        if (x, y) == first and here == last:
            return np.array(vertices)
        turn = turn ^ 4


def _step(place: tuple[int, int], direction: int) -> tuple[int, int]:
    dx, dy = _NEIGHBOURS[direction % 8]
    return place[0] + dx, place[1] + dy


def _at(inside: np.ndarray, place: tuple[int, int], direction: int) -> bool:
    x, y = _step(place, direction)
    return bool(inside[y, x])
