"""Between the pixels of a slice and the square input of a model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from .slicing import FieldOfView

OUTSIDE_LOGIT = -20.0


@dataclass(frozen=True)
class SliceFrame:
    """Maps pixels of slices to pixels of a square model input and back.

    Pixel centres lie at integer coordinates on both sides; a model pixel covers
    ``field.side_mm / size`` millimetres (the ``align_corners=False`` convention).

    Args:
        shape: (H, W) of the slices.
        spacing: (dx, dy) mm between their columns and rows.
        field: the square that becomes the model's input.
        size: model pixels per side.
        upside_down: whether the model's first row is the lowest of the slice.
    """

    shape: tuple[int, int]
    spacing: tuple[float, float]
    field: FieldOfView
    size: int
    upside_down: bool = False

    def _line(self, axis: int) -> tuple[float, float]:
        """(scale, offset) with slice pixel = scale * model pixel + offset, axis 0 = x, 1 = y."""
        scale, offset = self._upright_line(axis)
        if axis == 1 and self.upside_down:
            return -scale, offset + scale * (self.size - 1)
        return scale, offset

    def _upright_line(self, axis: int) -> tuple[float, float]:
        """The same of a frame that is not upside down."""
        pixel = self.field.side_mm / self.size
        start = self.field.centre_mm[axis] - self.field.side_mm / 2 + pixel / 2
        return pixel / self.spacing[axis], start / self.spacing[axis]

    def to_model(self, points: np.ndarray) -> np.ndarray:
        """Points (P, 2) as (x, y) in slice pixels -> model pixels, float64."""
        (sx, ox), (sy, oy) = self._line(0), self._line(1)
        return (np.asarray(points, dtype=np.float64) - (ox, oy)) / (sx, sy)

    def to_slice(self, points: np.ndarray) -> np.ndarray:
        """Points (P, 2) as (x, y) in model pixels -> slice pixels, float64."""
        (sx, ox), (sy, oy) = self._line(0), self._line(1)
        return np.asarray(points, dtype=np.float64) * (sx, sy) + (ox, oy)

    def images_to_model(self, images: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) float -> (N, C, size, size), bilinear, with antialiasing where it shrinks,
        zero outside of the slice."""
        return self._resample(images, "triangle")

    def masks_to_model(self, masks: torch.Tensor) -> torch.Tensor:
        """(N, 1, H, W) or (N, H, W), bool or 0..1 -> float32 (N, 1, size, size): the share of
        each model pixel that the mask covers."""
        masks = masks[:, None] if masks.ndim == 3 else masks
        return self._resample(masks.float(), "box")

    def logits_to_slice(self, logits: torch.Tensor) -> torch.Tensor:
        """(N, M, h, w) logits over the field, of any resolution -> (N, M, H, W), bilinear; -20
        outside of the field."""
        inside, lines = [], []
        for axis, (source, target) in enumerate(
            ((logits.shape[3], self.shape[1]), (logits.shape[2], self.shape[0]))
        ):
            scale, offset = self._line(axis)
            ratio = source / self.size
            # Slice pixel p lies at model pixel (p - offset) / scale, and that at logit pixel
            # (model pixel + 0.5) * ratio - 0.5.
            lines.append(
                line_weights(
                    source,
                    target,
                    ratio / scale,
                    (0.5 - offset / scale) * ratio - 0.5,
                    "triangle",
                    logits.device,
                )
            )
            inside.append(lines[-1].sum(dim=1) > 0.5)
        out = along_both(logits, lines[1], lines[0])
        return out.masked_fill(~(inside[1][:, None] & inside[0][None]), OUTSIDE_LOGIT)

    def _resample(self, images: torch.Tensor, kernel: str) -> torch.Tensor:
        if tuple(images.shape[-2:]) != tuple(self.shape):
            raise ValueError(f"images of {tuple(images.shape)} do not have slices of {self.shape}")
        columns, rows = (
            line_weights(self.shape[1 - axis], self.size, *self._line(axis), kernel, images.device)
            for axis in (0, 1)
        )
        return along_both(images, rows, columns)


class WholeSliceFrame(SliceFrame):
    """The whole slice stretched to the square, whatever its shape. `spacing` and `field` play no
    part."""

    def _upright_line(self, axis: int) -> tuple[float, float]:
        scale = self.shape[1 - axis] / self.size
        return scale, (scale - 1) / 2


def along_both(images: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """rows (h, H) . images (N, C, H, W) . columns (w, W)^T in float32."""
    with torch.autocast(images.device.type, enabled=False):
        return rows @ (images.float() @ columns.T)


@lru_cache(maxsize=64)
def line_weights(
    source: int, target: int, scale: float, offset: float, kernel: str, device: torch.device
) -> torch.Tensor:
    """(target, source) weights of one axis; target pixel t lies at source pixel scale*t + offset.

    "linear": linear interpolation; the source's edge pixels reach to their outer edge, targets
    beyond them get no weight. "triangle": the same, widened to the target pixel where it shrinks.
    "box": the share of the target pixel that each source pixel covers.
    """
    width = abs(scale)
    centres = scale * np.arange(target)[:, None] + offset
    pixels = np.arange(source)[None]
    if kernel == "box":
        upper = np.minimum(centres + width / 2, pixels + 0.5)
        lower = np.maximum(centres - width / 2, pixels - 0.5)
        weights = np.clip(upper - lower, 0.0, None) / width
    else:
        reach = max(1.0, width) if kernel == "triangle" else 1.0
        weights = np.clip(1.0 - np.abs(pixels - centres) / reach, 0.0, None)
        total = weights.sum(axis=1, keepdims=True)
        inside = (centres >= -0.5) & (centres <= source - 0.5) & (total > 0)
        weights = np.where(inside, weights / np.where(inside, total, 1.0), 0.0)
    # Kept for later calls, which may need gradients even where the first one does not.
    with torch.inference_mode(False):
        return torch.from_numpy(weights.astype(np.float32)).to(device)
