"""What FoB's published networks saw of a slice: the pixels of their prepared files.

The files were made from raw scans (Ouyang et al. 2020, whose preparation FoB took over). MR:
resampled to 1.25 mm and cut to 256 pixels around the middle, 320 mm. CT: 32 of 512 pixels cut off
at each side, the rest at every 1.75th pixel, 257 of them, which the network's loader brings to 256.
Nothing is stretched. A file that has been prepared already is taken as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .frames import SliceFrame, along_both, line_weights
from .slicing import FieldOfView

MR_PIXEL, MR_SIDE = 1.25, 256  # mm, pixels
CT_SIDE = 257  # pixels of a prepared file
_CT_SHARE = 448 / 512  # of the side of a raw slice that is kept


@dataclass(frozen=True)
class PreparedLine:
    """Pixels of a prepared file along one side of a slice.

    Attributes:
        start, step: the first one's place and their distance, in pixels of the slice.
        count: how many they are.
        dark: of these the last ones, which lie outside of what was kept of the raw slice.
    """

    start: float
    step: float
    count: int
    dark: int = 0


def is_prepared(shape: tuple[int, int], spacing: tuple[float, float], modality: str) -> bool:
    """Whether slices of shape (H, W) and (dx, dy) mm are those of a prepared file."""
    if modality == "CT":
        return tuple(shape) == (CT_SIDE, CT_SIDE)
    exact = all(abs(s - MR_PIXEL) < 0.005 for s in spacing)
    return tuple(shape) == (MR_SIDE, MR_SIDE) and exact


def prepared_lines(
    shape: tuple[int, int], spacing: tuple[float, float], modality: str
) -> tuple[PreparedLine, PreparedLine]:
    """Along x and along y, for slices of shape (H, W) and (dx, dy) mm; what is not CT counts as MR.

    A raw CT that has not 512 x 512 pixels keeps the same share of its longer side.
    """
    if is_prepared(shape, spacing, modality):
        return (PreparedLine(0.0, 1.0, shape[1]), PreparedLine(0.0, 1.0, shape[0]))
    sides = shape[::-1]
    if modality != "CT":
        return tuple(_mr_line(n, s) for n, s in zip(sides, spacing, strict=True))
    pixel = _CT_SHARE * max(n * s for n, s in zip(sides, spacing, strict=True)) / (CT_SIDE - 1)
    return tuple(
        PreparedLine(n / 2 - (CT_SIDE - 1) / 2 * pixel / s, pixel / s, CT_SIDE, 1)
        for n, s in zip(sides, spacing, strict=True)
    )


def _mr_line(count: int, spacing: float) -> PreparedLine:
    step = MR_PIXEL / spacing
    resampled = int(count * spacing / MR_PIXEL + 1)
    return PreparedLine((resampled // 2 - MR_SIDE // 2) * step, step, MR_SIDE)


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
