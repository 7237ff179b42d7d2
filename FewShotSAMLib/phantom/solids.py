"""Soft implicit solids in warped patient millimetres: what the generated abdomen is drawn with.

A solid is an array, one value per voxel: about the signed distance to its surface in mm, negative
inside. Intersection is `np.maximum`, a soft edge is a sigmoid, and what is laid later lies in
front.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import interpolate

Array = np.ndarray
HEIGHT_MM = 200.0


def smooth_noise(
    shape: tuple[int, ...], spacing: tuple[float, ...], grain: float, random: np.random.Generator
) -> Array:
    """Noise of zero mean and unit deviation whose grains measure about `grain` mm.

    Args:
        shape: of the result, (k, j, i).
        spacing: mm along i, j, k.
        grain: distance of the knots of a cubic spline, mm.
        random: its source.
    """
    steps = spacing[::-1]
    knots = [int(np.ceil(n * s / grain)) + 4 for n, s in zip(shape, steps, strict=True)]
    noise = random.standard_normal(knots).astype(np.float32)
    for axis, (n, s) in enumerate(zip(shape, steps, strict=True)):
        weights = _spline(np.arange(n) * (s / grain) + random.uniform(0, 1), knots[axis])
        noise = np.moveaxis(np.tensordot(weights, noise, axes=(1, axis)), 0, axis)
    noise -= noise.mean()
    return np.ascontiguousarray(noise / max(float(noise.std()), 1e-6))


def _spline(at: Array, knots: int) -> Array:
    """Weights of the knots at each place, (places, knots), of uniform cubic B-splines."""
    # Knots beyond the ends keep the basis whole inside.
    basis = interpolate.BSpline(
        np.arange(-2, knots + 2, dtype=float), np.eye(knots), 3, extrapolate=False
    )
    return np.nan_to_num(basis(np.clip(at + 1, 1, knots - 2))).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Space:
    """Warped patient coordinates of every voxel in mm, each (k, j, i).

    x runs to the patient's left from the midline, y to the back, z up from the lowest slice;
    the volume is always `HEIGHT_MM` high, however many slices show it.
    """

    x: Array
    y: Array
    z: Array
    spacing: tuple[float, float, float]
    random: np.random.Generator

    @classmethod
    def warped(
        cls, shape: tuple[int, int, int], spacing: tuple[float, float, float],
        random: np.random.Generator,
    ) -> Space:
        """The voxels' coordinates, displaced smoothly by some millimetres."""
        k, j, i = (np.arange(n, dtype=np.float32) for n in shape)
        z, y, x = np.meshgrid(
            (k + 0.5) * (HEIGHT_MM / shape[0]),
            (j - 0.5 * (shape[1] - 1)) * spacing[1],
            (i - 0.5 * (shape[2] - 1)) * spacing[0],
            indexing="ij",
        )
        coordinates = [x, y, z]
        for amplitude, grain in ((3.5, 60.0), (1.2, 20.0)):
            coordinates = [
                c + amplitude * smooth_noise(shape, spacing, grain, random) for c in coordinates
            ]
        return cls(*coordinates, spacing=spacing, random=random)

    def noise(self, grain: float) -> Array:
        """Smooth noise of unit deviation over the volume, grains of about `grain` mm."""
        return smooth_noise(self.x.shape, self.spacing, grain, self.random)

    def ellipsoid(
        self,
        centre: tuple[float | Array, float | Array, float],
        radii: tuple[float | Array, float | Array, float],
        turn: float = 0.0,
    ) -> Array:
        """An ellipsoid; its section is turned by `turn` radians from x towards y.

        Centre and radii may be arrays that change with z, so that it leans or tapers.
        """
        x, y, z = self.x - centre[0], self.y - centre[1], self.z - centre[2]
        if turn:
            x, y = np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x
        x, y, z = x / radii[0], y / radii[1], z / radii[2]
        scaled = np.sqrt(x * x + y * y + z * z)
        slope = np.sqrt((x / radii[0]) ** 2 + (y / radii[1]) ** 2 + (z / radii[2]) ** 2)
        return scaled * (scaled - 1.0) / np.maximum(slope, 1e-4)

    def column(
        self,
        centre: tuple[float | Array, float | Array],
        radii: tuple[float | Array, float | Array],
        turn: float = 0.0,
    ) -> Array:
        """An elliptic column through all slices."""
        return self.ellipsoid((*centre, 100.0), (*radii, 1e6), turn)

    def branches(self, grain: float, radius: float | Array) -> Array:
        """A mesh of thin tubes: where two smooth noises are zero together."""
        return 0.45 * grain * np.hypot(self.noise(grain), self.noise(grain)) - radius


def fillet(a: Array, b: Array, blend: float) -> Array:
    """The union of two solids, smoothed over `blend` mm."""
    share = np.clip(0.5 + 0.5 * (b - a) / blend, 0.0, 1.0)
    return b + (a - b) * share - blend * share * (1.0 - share)


class Painting:
    """The brightness and the truth so far.

    Attributes:
        space: where.
        image: (k, j, i) float, air 0, brightest tissue about 1.
        labels: (k, j, i) uint8 truth.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self.image = np.zeros(space.x.shape, np.float32)
        self.labels = np.zeros(space.x.shape, np.uint8)

    def lay(
        self, solid: Array, brightness: float | Array, label: int = 0, edge: float = 0.6
    ) -> None:
        """Put a solid in front of what is there.

        Args:
            solid: signed distance, mm.
            brightness: one, or one per voxel.
            label: its truth; 0 takes away the truth of what it covers.
            edge: mm over which it fades into its surroundings.
        """
        near = solid < 8 * edge
        cover = 1.0 / (1.0 + np.exp(np.clip(solid[near] / edge, -30.0, 30.0)))
        values = brightness[near] if isinstance(brightness, np.ndarray) else brightness
        self.image[near] += cover * (values - self.image[near])
        self.labels[solid < 0] = label
