"""SAM 1 (ViT-B, L, H) through the `segment_anything` package."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from ..data.errors import InputError
from ..weights.checkpoints import State, load_state
from ..weights.packages import missing_package
from .batched_network import PromptedNetwork, take
from .interfaces import Embeddings, PromptBatch
from .precision import autocast
from .sam_decoder import decode_masks, embed_masks, embed_points

if TYPE_CHECKING:
    from segment_anything.modeling import Sam

# The package's own name of each architecture.
SAM_MODELS: Mapping[str, str] = {
    "sam-vit-b": "vit_b",
    "sam-vit-l": "vit_l",
    "sam-vit-h": "vit_h",
}


def build_sam(name: str, state: State | Path | None = None) -> Sam:
    """A SAM 1 network on the CPU.

    Args:
        name: one of `SAM_MODELS`.
        state: Meta's checkpoint, as a state dict or its file; None leaves random weights.

    Raises:
        InputError: unknown name, package missing, or weights of another architecture.
    """
    if name not in SAM_MODELS:
        raise InputError(f"model {name!r}: unknown; use one of {', '.join(SAM_MODELS)}")
    try:
        from segment_anything import sam_model_registry
    except ImportError as problem:
        raise missing_package(f"model {name!r}", problem, "segment_anything") from None
    network = sam_model_registry[SAM_MODELS[name]]()
    load_state(network, state, name=name)
    return network


class SamModel(PromptedNetwork):
    """A SAM 1 network as a promptable model.

    Pictures are (N, 3, S, S) in [0, 1], S = 1024 for the published networks. `features` are the
    neck's output (N, 256, S/16, S/16); masks come as three logits maps (B, 3, S/4, S/4) in the
    order of the multimask outputs. In float32 both equal what `SamPredictor` gives picture by
    picture and prompt by prompt; `quality` is its predicted IoU, which may leave [0, 1] a little.

    Args:
        network: from `build_sam`, or any `Sam` of the package.
        card: what reports say of it.
        device: where it computes.
        precision: one of `precision.PRECISIONS`.
        memory: what to do when memory runs out.
    """

    network: Sam
    # The package's attention keeps heads x 4096 x 4096 values a slice, several times.
    most_slices = 4

    @staticmethod
    def side_of(network: Sam) -> int:
        """Pixels a side of the network's input."""
        return network.image_encoder.img_size

    def _encode(self, images: Tensor) -> tuple[Tensor]:
        pictures = self.network.preprocess(images * 255)
        with autocast(self.device, self.dtype):
            return (self.network.image_encoder(pictures).float(),)

    def _decode(
        self, embeddings: Embeddings, which: Tensor, prompts: PromptBatch
    ) -> tuple[Tensor, Tensor]:
        encoder = self.network.prompt_encoder
        # Coordinates stay in float32: half precision cannot tell neighbouring pixels apart.
        points = embed_points(encoder, prompts, pad_boxes=False)
        masks = embed_masks(encoder, prompts.masks)
        pictures = take(embeddings.features, which) + masks
        with autocast(self.device, self.dtype):
            logits, quality = decode_masks(
                self.network.mask_decoder, pictures, encoder.get_dense_pe(), points
            )
        return logits.float(), quality.float()
