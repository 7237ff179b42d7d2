"""FoB on the slices of one volume: its own frame, its features, its supports, its prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.frames import SliceFrame, WholeSliceFrame
from ..data.intensity import normalise
from ..data.published_frame import published_frame
from ..models.fob import FobModel
from ..models.fob_config import FobConfig
from ..models.interfaces import PromptableModel
from .encoded_slices import EncodedSlices, to_pictures
from .fob import Fob, FobSupport
from .interfaces import SliceSpace
from .point_prompts import PointPrompts


@dataclass(frozen=True, eq=False)
class FobSliceAnswer:
    """FoB's word on N slices, in pixels of the region of interest.

    Attributes:
        coarse: (N, R, R), how likely each pixel is foreground, 0 to 1.
        alike: (N, R, R), cosine with the support's foreground; -1 where FoB does not look.
        prompts: N sets of points.
    """

    coarse: Tensor
    alike: Tensor
    prompts: list[PointPrompts]


def frame_of(config: FobConfig, space: SliceSpace) -> SliceFrame:
    """From a volume's slices to the pictures of a FoB network."""
    roi, upside_down = space.roi, config.rows == "posterior first"
    if config.framing == "published":
        return published_frame(
            roi.shape, roi.spacing, space.modality, config.image_size, upside_down
        )
    kind = WholeSliceFrame if config.framing == "slice" else SliceFrame
    return kind(roi.shape, roi.spacing, roi.field, config.image_size, upside_down)


class FobSlices:
    """FoB on the slices of one volume, the query's or a support's.

    Args:
        network: FoB's, loaded.
        promptable: the model that is prompted; FoB's features come from its embeddings where it
            is the embedded model that FoB reads.
        space: the slices. Its z-score is measured where the network reads it.
    """

    def __init__(
        self, network: FobModel, promptable: PromptableModel, space: SliceSpace
    ) -> None:
        self.model, self.roi, self.intensity = network, space.roi, space.intensity
        self.fob = Fob(network.network, network.dtype)
        config = network.config
        self.frame = frame_of(config, space)
        self._same = self.frame == self.roi
        self._embedded = config.backbone == "embedded"
        self._shared = network.backbone is not None and network.backbone is promptable
        self._standard = None if self._embedded else space.standard()

    def encode(self, encoded: EncodedSlices, stored: np.ndarray) -> EncodedSlices:
        """The same slices with FoB's features (N, C, h, w) and thresholds (N, 1) as `extra`.

        Args:
            stored: (N, H, W[, 3]) stored values of the slices.
        """
        model = self.model
        if self._shared:
            return replace(encoded, extra=model.of_embeddings(encoded.embeddings))
        if self._embedded:
            pictures = to_pictures(normalise(stored, self.intensity), self.frame, model.device)
        else:  # above the lowest value, which is what lies outside of the slice
            grey = self._standard.above_low(stored)
            pictures = self._standard.scores(to_pictures(grey, self.frame, model.device))
        return replace(encoded, extra=model.encode(pictures))

    def prepare(self, encoded: EncodedSlices, mask: np.ndarray) -> FobSupport:
        """What FoB keeps of one encoded slice with a mask (H, W), bool, not empty."""
        drawn = torch.from_numpy(np.ascontiguousarray(mask))[None].to(self.model.device)
        return self._prepared(encoded, self.frame.masks_to_model(drawn)[0, 0])

    def remember(self, encoded: EncodedSlices, logits: Tensor) -> FobSupport:
        """The same from a mask that was found: logits (R, R) of the region of interest."""
        inside = (logits > 0).float()[None, None]
        if not self._same:
            inside = self.frame.masks_to_model(self.roi.logits_to_slice(inside).clamp(min=0))
        return self._prepared(encoded, inside[0, 0])

    def _prepared(self, encoded: EncodedSlices, cover: Tensor) -> FobSupport:
        return self.fob.prepare(encoded.extra[0][0], cover)

    @torch.inference_mode()
    def answer(self, encoded: EncodedSlices, supports: Sequence[FobSupport]) -> FobSliceAnswer:
        """Prompts for N encoded slices with one support each."""
        features, threshold = encoded.extra
        answer = self.fob.answer(
            features, threshold,
            torch.stack([s.background for s in supports]),
            torch.stack([s.foreground for s in supports]),
        )
        prompts = self.fob.prompts(answer, [s.has_ring for s in supports])
        if not self._same:
            prompts = [
                PointPrompts(self.roi.to_model(self.frame.to_slice(p.points)), p.labels)
                for p in prompts
            ]
        return FobSliceAnswer(
            self._in_roi(answer.coarse), self._in_roi(answer.alike + 1) - 1, prompts
        )

    def _in_roi(self, maps: Tensor) -> Tensor:
        """Maps (N, h, w) of values from 0 over FoB's frame as (N, R, R); 0 outside of it."""
        size = (self.roi.size, self.roi.size)
        if self._same:
            return F.interpolate(maps[:, None], size=size, mode="bilinear")[:, 0]
        slices = self.frame.logits_to_slice(maps[:, None]).clamp(min=0)
        return self.roi.masks_to_model(slices)[:, 0]
