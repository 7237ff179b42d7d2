"""The embedded model behind the two interfaces, and its weights on disk."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.errors import InputError
from ..weights.own_weights import build_to_fit, read_weights, write_weights
from ..weights.resources import models_folder, sha256_of
from .batched_network import MOST_SLICES
from .embedded_network import EmbeddedConfig, EmbeddedNetwork, Pyramid
from .interfaces import Embeddings, ModelCard, PromptBatch
from .precision import autocast, choose_precision

WEIGHTS = "embedded.safetensors"
INPUT_SIZE = 256
_AT_ONCE = 16  # prompts decoded together: more do not run faster on a CPU and cost memory
# On a CPU pictures are encoded two by two, and what stands alone goes with itself: alone it would
# be shared out between two threads in another way than by one, with other last digits.
_PAIR = 2
_AIR, _MEDIAN = 0.05, 0.5  # grey levels: what is darker is air; of the rest, in generated pictures
_LEAST_POWER, _ENOUGH = 0.4, 0.01  # of the pixels: fewer have no median to speak of
_WIDER = 0.75  # logits; chosen on the abdominal MR 1, 2, 3 and 5


class EmbeddedModel:
    """The embedded network as a promptable model.

    Args:
        network: with trained weights.
        card: what reports say of it.
        device: where it computes.
        input_size: pixels a side of its square input, a multiple of 32.
        precision: one of `precision.PRECISIONS`.
    """

    uses_confidence = True
    judges_presence = True

    def __init__(
        self,
        network: EmbeddedNetwork,
        card: ModelCard,
        device: torch.device,
        input_size: int = INPUT_SIZE,
        precision: str = "auto",
    ) -> None:
        self.card = card
        self.dtype = choose_precision(device, precision)
        self.slices_at_once = _PAIR if device.type == "cpu" else MOST_SLICES
        self.input_size = input_size
        self.device = device
        self.network = network.eval().requires_grad_(False).to(
            device, memory_format=torch.channels_last
        )

    @torch.inference_mode()
    def embed(self, images: Tensor) -> Embeddings:
        """(N, 3, S, S) in [0, 1] -> embeddings; `features` are the position features (N, C, S/4,
        S/4), the last of `extra` the matching features."""
        if images.device.type != "cpu":
            return self._embed(images)
        parts = []
        for pair in images.split(_PAIR):
            both = self._embed(pair.repeat(_PAIR, 1, 1, 1) if len(pair) < _PAIR else pair)
            parts.append(both.select(slice(0, len(pair))))
        return parts[0] if len(parts) == 1 else Embeddings.concatenate(parts)

    def _embed(self, images: Tensor) -> Embeddings:
        grey = brightened(images.mean(1, keepdim=True))
        with autocast(self.device, self.dtype):
            p = self.network.encoder(grey.contiguous(memory_format=torch.channels_last))
        return Embeddings(p.position.float(), (p.fine, p.p4, p.p8, p.p16, p.matching.float()))

    @torch.inference_mode()
    def decode(
        self, embeddings: Embeddings, picture: Tensor, prompts: PromptBatch
    ) -> tuple[Tensor, Tensor]:
        """One mask a prompt: logits (B, 1, S/2, S/2) and quality (B, 1), which is the expected
        overlap times the chance that the structure is there at all.

        Where there are no mask prompts the first answer is one for the second, which is returned.
        From points alone the network draws a little inside of the structures of real scans: both
        are widened.
        """
        logits, quality = self._decode(embeddings, picture, prompts)
        if prompts.masks is not None or not len(prompts):
            return logits, quality
        first = F.interpolate(logits + _WIDER, scale_factor=0.5, mode="area")
        logits, quality = self._decode(embeddings, picture, replace(prompts, masks=first))
        return logits + _WIDER, quality

    def _decode(
        self, embeddings: Embeddings, picture: Tensor, prompts: PromptBatch
    ) -> tuple[Tensor, Tensor]:
        fine, p4, p8, p16, matching = embeddings.extra
        logits, quality = [], []
        for start in range(0, len(prompts), _AT_ONCE):
            rows = torch.arange(start, min(start + _AT_ONCE, len(prompts)), device=picture.device)
            count = len(rows)
            if count == 1 and picture.device.type == "cpu":
                rows = rows.repeat(_PAIR)
            pyramid = Pyramid(fine, p4, p8, p16, embeddings.features, matching).select(
                picture[rows]
            )
            with autocast(self.device, self.dtype):
                one, judgements = self.network.decode(pyramid, prompts.select(rows))
            logits.append(one[:count])
            quality.append(judgements[:count].sigmoid().prod(1, keepdim=True))
        if not logits:
            side = self.input_size // 2
            return matching.new_zeros(0, 1, side, side), matching.new_zeros(0, 1)
        return torch.cat(logits), torch.cat(quality)


def brightened(grey: Tensor) -> Tensor:
    """Pictures (N, 1, S, S) in [0, 1] as bright as those that the network has learnt from.

    These show half of what is not air brighter than half of the range. Scans are darker: some fat
    and vessels take the upper half of it. Each is raised to the power that makes their medians
    equal, never to one above 1.
    """
    few = grey[..., ::2, ::2].flatten(1)
    seen = few.where(few > _AIR, torch.nan)
    median = seen.nanmedian(1).values.clamp(_AIR, _MEDIAN)
    power = (math.log(_MEDIAN) / median.log()).clamp(min=_LEAST_POWER)
    enough = (few > _AIR).sum(1) > _ENOUGH * few.shape[1]
    return grey ** torch.where(enough, power, torch.ones_like(power)).view(-1, 1, 1, 1)


class EmbeddedFeatures:
    """The embedded network's matching head as a feature encoder.

    It reads what the promptable model has computed already: `of_embeddings` costs nothing.
    """

    def __init__(self, model: EmbeddedModel) -> None:
        self.model = model
        self.card = model.card
        self.input_size = model.input_size

    def of_embeddings(self, embeddings: Embeddings) -> Tensor:
        """The matching features (N, C, S/4, S/4) of pictures that the model has embedded."""
        return embeddings.extra[-1]

    def encode(self, images: Tensor) -> Tensor:
        """(N, 3, S, S) in [0, 1] -> (N, C, S/4, S/4)."""
        return self.of_embeddings(self.model.embed(images))


def save_network(network: EmbeddedNetwork, path: Path, provenance: dict[str, str]) -> None:
    """Writes weights in half precision with their configuration, whole or not at all."""
    write_weights(network, path, provenance)


def read_network(path: Path) -> EmbeddedNetwork:
    """The network in a file that `save_network` wrote.

    Raises:
        InputError: missing, damaged, or not this network's weights.
    """
    if not path.is_file():
        raise InputError(f"{path}: the embedded model's weights are missing; install again")
    config, tensors, _ = read_weights(path, "an embedded model")
    network = build_to_fit(lambda: _built(config, path), tensors, path)
    network.load_state_dict(tensors)
    return network


def _built(config: dict[str, Any], path: Path) -> EmbeddedNetwork:
    try:
        return EmbeddedNetwork(
            EmbeddedConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in config.items()})
        )
    except (TypeError, ValueError, RuntimeError) as problem:  # PyTorch's, for impossible sizes
        reason = str(problem).strip().splitlines()[0]
        raise InputError(f"{path}: its configuration is of another version ({reason})") from None


def load_embedded(
    device: torch.device, path: Path | None = None, *, precision: str = "auto"
) -> tuple[EmbeddedModel, EmbeddedFeatures]:
    """The embedded model from the shipped weights, or from `path`.

    Raises:
        InputError: as `read_network`.
    """
    path = path or models_folder() / WEIGHTS
    network = read_network(path)
    card = ModelCard("embedded", path.name, sha256_of(path), "Apache-2.0")
    model = EmbeddedModel(network, card, device, precision=precision)
    return model, EmbeddedFeatures(model)
