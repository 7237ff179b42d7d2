"""FoB's side of one stack of slices: its frame, its features, its supports, its prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.frames import SliceFrame, WholeSliceFrame
from ..data.intensity import IntensityRange, normalise
from ..data.standard import Standard
from ..models.fob import FobModel
from ..prompting.fob import Fob, FobSupport
from ..prompting.point_prompts import PointPrompts
from .encoding import EncodedSlices, Encoders, to_pictures


@dataclass(frozen=True, eq=False)
class BackgroundAnswer:
    """FoB's word on N slices, in pixels of the region of interest.

    Attributes:
        coarse: (N, R, R), how likely each pixel is foreground, 0 to 1.
        alike: (N, R, R), cosine with the support's foreground; -1 where FoB does not look.
        prompts: N sets of points.
    """

    coarse: Tensor
    alike: Tensor
    prompts: list[PointPrompts]


class Background:
    """FoB on the slices of one volume, the query's or a support's.

    Args:
        model: the network, loaded.
        encoders: what else reads the slices; FoB's features come from the embedded model's
            embeddings where those are there already.
        roi: slice pixels to the region of interest.
        intensity: what becomes black and white.
        standard: the z-score, which networks on the embedded model's features do not read.
        method: "fob", its prompts as they are, or "auto", joined with SynPo's.
    """

    def __init__(
        self,
        model: FobModel,
        encoders: Encoders,
        roi: SliceFrame,
        intensity: IntensityRange,
        standard: Standard | None,
        method: str = "fob",
    ) -> None:
        self.method = method
        self.model, self.encoders, self.roi = model, encoders, roi
        self.intensity, self.standard = intensity, standard
        self.fob = Fob(model.network, model.dtype)
        kind = WholeSliceFrame if model.config.framing == "slice" else SliceFrame
        self.frame = kind(roi.shape, roi.spacing, roi.field, model.config.image_size)
        self._same = kind is SliceFrame and self.frame.size == roi.size

    def encode(self, encoded: EncodedSlices, stack: np.ndarray) -> EncodedSlices:
        """The same slices with FoB's features.

        Args:
            stack: (N, H, W[, 3]) stored values of the slices.
        """
        model = self.model
        if model.backbone is not None and model.backbone is self.encoders.model:
            return replace(encoded, background=model.of_embeddings(encoded.embeddings))
        if model.config.backbone == "embedded":
            grey = normalise(stack, self.intensity)
        else:
            grey = self.standard.apply(stack)
        return replace(
            encoded, background=model.encode(to_pictures(grey, self.frame, model.device))
        )

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
        return self.fob.prepare(encoded.background[0][0], cover)

    @torch.inference_mode()
    def answer(self, encoded: EncodedSlices, supports: Sequence[FobSupport]) -> BackgroundAnswer:
        """Prompts for N encoded slices with one support each."""
        features, threshold = encoded.background
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
        return BackgroundAnswer(
            self._in_roi(answer.coarse), self._in_roi(answer.alike + 1) - 1, prompts
        )

    def _in_roi(self, maps: Tensor) -> Tensor:
        """Maps (N, h, w) of values from 0 over FoB's frame as (N, R, R); 0 outside of it."""
        size = (self.roi.size, self.roi.size)
        if self._same:
            return F.interpolate(maps[:, None], size=size, mode="bilinear")[:, 0]
        slices = self.frame.logits_to_slice(maps[:, None]).clamp(min=0)
        return self.roi.masks_to_model(slices)[:, 0]
