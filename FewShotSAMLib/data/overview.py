"""A thin copy of a whole volume: what a body looks like on the whole, and no more.

A support keeps it beside its marked slices, so that another patient's volume can be aligned to the
patient who was marked. At 64 pixels a side it shows organs, not findings; `--no-overview` leaves
it out.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .intensity import IntensityRange, normalise
from .slicing import extract_slices, slice_spacing
from .volume import Volume

SIDE = 64  # pixels of the longer side of a slice
SLICES = 128


@dataclass(frozen=True, eq=False)
class Overview:
    """Slices of a whole volume along one axis, made small.

    Attributes:
        grey: uint8 (s, h, w), 0 black to 255 white in the volume's own intensity range.
        shape: (S, H, W) of the volume's slices.
        spacing: (dx, dy, dz) mm of the volume's slices.
    """

    grey: np.ndarray
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]

    @classmethod
    def of(cls, canonical: Volume, axis: str, intensity: IntensityRange) -> Overview:
        """Of a volume in canonical orientation."""
        stack = extract_slices(canonical.voxels, axis)
        shape = stack.shape[:3]
        shrink = min(1.0, SIDE / max(shape[1:]))
        rows, columns = (_weights(n, max(1, round(n * shrink))) for n in shape[1:])
        thin = np.stack([rows @ _grey(one, intensity) @ columns.T for one in stack])
        if len(thin) > SLICES:
            between = _weights(len(thin), -(-len(thin) // -(-len(thin) // SLICES)))
            thin = np.tensordot(between, thin, axes=1)
        grey = np.rint(thin.clip(0, 1) * 255).astype(np.uint8)
        return cls(grey, shape, slice_spacing(canonical.spacing, axis))

    @property
    def extent(self) -> tuple[float, float, float]:
        """(x, y, z) mm that the slices cover."""
        return tuple(n * mm for n, mm in zip(self.shape[::-1], self.spacing, strict=True))

    @cached_property
    def digest(self) -> bytes:
        """The same for overviews of the same content."""
        grey = np.ascontiguousarray(self.grey)
        said = repr((grey.shape, self.shape, [float(mm) for mm in self.spacing]))
        return hashlib.sha256(said.encode("utf-8") + grey.tobytes()).digest()

    def images(self) -> np.ndarray:
        """Grey levels in [0, 1], float32 (s, h, w)."""
        return self.grey.astype(np.float32) / 255

    def place(self, index: float) -> float:
        """Where slice `index` of the volume lies among the thin ones; both count pixel centres."""
        return (index + 0.5) * len(self.grey) / self.shape[0] - 0.5


def _grey(plane: np.ndarray, intensity: IntensityRange) -> np.ndarray:
    """One slice (H, W[, 3]) in grey levels, colours averaged."""
    grey = normalise(plane[None], intensity)[0]
    return grey if grey.ndim == 2 else grey.mean(-1)


def _weights(source: int, target: int) -> np.ndarray:
    """float32 (target, source): linear, widened to a target pixel where it shrinks."""
    scale = source / target
    centres = (np.arange(target)[:, None] + 0.5) * scale - 0.5
    weights = np.clip(1 - np.abs(np.arange(source) - centres) / max(1.0, scale), 0, None)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)
