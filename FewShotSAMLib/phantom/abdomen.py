"""A generated abdomen, for demonstrations and tests: no patient, no download, known truth."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from ..data.volume import Segment, Volume
from . import organs
from .solids import Painting, Space, smooth_noise

SEGMENTS = {
    organs.LIVER: Segment("liver", (0.87, 0.51, 0.40)),
    organs.RIGHT_KIDNEY: Segment("right kidney", (0.73, 0.40, 0.68)),
    organs.LEFT_KIDNEY: Segment("left kidney", (0.33, 0.62, 0.86)),
    organs.SPLEEN: Segment("spleen", (0.62, 0.80, 0.32)),
}


@dataclass(frozen=True, eq=False)
class Phantom:
    """A generated volume and its truth on one grid.

    Attributes:
        image: int16 MR, axial slices, LPS.
        truth: uint8, 0 background and the labels of `SEGMENTS`.
    """

    image: Volume
    truth: Volume

    def marked_slice(self) -> int:
        """The axial slice that shows all organs best: the one whose smallest share is largest."""
        areas = [(self.truth.voxels == label).sum(axis=(1, 2)) for label in SEGMENTS]
        return int(np.argmax(np.min([area / max(area.max(), 1) for area in areas], axis=0)))

    def marked(self, index: int) -> Volume:
        """The truth of one axial slice and nothing elsewhere: what a person would draw."""
        drawn = np.zeros_like(self.truth.voxels)
        drawn[index] = self.truth.voxels[index]
        return replace(self.truth, voxels=drawn, name="marked slice")


def abdomen(
    shape: tuple[int, int, int] = (40, 256, 256),
    spacing: tuple[float, float, float] = (1.25, 1.25, 5.0),
    seed: int = 0,
) -> Phantom:
    """Draw an abdomen from the lower poles of the kidneys to the domes of the diaphragm.

    Args:
        shape: voxels (k, j, i); however many slices, they cover the same 200 mm of the patient.
        spacing: mm along i, j, k.
        seed: of shapes, texture and noise.
    """
    random = np.random.default_rng(seed)
    painting = Painting(Space.warped(shape, spacing, random))
    organs.paint(painting)
    grid = {
        "spacing": spacing,
        "origin": tuple(-0.5 * (n - 1) * s for n, s in zip(shape[::-1], spacing, strict=True)),
        "direction": np.eye(3),
    }
    return Phantom(
        image=Volume(
            voxels=_scan(painting.image, spacing, random),
            modality="MR",
            name="generated abdomen",
            **grid,
        ),
        truth=Volume(voxels=painting.labels, name="truth", segments=SEGMENTS, **grid),
    )


def _scan(
    tissue: np.ndarray, spacing: tuple[float, float, float], random: np.random.Generator
) -> np.ndarray:
    """What a scanner makes of it: blur, uneven coil, Rician noise, whole numbers."""
    seen = ndimage.gaussian_filter(tissue, (0.25, 0.5, 0.5))
    seen *= np.exp(0.13 * smooth_noise(tissue.shape, spacing, 130.0, random))
    noise = 0.016 * random.standard_normal((2, *tissue.shape), dtype=np.float32)
    return np.rint(700.0 * np.hypot(seen + noise[0], noise[1])).astype(np.int16)
