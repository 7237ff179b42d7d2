"""Small SAM, SAM 2 and DINOv2 networks with random weights, each through its own package, and the
widths of a small embedded network."""

from __future__ import annotations

from functools import partial
from importlib import resources
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from FewShotSAMLib.models.batched_network import BatchedNetwork
from FewShotSAMLib.models.dinov2 import DINOV2_MODELS, Dinov2Features, convert_state
from FewShotSAMLib.models.embedded_network import EmbeddedConfig
from FewShotSAMLib.models.interfaces import ModelCard
from FewShotSAMLib.models.sam import SamModel
from FewShotSAMLib.models.sam2 import SAM2_MODELS, Sam2Model
from FewShotSAMLib.weights.checkpoints import load_into

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base
    from segment_anything.modeling import Sam
    from timm.models.vision_transformer import VisionTransformer

# Of DINOv2; cells a side.
WIDTH, DEPTH, HEADS, GRID = 32, 3, 4, 4

TINY_EMBEDDED = EmbeddedConfig(
    stem=8, levels=(8, 8, 16, 16), pyramid=(8, 16, 16), position=8, matching=8, decoder=16
)


def on_cpu(
    kind: type[BatchedNetwork], network: torch.nn.Module, *, precision: str = "fp32"
) -> BatchedNetwork:
    """A network as the library uses it."""
    return kind(network, ModelCard("test"), torch.device("cpu"), precision)


sam_model = partial(on_cpu, SamModel)
sam2_model = partial(on_cpu, Sam2Model)
dinov2_features = partial(on_cpu, Dinov2Features)


def shake(network: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Random weights everywhere, also where the package starts from zeros, and tame enough that
    rounding stays small through many layers."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in sorted(network.named_parameters()):
            wide = p.ndim > 1 and "embed" not in name and "token" not in name
            scale = 0.65 / p[0].numel() ** 0.5 if wide else 0.15
            p.add_(torch.randn(p.shape, generator=generator) * scale)
    return network.eval()


def small_sam(size: int = 128, width: int = 64) -> Sam:
    """Of `segment_anything`, two blocks deep."""
    from segment_anything.modeling import (
        ImageEncoderViT,
        MaskDecoder,
        PromptEncoder,
        Sam,
        TwoWayTransformer,
    )

    grid = size // 16
    torch.manual_seed(0)
    return shake(
        Sam(
            ImageEncoderViT(
                img_size=size, embed_dim=48, depth=2, num_heads=3, out_chans=width,
                norm_layer=partial(torch.nn.LayerNorm, eps=1e-6), qkv_bias=True,
                use_rel_pos=True, window_size=3, global_attn_indexes=(1,),
            ),
            PromptEncoder(width, (grid, grid), (size, size), 16),
            MaskDecoder(
                transformer_dim=width,
                transformer=TwoWayTransformer(2, width, 8, 128),
            ),
        )
    )


def small_sam2(size: int = 128, **options: object) -> SAM2Base:
    """The tiny configuration, made smaller still; `options` of the package's class, `_target_`
    among them."""
    import sam2
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    text = resources.files(sam2).joinpath(SAM2_MODELS["sam2.1-tiny"]).read_text(encoding="utf-8")
    config = OmegaConf.create(text).model
    config.image_size = size
    config.image_encoder.trunk.embed_dim = 16
    config.image_encoder.trunk.stages = [1, 1, 2, 1]
    config.image_encoder.trunk.global_att_blocks = [3]
    config.image_encoder.neck.d_model = 64
    config.image_encoder.neck.position_encoding.num_pos_feats = 64
    config.image_encoder.neck.backbone_channel_list = [128, 64, 32, 16]
    attention, encoder = config.memory_attention, config.memory_encoder
    attention.d_model = attention.layer.d_model = 64
    attention.layer.dim_feedforward = 128
    for part in (attention.layer.self_attention, attention.layer.cross_attention):
        part.embedding_dim = 64
    attention.layer.cross_attention.kv_in_dim = encoder.out_dim = 32
    encoder.position_encoding.num_pos_feats = 32
    encoder.in_dim = encoder.mask_downsampler.embed_dim = encoder.fuser.layer.dim = 64
    torch.manual_seed(0)
    return shake(instantiate(config, _recursive_=True, **options))


def meta_state(*, registers: bool = False, swiglu: bool = False, grid: int = GRID) -> dict:
    """A small checkpoint in the key layout of Meta's files."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int, scale: float = 0.3) -> Tensor:
        return torch.randn(*shape, generator=generator) * scale

    state = {
        "cls_token": random(1, 1, WIDTH),
        "pos_embed": random(1, 1 + grid * grid, WIDTH),
        "mask_token": random(1, WIDTH),
        "patch_embed.proj.weight": random(WIDTH, 3, 14, 14, scale=0.05),
        "patch_embed.proj.bias": random(WIDTH),
    }
    if registers:
        state["register_tokens"] = random(1, 4, WIDTH)
    hidden = 2 * ((int(4 * WIDTH * 2 / 3) + 7) // 8 * 8) // 2 if swiglu else 4 * WIDTH
    for n in range(DEPTH):
        b = f"blocks.{n}."
        inner = ("mlp.w12", 2 * hidden, "mlp.w3") if swiglu else ("mlp.fc1", hidden, "mlp.fc2")
        state |= {
            b + "norm1.weight": 1 + random(WIDTH), b + "norm1.bias": random(WIDTH),
            b + "attn.qkv.weight": random(3 * WIDTH, WIDTH), b + "attn.qkv.bias": random(3 * WIDTH),
            b + "attn.proj.weight": random(WIDTH, WIDTH), b + "attn.proj.bias": random(WIDTH),
            b + "ls1.gamma": random(WIDTH),
            b + "norm2.weight": 1 + random(WIDTH), b + "norm2.bias": random(WIDTH),
            f"{b}{inner[0]}.weight": random(inner[1], WIDTH),
            f"{b}{inner[0]}.bias": random(inner[1]),
            f"{b}{inner[2]}.weight": random(WIDTH, hidden), f"{b}{inner[2]}.bias": random(WIDTH),
            b + "ls2.gamma": random(WIDTH),
        }
    return state | {"norm.weight": 1 + random(WIDTH), "norm.bias": random(WIDTH)}


def small_dinov2(name: str, state: dict, grid: int = GRID) -> VisionTransformer:
    """That of `meta_state`, on `grid` x `grid` cells."""
    import timm

    options = {"embed_dim": WIDTH, "depth": DEPTH, "num_heads": HEADS, "img_size": 14 * grid}
    if "giant" in name:
        options["mlp_ratio"] = state["blocks.0.mlp.w12.weight"].shape[0] / WIDTH
    network = timm.create_model(DINOV2_MODELS[name], num_classes=0, **options)
    load_into(network, convert_state(network, state), source="test")
    return network
