"""What SAM sees of a slice in FoB's published code."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.published_frame import PublishedFrame, published_frame
from ..data.standard import Standard


@dataclass(frozen=True)
class PublishedView:
    """The picture that FoB's own network sees, each slice from its darkest to its brightest pixel.

    Attributes:
        modality: of the image.
        upside_down: whether rows run from posterior to anterior.
    """

    modality: str
    upside_down: bool

    def frame(
        self, shape: tuple[int, int], spacing: tuple[float, float], size: int
    ) -> PublishedFrame:
        """From slices (H, W) of (dx, dy) mm to squares of `size` pixels."""
        return published_frame(shape, spacing, self.modality, size, self.upside_down)

    def pictures(
        self, stored: np.ndarray, frame: PublishedFrame, standard: Standard, device: torch.device
    ) -> Tensor:
        """(N, H, W[, 3]) stored values -> (N, 3, S, S) in [0, 1], in steps of 1/255 before they
        are brought to the model's size."""
        grey = torch.from_numpy(standard.above_low(stored)).to(device)[:, None]
        grey = frame.prepared(grey)
        low, high = grey.amin((2, 3), keepdim=True), grey.amax((2, 3), keepdim=True)
        grey = torch.floor(255 * (grey - low) / (high - low).clamp(min=1e-6)) / 255
        size = (frame.size, frame.size)
        large = F.interpolate(grey, size, mode="bilinear", antialias=True, align_corners=False)
        return large.expand(-1, 3, -1, -1)
