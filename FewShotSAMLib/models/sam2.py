"""SAM 2.1 (tiny, small, base+, large) through the `sam2` package, as a model of single pictures
and, by its memory, of a volume's slices."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from ..data.errors import InputError
from ..weights.checkpoints import State, load_state
from ..weights.packages import SAM2, missing_package
from .batched_network import PromptedNetwork, normalise, take
from .interfaces import Embeddings, PromptBatch
from .precision import autocast
from .sam2_memory import Sam2Memory
from .sam_decoder import decode_masks, embed_masks, embed_points

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

# The package's own configuration of each architecture.
SAM2_MODELS: Mapping[str, str] = {
    "sam2.1-tiny": "configs/sam2.1/sam2.1_hiera_t.yaml",
    "sam2.1-small": "configs/sam2.1/sam2.1_hiera_s.yaml",
    "sam2.1-base-plus": "configs/sam2.1/sam2.1_hiera_b+.yaml",
    "sam2.1-large": "configs/sam2.1/sam2.1_hiera_l.yaml",
}

# ImageNet's statistics of [0, 1] pictures, as in the package's SAM2Transforms.
_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)
_LARGEST_LOGIT = 32.0  # what SAM2ImagePredictor cuts logits to before they are a prompt again


def build_sam2(name: str, state: State | Path | None = None) -> SAM2Base:
    """A SAM 2.1 network on the CPU.

    The package's configuration is read and instantiated directly: its `build_sam2` does the same
    through Hydra's global state, which belongs to the program that uses this library.

    Args:
        name: one of `SAM2_MODELS`.
        state: Meta's checkpoint, as a state dict (with or without its "model" level) or its file;
            None leaves random weights.

    Raises:
        InputError: unknown name, package missing or too old, or weights of another architecture.
    """
    if name not in SAM2_MODELS:
        raise InputError(f"model {name!r}: unknown; use one of {', '.join(SAM2_MODELS)}")
    network = _instance(name)
    load_state(network, state, name=name, convert=lambda loaded: loaded.get("model", loaded))
    return network


def _instance(name: str) -> SAM2Base:
    try:
        import sam2
        from hydra.errors import InstantiationException
        from hydra.utils import instantiate
        from omegaconf import OmegaConf
    except ImportError as problem:
        raise missing_package(f"model {name!r}", problem, "sam2") from None
    file = resources.files(sam2).joinpath(SAM2_MODELS[name])
    if not file.is_file():
        raise InputError(f"model {name!r} needs a newer package of sam2; run: {SAM2} --upgrade")
    config = OmegaConf.create(file.read_text(encoding="utf-8"))
    try:
        return instantiate(config.model, _recursive_=True)
    except InstantiationException as problem:
        # Hydra imports the parts of the network, and with them what they need in turn.
        if isinstance(problem.__cause__, ImportError):
            raise missing_package(f"model {name!r}", problem, "sam2") from None
        raise


class Sam2Model(PromptedNetwork):
    """A SAM 2.1 network as a promptable model.

    Pictures are (N, 3, S, S) in [0, 1], S = 1024 for the published networks. `features` are the
    FPN's level of stride 16, (N, 256, S/16, S/16), without the `no_mem_embed` that the decoder
    wants (it is added there); `extra` are the levels of stride 4 and 8 as the decoder takes them,
    in the precision they were computed in. Masks come as three logits maps (B, 3, S/4, S/4). In
    float32 they equal what `SAM2ImagePredictor` gives prompt by prompt; its low-resolution masks
    are cut to [-32, 32], these are not, but mask prompts are.

    Args:
        network: from `build_sam2`, or any `SAM2Base` with high-resolution features.
        card: what reports say of it.
        device: where it computes.
        precision: one of `precision.PRECISIONS`.
        memory: what to do when memory runs out.
    """

    network: SAM2Base

    @staticmethod
    def side_of(network: SAM2Base) -> int:
        """Pixels a side of the network's input."""
        return network.image_size

    def slice_memory(self, slices: int) -> Sam2Memory:
        """An empty memory for a volume of so many slices."""
        return Sam2Memory(self.network, self._runner, self.dtype, slices)

    def _encode(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        pictures = normalise(images, _MEAN, _DEVIATION)
        with autocast(self.device, self.dtype):
            levels = self.network.forward_image(pictures)["backbone_fpn"]
        stride4, stride8, stride16 = levels[-3:]
        return stride16.float(), stride4, stride8

    def _decode(
        self, embeddings: Embeddings, which: Tensor, prompts: PromptBatch
    ) -> tuple[Tensor, Tensor]:
        encoder = self.network.sam_prompt_encoder
        # Coordinates stay in float32: half precision cannot tell neighbouring pixels apart.
        points = embed_points(encoder, prompts, pad_boxes=True)
        masks = prompts.masks
        if masks is not None:
            masks = masks.clamp(-_LARGEST_LOGIT, _LARGEST_LOGIT)
        pictures = take(embeddings.features, which) + embed_masks(encoder, masks)
        if self.network.directly_add_no_mem_embed:
            pictures = pictures + self.network.no_mem_embed.reshape(1, -1, 1, 1)
        stride4, stride8 = (take(level, which) for level in embeddings.extra)
        with autocast(self.device, self.dtype):
            logits, quality = decode_masks(
                self.network.sam_mask_decoder,
                pictures,
                encoder.get_dense_pe(),
                points,
                (stride4, stride8),
            )
        return logits.float(), quality.float()
