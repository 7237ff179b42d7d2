"""Slices as FoB's published networks see them: the whole slice stretched to a square, z-scored by
the whole volume (methods, section 2.1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .errors import InputError
from .intensity import CT_WINDOW, IntensityRange
from .volume import Volume

TOP = 99.5  # percentile at which scans other than CT are cut


@dataclass(frozen=True)
class ZScore:
    """From grey levels in [0, 1] of an intensity range to z-scores of a volume.

    Attributes:
        intensity: what becomes 0 and 1.
        mean, deviation: of all grey levels of the volume.
    """

    intensity: IntensityRange
    mean: float
    deviation: float

    def of(self, grey: Tensor) -> Tensor:
        return (grey - self.mean) / self.deviation


def z_score(volume: Volume) -> ZScore:
    """CT: the window (-125, 275) HU. Others: the lowest value to percentile 99.5 of all voxels.
    Voxels that are not finite count as the lowest value.

    Raises:
        InputError: nothing is left between those two.
    """
    voxels = volume.voxels
    if voxels.dtype.kind == "f":
        finite = np.isfinite(voxels)
        voxels = np.where(finite, voxels, voxels[finite].min() if finite.any() else 0)
    if volume.modality == "CT":
        intensity = IntensityRange(*CT_WINDOW, "CT window")
    else:
        low, high = float(voxels.min()), float(np.percentile(voxels, TOP))
        intensity = IntensityRange(low, high, "lowest value and percentile 99.5")
    clipped = np.clip(voxels, intensity.low, intensity.high)
    if clipped.min() == clipped.max():
        raise InputError(
            f"{volume.name or 'volume'}: 99.5 % of its voxels are alike; choose an image with "
            "content"
        )
    width = intensity.high - intensity.low
    return ZScore(
        intensity,
        (float(clipped.mean(dtype=np.float64)) - intensity.low) / width,
        float(clipped.std(dtype=np.float64)) / width,
    )


def stretch(slices: Tensor, size: int) -> Tensor:
    """(N, H, W) -> (N, size, size), bilinear, with antialiasing where it shrinks."""
    if tuple(slices.shape[-2:]) == (size, size):
        return slices
    return F.interpolate(
        slices[:, None], size=(size, size), mode="bilinear", align_corners=False, antialias=True
    )[:, 0]


def to_stretched(grey: np.ndarray, score: ZScore, size: int, device: torch.device) -> Tensor:
    """Grey levels (N, H, W) of a volume's slices -> pictures (N, 3, size, size), z-scored."""
    squares = stretch(torch.from_numpy(np.ascontiguousarray(grey)).to(device), size)
    return score.of(squares)[:, None].expand(-1, 3, -1, -1)
