"""Slices of a volume as model input, embeddings and features, computed once and kept in bounds."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..data.frames import SliceFrame
from ..data.intensity import IntensityRange, normalise
from ..models.interfaces import FeatureEncoder, PromptableModel
from ..prompting.encoded_slices import EncodedSlices, to_pictures
from ..prompting.interfaces import PromptMethod
from .encoded_store import EncodedStore

_PICTURES = 32  # slices kept in grey
_TOGETHER = 16  # slices of several runs read together, where runs are as short as on a CPU


@dataclass(frozen=True)
class Encoders:
    """A promptable model and, if there is one, a second encoder of meaning, and what they made of
    the pictures that they saw last."""

    model: PromptableModel
    features: FeatureEncoder | None
    device: torch.device
    store: EncodedStore = field(default_factory=EncodedStore)

    def encode(self, images: Tensor) -> EncodedSlices:
        """(N, 3, S, S) pictures in [0, 1] at the promptable model's size."""
        return self.store.encoded(images, self._encode)

    def _encode(self, images: Tensor) -> EncodedSlices:
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


class SliceEncoder:
    """Encodes slices of one stack on demand, in runs of neighbours, least recently used out first.

    Args:
        stack: (S, H, W[, 3]) stored values, a view of the volume.
        intensity: what becomes black and white.
        frame: from slice pixels to the model's square.
        roi: the same field at the size that prompts and masks are worked in.
        encoders: the networks.
        batch: slices encoded at a time; None for as many as the model takes together.
        budget: bytes of embeddings to keep.
        method: adds what it reads besides; None for the encoders' features alone.
        pictures: from stored values of slices to the model's input; None for the frame's, in grey.
    """

    def __init__(
        self,
        stack: np.ndarray,
        intensity: IntensityRange,
        frame: SliceFrame,
        roi: SliceFrame,
        encoders: Encoders,
        *,
        batch: int | None = None,
        budget: int = 1 << 30,
        method: PromptMethod | None = None,
        pictures: Callable[[np.ndarray], Tensor] | None = None,
    ) -> None:
        self.stack, self.intensity, self.frame, self.roi = stack, intensity, frame, roi
        self.encoders, self.budget = encoders, budget
        self.batch = batch or encoders.model.slices_at_once
        self._runs: OrderedDict[int, EncodedSlices] = OrderedDict()
        self._bytes = 0
        self._pictures: OrderedDict[int, Tensor] = OrderedDict()
        self.method, self.pictures = method, pictures

    def __len__(self) -> int:
        return len(self.stack)

    def grey(self, index: Sequence[int] | slice) -> np.ndarray:
        """Grey levels in [0, 1] of some slices, float32 (N, H, W[, 3])."""
        return normalise(self.stack[index], self.intensity)

    def images(self, index: Sequence[int] | slice) -> Tensor:
        """The model's input (N, 3, S, S) of some slices."""
        if self.pictures is not None:
            return self.pictures(self.stack[index])
        return to_pictures(self.grey(index), self.frame, self.encoders.device)

    def picture(self, index: int) -> Tensor:
        """One slice in grey over the region of interest: (R, R) in [0, 1]."""
        if index not in self._pictures:
            grey = self.grey(slice(index, index + 1))
            self._pictures[index] = to_pictures(grey, self.roi, self.encoders.device)[0].mean(0)
            while len(self._pictures) > _PICTURES:
                self._pictures.popitem(last=False)
        return self._pictures[index]

    def encode_singly(self) -> None:
        """From now on one slice at a time: for who asks for few. Those encoded so far are
        forgotten."""
        self.batch, self._bytes = 1, 0
        self._runs.clear()

    def run(self, number: int) -> EncodedSlices:
        """Slices `number * batch` to the next run's first, encoded."""
        if number in self._runs:
            self._runs.move_to_end(number)
            return self._runs[number]
        return self._keep(number, self._encoded([number])[0])

    def _encoded(self, numbers: Sequence[int]) -> list[EncodedSlices]:
        """Some runs, their pictures read together."""
        places = [
            range(number * self.batch, min((number + 1) * self.batch, len(self)))
            for number in numbers
        ]
        together = self.encoders.encode(self.images([index for run in places for index in run]))
        runs, done = [], 0
        for run in places:
            encoded = together.select(slice(done, done + len(run)))
            if self.method is not None:
                encoded = self.method.encode(encoded, self.stack[run.start : run.stop])
            runs.append(encoded)
            done += len(run)
        return runs

    def _keep(self, number: int, encoded: EncodedSlices) -> EncodedSlices:
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

    def several(self, indices: Sequence[int]) -> EncodedSlices:
        """Some slices, encoded, in this order."""
        self.read(indices)
        return EncodedSlices.concatenate([self.one(index) for index in indices])

    def read(self, indices: Iterable[int]) -> None:
        """Encodes what is not yet encoded of some slices, together where that is quicker."""
        new = sorted({index // self.batch for index in indices} - self._runs.keys())
        if 1 < len(new) <= _TOGETHER // self.batch:
            for number, encoded in zip(new, self._encoded(new), strict=True):
                self._keep(number, encoded)
