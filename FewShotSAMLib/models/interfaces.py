"""The two interfaces behind which every network stands.

A *feature encoder* turns pictures into dense features for similarity; a *promptable model*
turns pictures into embeddings once, and embeddings plus prompts into masks as often as wanted.
Everything else in the library knows networks only through these two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from .card import ModelCard


@dataclass(frozen=True, eq=False)
class Embeddings:
    """What a promptable model computes of N pictures, once.

    Attributes:
        features: (N, C, h, w), the map that similarity is measured on (for SAM the neck's output).
        extra: further tensors the decoder needs, each with N as its first dimension.
    """

    features: Tensor
    extra: tuple[Tensor, ...] = ()

    def __len__(self) -> int:
        return self.features.shape[0]

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All of them, `features` first."""
        return (self.features, *self.extra)

    def select(self, index: Tensor | slice) -> Embeddings:
        """The embeddings of some of the pictures (long tensor of any length, or a slice)."""
        return Embeddings(self.features[index], tuple(t[index] for t in self.extra))

    @staticmethod
    def concatenate(parts: list[Embeddings]) -> Embeddings:
        """The embeddings of several batches as one, in order."""
        return Embeddings(
            torch.cat([p.features for p in parts]),
            tuple(torch.cat(column) for column in zip(*(p.extra for p in parts), strict=True)),
        )


@dataclass(frozen=True, eq=False)
class PromptBatch:
    """Prompts for B masks, padded to the same number of points.

    Attributes:
        points: (B, P, 2) float, (x, y) in pixels of the model's square input, pixel centres at
            integers; P may be 0.
        labels: (B, P) int, 1 positive, 0 negative, -1 padding.
        boxes: (B, 4) float x0, y0, x1, y1 in the same pixels, or None. A row of NaN is no box.
        masks: (B, 1, m, m) float logits (positive inside), or None. A picture whose values are
            all NaN has no mask prompt.
        confidence: (B, 1, m, m) float, the confidence map, or None: an extra that models with
            `uses_confidence` read and the others ignore.
    """

    points: Tensor
    labels: Tensor
    boxes: Tensor | None = None
    masks: Tensor | None = None
    confidence: Tensor | None = None

    def __len__(self) -> int:
        return self.points.shape[0]

    def select(self, index: Tensor | slice) -> PromptBatch:
        """Some of the prompts (long tensor of any length, or a slice)."""
        columns = (self.points, self.labels, self.boxes, self.masks, self.confidence)
        return PromptBatch(*(None if c is None else c[index] for c in columns))


@runtime_checkable
class FeatureEncoder(Protocol):
    """Pictures to dense features."""

    card: ModelCard
    input_size: int

    def encode(self, images: Tensor) -> Tensor:
        """(N, 3, S, S) float in [0, 1] on the model's device -> (N, C, h, w) float."""
        ...


@runtime_checkable
class PromptableModel(Protocol):
    """Pictures to embeddings; embeddings and prompts to masks.

    Attributes:
        card: what reports say of it.
        input_size: pixels a side of its square input.
        uses_confidence: it reads the confidence map beside the prompts.
        judges_presence: its quality also says whether the structure is there at all.
        slices_at_once: pictures that it encodes together.
    """

    card: ModelCard
    input_size: int
    slices_at_once: int
    uses_confidence: bool
    judges_presence: bool

    def embed(self, images: Tensor) -> Embeddings:
        """(N, 3, S, S) float in [0, 1] on the model's device -> embeddings of the N pictures."""
        ...

    def decode(
        self, embeddings: Embeddings, picture: Tensor, prompts: PromptBatch
    ) -> tuple[Tensor, Tensor]:
        """Masks for B prompts.

        Args:
            embeddings: of N pictures.
            picture: (B,) long, which picture each prompt belongs to.
            prompts: B prompts.

        Returns:
            logits (B, M, m, m) float, positive inside; quality (B, M), the model's own estimate
            of the overlap with the truth, 0 to 1. M is 1 or the number of multimask outputs.
        """
        ...


@dataclass(frozen=True, eq=False)
class Remembered:
    """What a memory says of an object in a slice: (m, m) logits, positive inside, and how sure it
    is, 0 to 1, that the object is there. Below 0.5 all logits are negative."""

    logits: Tensor
    presence: float


class SliceMemory(Protocol):
    """What a model remembers of the slices of one volume, object by object.

    Attributes:
        reach: slices behind that it looks at.
    """

    reach: int

    def mark(self, label: int, index: int, embeddings: Embeddings, mask: Tensor) -> None:
        """A slice where the object's mask, bool (S, S), is known."""
        ...

    def follow(self, label: int, index: int, embeddings: Embeddings, step: int) -> Remembered:
        """A slice where it is not, from marked slices and those before; `step` is 1 or -1."""
        ...


@runtime_checkable
class RememberingModel(Protocol):
    """A promptable model that can follow objects from slice to slice by a memory of its own."""

    def slice_memory(self, slices: int) -> SliceMemory:
        """An empty memory for a volume of so many slices."""
        ...
