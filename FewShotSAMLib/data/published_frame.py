"""From slices to what FoB's published networks saw of them: the pixels of their prepared files
(`prepared_lines`), and those brought to the network's size."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .frames import SliceFrame, along_both, line_weights
from .prepared_lines import PreparedLine, prepared_lines
from .slicing import FieldOfView


@dataclass(frozen=True)
class PublishedFrame(SliceFrame):
    """Maps slices to the pictures of FoB's published networks and back; see `published_frame`.

    Outside of the slice pictures are 0: give them values above the darkest one.

    Attributes:
        lines: the prepared pixels along x and y, counted from the side that comes first in the
            model (the slice's last row in a frame that is upside down).
    """

    lines: tuple[PreparedLine, ...] = ()

    def _upright_line(self, axis: int) -> tuple[float, float]:
        line = self.lines[axis]
        ratio = line.count / self.size
        scale, offset = line.step * ratio, line.start + line.step * (ratio - 1) / 2
        if axis == 1 and self.upside_down:  # counted from the last row
            offset = self.shape[0] - 1 - offset - scale * (self.size - 1)
        return scale, offset

    def images_to_model(self, images: Tensor) -> Tensor:
        """(N, C, H, W) float -> (N, C, size, size): to the prepared file's pixels, then to the
        network's, as published."""
        return self.resized(self.prepared(images))

    def masks_to_model(self, masks: Tensor) -> Tensor:
        """(N, 1, H, W) or (N, H, W), bool or 0..1 -> float32 (N, 1, size, size): yes or no in the
        prepared file, from there fractions. A mask that would be lost is kept as coverage."""
        masks = (masks[:, None] if masks.ndim == 3 else masks).float()
        known = (self.prepared(masks) > 0.5).float()
        lost = ~known.flatten(1).any(1)[:, None, None, None]
        result = self.resized(known)
        return torch.where(lost, super().masks_to_model(masks), result) if lost.any() else result

    def prepared(self, images: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, h, w) in the prepared file's pixels, linear."""
        if tuple(images.shape[-2:]) != tuple(self.shape):
            raise ValueError(f"images of {tuple(images.shape)} do not have slices of {self.shape}")
        images = images.flip(-2) if self.upside_down else images
        columns, rows = (
            line_weights(n, line.count - line.dark, line.step, line.start, "linear", images.device)
            for n, line in zip(self.shape[::-1], self.lines, strict=True)
        )
        dark = (0, self.lines[0].dark, 0, self.lines[1].dark)
        return F.pad(along_both(images, rows, columns), dark)

    def resized(self, prepared: Tensor) -> Tensor:
        """(N, C, h, w) in the prepared file's pixels -> (N, C, size, size)."""
        size = (self.size, self.size)
        if tuple(prepared.shape[-2:]) == size:
            return prepared
        return F.interpolate(
            prepared, size=size, mode="bilinear", antialias=True, align_corners=False
        )


def published_frame(
    shape: tuple[int, int],
    spacing: tuple[float, float],
    modality: str,
    size: int,
    upside_down: bool,
) -> PublishedFrame:
    """The frame for slices of shape (H, W) and (dx, dy) mm."""
    lines = prepared_lines(shape, spacing, modality)
    widths = [line.step * line.count * s for line, s in zip(lines, spacing, strict=True)]
    frame = PublishedFrame(shape, spacing, FieldOfView((0.0, 0.0), 0.0), size, upside_down, lines)
    centre = frame.to_slice([[(size - 1) / 2, (size - 1) / 2]])[0] * spacing
    field = FieldOfView((float(centre[0]), float(centre[1])), max(widths))
    return PublishedFrame(shape, spacing, field, size, upside_down, lines)
