"""What networks made of some slices, and slices as what networks read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..data.frames import SliceFrame
from ..models.interfaces import Embeddings


@dataclass(frozen=True, eq=False)
class EncodedSlices:
    """What networks made of N slices. Tensors that are one stay one in parts and joined parts.

    Attributes:
        embeddings: the promptable model's.
        features: one map per encoder for similarity, (N, C, h, w) each, SAM's first.
        extra: what the prompt method read besides, each with N as its first dimension; () for a
            method that needs no more.
    """

    embeddings: Embeddings
    features: tuple[Tensor, ...]
    extra: tuple[Tensor, ...] = ()

    def __len__(self) -> int:
        return len(self.embeddings)

    def select(self, index: Tensor | slice) -> EncodedSlices:
        """Some of the slices (long tensor of any length, or a slice)."""
        return self._derived(
            self.embeddings.select(index),
            lambda column, place: getattr(self, column)[place][index],
        )

    @staticmethod
    def concatenate(parts: Sequence[EncodedSlices]) -> EncodedSlices:
        """Several batches as one, in order."""
        return parts[0]._derived(
            Embeddings.concatenate([part.embeddings for part in parts]),
            lambda column, place: torch.cat([getattr(part, column)[place] for part in parts]),
        )

    def _derived(
        self, embeddings: Embeddings, make: Callable[[str, int], Tensor]
    ) -> EncodedSlices:
        """With `embeddings` made of this one's. The tensors of "features" and "extra" are made, but
        for those that are the embeddings' own."""
        shared = dict(zip(map(id, self.embeddings.tensors), embeddings.tensors, strict=True))
        features, extra = (
            tuple(
                shared[id(one)] if id(one) in shared else make(column, place)
                for place, one in enumerate(getattr(self, column))
            )
            for column in ("features", "extra")
        )
        return EncodedSlices(embeddings, features, extra)

    @property
    def bytes(self) -> int:
        """Memory of all tensors; those that appear twice count once."""
        own = {id(t): t.numel() * t.element_size() for t in self._tensors()}
        return sum(own.values())

    def _tensors(self) -> tuple[Tensor, ...]:
        return (*self.embeddings.tensors, *self.features, *self.extra)


def to_pictures(grey: np.ndarray, frame: SliceFrame, device: torch.device) -> Tensor:
    """(N, H, W[, 3]) grey levels -> (N, 3, S, S) model input on the device."""
    pictures = torch.from_numpy(np.ascontiguousarray(grey)).to(device)
    if pictures.ndim == 3:
        return frame.images_to_model(pictures[:, None]).expand(-1, 3, -1, -1)
    return frame.images_to_model(pictures.permute(0, 3, 1, 2))
