"""DINOv2 (small, base, large, giant; with and without registers) through `timm`.

Its 14-pixel patches make 64 x 64 tokens of 896 x 896 pixels: the grid of SAM's own features.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..data.errors import InputError
from ..weights.checkpoints import State, load_state
from ..weights.packages import missing_package
from .batched_network import BatchedNetwork, normalise
from .precision import autocast

if TYPE_CHECKING:
    from timm.models.vision_transformer import VisionTransformer

INPUT_SIZE = 896

# timm's own name of each architecture. SINDER (ECCV 2024) is the giant without registers, with
# repaired weights that the user brings.
DINOV2_MODELS: Mapping[str, str] = {
    "dinov2-small": "vit_small_patch14_dinov2.lvd142m",
    "dinov2-base": "vit_base_patch14_dinov2.lvd142m",
    "dinov2-large": "vit_large_patch14_dinov2.lvd142m",
    "dinov2-giant": "vit_giant_patch14_dinov2.lvd142m",
    "dinov2-small-registers": "vit_small_patch14_reg4_dinov2.lvd142m",
    "dinov2-base-registers": "vit_base_patch14_reg4_dinov2.lvd142m",
    "dinov2-large-registers": "vit_large_patch14_reg4_dinov2.lvd142m",
    "dinov2-giant-registers": "vit_giant_patch14_reg4_dinov2.lvd142m",
    "sinder-giant": "vit_giant_patch14_dinov2.lvd142m",
}


def build_dinov2(
    name: str, state: State | Path | None = None, *, input_size: int = INPUT_SIZE
) -> VisionTransformer:
    """A DINOv2 network on the CPU.

    Args:
        name: one of `DINOV2_MODELS`.
        state: Meta's, SINDER's or timm's checkpoint, as a state dict or its file; None leaves
            random weights.
        input_size: pixels a side, a multiple of 14.

    Raises:
        InputError: unknown name, package missing, or weights of another architecture.
    """
    if name not in DINOV2_MODELS:
        raise InputError(f"features {name!r}: unknown; use one of {', '.join(DINOV2_MODELS)}")
    try:
        import timm
    except ImportError as problem:
        raise missing_package(f"features {name!r}", problem, "timm") from None
    network = timm.create_model(
        DINOV2_MODELS[name],
        pretrained=False,
        img_size=input_size,
        num_classes=0,
        weight_init="" if state is None else "skip",  # the giant's takes 15 s
    )
    load_state(
        network, state, name=name, convert=lambda loaded: convert_state(network, loaded)
    )
    return network


def convert_state(network: VisionTransformer, state: State) -> dict[str, Tensor]:
    """A checkpoint in timm's names, its position grid resampled to the network's.

    timm resamples bicubically without Meta's offset of 0.1 cells (networks without registers).
    """
    from timm.models.vision_transformer import checkpoint_filter_fn

    state = dict(state)  # timm takes keys out
    if getattr(network, "reg_token", None) is None:
        state.pop("reg_token", None)  # SINDER's file carries one that nothing uses
    if any(".mlp.w12." in key for key in state):
        # timm knows Meta's layout by this key; a copy may have lost it.
        state.setdefault("mask_token", torch.zeros(1))
    return checkpoint_filter_fn(state, network)


class Dinov2Features(BatchedNetwork):
    """A DINOv2 network as a feature encoder: the final normalised patch tokens as a map.

    Args:
        network: from `build_dinov2`, or any `VisionTransformer` of timm with a fixed input size.
        card: what reports say of it.
        device: where it computes.
        precision: one of `precision.PRECISIONS`.
        memory: what to do when memory runs out.
    """

    network: VisionTransformer

    @staticmethod
    def side_of(network: VisionTransformer) -> int:
        """Pixels a side of the network's input."""
        return network.patch_embed.img_size[0]

    @torch.inference_mode()
    def encode(self, images: Tensor) -> Tensor:
        """(N, 3, S, S) in [0, 1] -> (N, C, S/14, S/14), float32."""
        (features,) = self._encode_all(images)
        return features

    def _encode(self, images: Tensor) -> tuple[Tensor]:
        known = self.network.pretrained_cfg
        pictures = normalise(images, known["mean"], known["std"])
        with autocast(self.device, self.dtype):
            tokens = self.network.forward_features(pictures)
        patches = tokens[:, self.network.num_prefix_tokens :].float()
        return (patches.mT.unflatten(2, self.network.patch_embed.grid_size),)
