"""What the foundation networks share: a device, a precision, and batches that fit in memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor, nn

from .interfaces import Embeddings, ModelCard, PromptBatch
from .memory import BatchRunner, MemoryPolicy
from .precision import choose_precision

MOST_SLICES = 8  # of a batch on a GPU


class BatchedNetwork(ABC):
    """A network on a device, which takes as many pictures at a time as memory allows.

    Args:
        network: what the subclass names.
        card: what reports say of it.
        device: where it computes.
        precision: one of `precision.PRECISIONS`.
        memory: what to do when memory runs out.

    Attributes:
        input_size: S, pixels a side of its square input.
        slices_at_once: pictures of a batch, to begin with.
    """

    most_slices = MOST_SLICES

    def __init__(
        self,
        network: nn.Module,
        card: ModelCard,
        device: torch.device,
        precision: str = "auto",
        memory: MemoryPolicy | None = None,
    ) -> None:
        self.card = card
        self.input_size = self.side_of(network)
        self.network, self._precision = network, precision
        self._runner = BatchRunner(network, device, card.name, memory or MemoryPolicy())
        self._begins_on_cpu = device.type == "cpu"
        # On a CPU one slice keeps all cores busy, and its values stay in the caches.
        self.slices_at_once = 1 if self._begins_on_cpu else self.most_slices

    @staticmethod
    @abstractmethod
    def side_of(network: nn.Module) -> int:
        """Pixels a side of the network's input."""

    @property
    def device(self) -> torch.device:
        """Where the network is now."""
        return self._runner.device

    @property
    def dtype(self) -> torch.dtype:
        """Of its products where it is now: a network that left a GPU takes the CPU's."""
        return choose_precision(self.device, self._precision)

    @abstractmethod
    def _encode(self, images: Tensor) -> tuple[Tensor, ...]:
        """Of one batch of pictures, on the network's device."""

    def _encode_all(self, images: Tensor) -> tuple[Tensor, ...]:
        return self._runner.run("slices", self.slices_at_once, self._encode, images)


class PromptedNetwork(BatchedNetwork):
    """A `BatchedNetwork` that answers prompts with three masks each, as those of SAM do."""

    uses_confidence = False
    judges_presence = False

    @cached_property
    def prompts_at_once(self) -> int:
        """Prompts of a batch, to begin with."""
        return 4 if self._begins_on_cpu else 64

    @torch.inference_mode()
    def embed(self, images: Tensor) -> Embeddings:
        """(N, 3, S, S) in [0, 1] -> embeddings."""
        features, *extra = self._encode_all(images)
        return Embeddings(features, tuple(extra))

    @torch.inference_mode()
    def decode(
        self, embeddings: Embeddings, picture: Tensor, prompts: PromptBatch
    ) -> tuple[Tensor, Tensor]:
        """Three masks a prompt: logits (B, 3, S/4, S/4) and predicted IoU (B, 3), float32."""

        def forward(which: Tensor, *rows: Tensor | None) -> tuple[Tensor, Tensor]:
            return self._decode(embeddings, which, PromptBatch(*rows))

        columns = (prompts.points, prompts.labels, prompts.boxes, prompts.masks)
        return self._runner.run("prompts", self.prompts_at_once, forward, picture, *columns)

    @abstractmethod
    def _decode(
        self, embeddings: Embeddings, which: Tensor, prompts: PromptBatch
    ) -> tuple[Tensor, Tensor]:
        """Of one batch of prompts, on the network's device; `which` is the picture of each."""


def take(pictures: Tensor, which: Tensor) -> Tensor:
    """Rows of a tensor, on the device of `which`, wherever the tensor is."""
    return pictures[which.to(pictures.device)].to(which.device)


def normalise(images: Tensor, mean: Sequence[float], deviation: Sequence[float]) -> Tensor:
    """(N, C, S, S), channel by channel."""
    return (images - images.new_tensor(mean)[:, None, None]) / images.new_tensor(
        deviation
    )[:, None, None]
