"""Slices of a volume as model input, embeddings and features, computed once and kept in bounds."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..data.frames import SliceFrame
from ..data.intensity import IntensityRange, normalise
from ..models.interfaces import Embeddings, FeatureEncoder, PromptableModel


@dataclass(frozen=True, eq=False)
class EncodedSlices:
    """What networks made of N slices.

    Attributes:
        embeddings: the promptable model's.
        features: one map per encoder for similarity, (N, C, h, w) each, SAM's first.
        background: FoB's features (N, C, h, w) and thresholds (N, 1); () without FoB.
    """

    embeddings: Embeddings
    features: tuple[Tensor, ...]
    background: tuple[Tensor, ...] = ()

    def select(self, index: Tensor | slice) -> EncodedSlices:
        return EncodedSlices(
            self.embeddings.select(index),
            tuple(f[index] for f in self.features),
            tuple(b[index] for b in self.background),
        )

    @staticmethod
    def concatenate(parts: Sequence[EncodedSlices]) -> EncodedSlices:
        """Several batches as one, in order."""
        return EncodedSlices(
            Embeddings.concatenate([part.embeddings for part in parts]),
            tuple(torch.cat(column) for column in zip(*(p.features for p in parts), strict=True)),
            tuple(torch.cat(column) for column in zip(*(p.background for p in parts), strict=True)),
        )

    @property
    def bytes(self) -> int:
        own = {id(t): t.numel() * t.element_size() for t in self._tensors()}
        return sum(own.values())

    def _tensors(self) -> tuple[Tensor, ...]:
        return (
            self.embeddings.features, *self.embeddings.extra, *self.features, *self.background
        )


@dataclass(frozen=True)
class Encoders:
    """A promptable model and, if there is one, a second encoder of meaning."""

    model: PromptableModel
    features: FeatureEncoder | None
    device: torch.device

    def encode(self, images: Tensor) -> EncodedSlices:
        """(N, 3, S, S) pictures in [0, 1] at the promptable model's size."""
        embeddings = self.model.embed(images)
        if self.features is None:
            return EncodedSlices(embeddings, (embeddings.features,))
        if getattr(self.features, "model", None) is self.model:  # one network plays both parts
            return EncodedSlices(
                embeddings, (embeddings.features, self.features.of_embeddings(embeddings))
            )
        size = self.features.input_size
        if images.shape[-1] != size:
            images = torch.nn.functional.interpolate(
                images, size=(size, size), mode="bilinear", antialias=True, align_corners=False
            )
        return EncodedSlices(embeddings, (embeddings.features, self.features.encode(images)))


class FurtherFeatures(Protocol):
    """Adds what a method needs beside the encoders' features."""

    def encode(self, encoded: EncodedSlices, stack: np.ndarray) -> EncodedSlices:
        """The same slices with more; `stack` (N, H, W[, 3]) are their stored values."""
        ...


class SliceEncoder:
    """Encodes slices of one stack on demand, in runs of neighbours, least recently used out first.

    Args:
        stack: (S, H, W[, 3]) stored values, a view of the volume.
        intensity: what becomes black and white.
        frame: from slice pixels to the model's square.
        roi: the same field at the size that prompts and masks are worked in.
        encoders: the networks.
        batch: slices encoded at a time.
        budget: bytes of embeddings to keep.
        background: FoB's side, where the method needs it.
    """

    def __init__(
        self,
        stack: np.ndarray,
        intensity: IntensityRange,
        frame: SliceFrame,
        roi: SliceFrame,
        encoders: Encoders,
        *,
        batch: int = 8,
        budget: int = 1 << 30,
        background: FurtherFeatures | None = None,
    ) -> None:
        self.stack, self.intensity, self.frame, self.roi = stack, intensity, frame, roi
        self.encoders, self.batch, self.budget = encoders, batch, budget
        self._runs: OrderedDict[int, EncodedSlices] = OrderedDict()
        self._bytes = 0
        self._pictures: OrderedDict[int, Tensor] = OrderedDict()
        self.background = background

    def __len__(self) -> int:
        return len(self.stack)

    def grey(self, index: Sequence[int] | slice) -> np.ndarray:
        """Grey levels in [0, 1] of some slices, float32 (N, H, W[, 3])."""
        return normalise(self.stack[index], self.intensity)

    def images(self, index: Sequence[int] | slice) -> Tensor:
        """The model's input (N, 3, S, S) of some slices."""
        return to_pictures(self.grey(index), self.frame, self.encoders.device)

    def picture(self, index: int) -> Tensor:
        """One slice in grey over the region of interest: (R, R) in [0, 1]."""
        if index not in self._pictures:
            grey = self.grey(slice(index, index + 1))
            self._pictures[index] = to_pictures(grey, self.roi, self.encoders.device)[0].mean(0)
            while len(self._pictures) > self.batch * 4:
                self._pictures.popitem(last=False)
        return self._pictures[index]

    def run(self, number: int) -> EncodedSlices:
        """Slices `number * batch` to the next run's first, encoded."""
        if number in self._runs:
            self._runs.move_to_end(number)
            return self._runs[number]
        first = number * self.batch
        last = min(first + self.batch, len(self))
        encoded = self.encoders.encode(self.images(slice(first, last)))
        if self.background is not None:
            encoded = self.background.encode(encoded, self.stack[first:last])
        self._bytes += encoded.bytes
        self._runs[number] = encoded
        while self._bytes > self.budget and len(self._runs) > 1:
            _, old = self._runs.popitem(last=False)
            self._bytes -= old.bytes
        return encoded

    def one(self, index: int) -> EncodedSlices:
        """One slice, encoded (with the run it lies in)."""
        number, place = divmod(index, self.batch)
        return self.run(number).select(slice(place, place + 1))


def to_pictures(grey: np.ndarray, frame: SliceFrame, device: torch.device) -> Tensor:
    """(N, H, W[, 3]) grey levels -> (N, 3, S, S) model input on the device."""
    pictures = torch.from_numpy(np.ascontiguousarray(grey)).to(device)
    if pictures.ndim == 3:
        return frame.images_to_model(pictures[:, None]).expand(-1, 3, -1, -1)
    return frame.images_to_model(pictures.permute(0, 3, 1, 2))
