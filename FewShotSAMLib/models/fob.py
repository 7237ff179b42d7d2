"""FoB's networks behind one interface, and their weights on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..data.errors import InputError
from ..weights.checkpoints import load_into, read_checkpoint
from ..weights.own_weights import build_to_fit, read_weights, write_weights
from ..weights.resources import sha256_of
from .embedded import EmbeddedModel
from .embedded_network import EmbeddedConfig, Pyramid
from .fob_config import FobConfig, published_config
from .fob_network import FobNetwork
from .interfaces import Embeddings, ModelCard
from .precision import autocast, choose_precision


def embedded_config(backbone: EmbeddedConfig | None = None, **changes: object) -> FobConfig:
    """The small FoB on the embedded model's pyramid."""
    e = backbone or EmbeddedConfig()
    known = {
        "backbone": "embedded", "channels": 96, "refinement": "none", "framing": "body",
        "key_stride": 4, "neck": 3,
        "pyramid": (*e.pyramid, e.position, e.matching),
    }
    return FobConfig(**(known | changes))


def pyramid_maps(pyramid: Pyramid) -> Tensor:
    """The maps that the small FoB reads, side by side: (N, sum of channels, S/4, S/4)."""
    size = pyramid.p4.shape[-2:]
    wide = [
        F.interpolate(m, size=size, mode="bilinear", align_corners=False)
        for m in (pyramid.p8, pyramid.p16)
    ]
    unit = [F.normalize(m.float(), dim=1).to(pyramid.p4.dtype) * m.shape[1] ** 0.5
            for m in (pyramid.position, pyramid.matching)]
    return torch.cat([pyramid.p4, *wide, *unit], 1)


class FobModel:
    """A FoB network on a device, ready to encode.

    Args:
        network: with trained weights; it is this model's from now on, and no longer to be saved
            or trained.
        card: what reports say of it.
        device: where it computes.
        backbone: the embedded model, which a network with that backbone reads through.
        precision: one of `precision.PRECISIONS`, of the encoder and of what takes most of the
            time after it.
    """

    def __init__(
        self,
        network: FobNetwork,
        card: ModelCard,
        device: torch.device,
        backbone: EmbeddedModel | None = None,
        precision: str = "auto",
    ) -> None:
        if network.config.backbone == "embedded" and backbone is None:
            raise ValueError("this FoB reads the embedded model's features and needs it")
        self.network = network.eval().requires_grad_(False).to(device)
        self.config, self.card, self.device = network.config, card, device
        self.backbone = backbone
        self.dtype = choose_precision(device, precision)
        if network.config.backbone == "resnet101":
            _join_norms(self.network.encoder)
        self.network.encoder.to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features (N, C, h, w) and thresholds (N, 1) of pictures.

        Args:
            images: (N, 3, S, S); z-scored by the volume for "resnet101", in [0, 1] for "embedded".
        """
        if self.backbone is not None:
            return self.of_embeddings(self.backbone.embed(images))
        with autocast(self.device, self.dtype):
            features, threshold = self.network.encoder(
                images.to(self.device).contiguous(memory_format=torch.channels_last)
            )
        return features.float(), threshold.float()

    @torch.inference_mode()
    def of_embeddings(self, embeddings: Embeddings) -> tuple[Tensor, Tensor]:
        """The same from what the embedded model has computed already."""
        fine, p4, p8, p16, matching = embeddings.extra
        maps = pyramid_maps(Pyramid(fine, p4, p8, p16, embeddings.features, matching))
        with autocast(self.device, self.dtype):
            features, threshold = self.network.encoder(
                maps.contiguous(memory_format=torch.channels_last)
            )
        return features.float(), threshold.float()


def _join_norms(module: nn.Module) -> None:
    """Makes each convolution of a ResNet and the fixed normalisation after it one convolution,
    an eighth of the time of the encoder."""
    for child in module.children():
        _join_norms(child)
    names = list(module._modules)
    for first, second in zip(names, names[1:], strict=False):
        norm = module._modules[second]
        if isinstance(norm, nn.BatchNorm2d):
            module._modules[first] = fuse_conv_bn_eval(module._modules[first], norm)
            module._modules[second] = nn.Identity()


def save_fob(network: FobNetwork, path: Path, provenance: dict[str, str]) -> None:
    """Writes weights in half precision with their configuration, whole or not at all."""
    write_weights(network, path, provenance)


def read_fob(path: Path, modality: str = "any") -> tuple[FobNetwork, dict[str, str]]:
    """The network in a file: one that `save_fob` wrote, or a published checkpoint (.pth, .pt).

    Args:
        path: the file.
        modality: what a published checkpoint was trained on; it does not say itself.

    Returns:
        The network, and what its file says of it ({} for a published checkpoint).

    Raises:
        InputError: missing, damaged, or not FoB's weights.
    """
    if path.suffix == ".safetensors":
        return _read_own(path)
    network = FobNetwork(published_config(modality))
    load_into(network, read_checkpoint(path), source=str(path))
    return network, {}


def _read_own(path: Path) -> tuple[FobNetwork, dict[str, str]]:
    if not path.is_file():
        raise InputError(f"{path}: FoB's weights are missing")
    config, state, said = read_weights(path, "a FoB network")
    try:
        sizes = FobConfig(**(config | {"pyramid": tuple(config.get("pyramid", ()))}))
        network = build_to_fit(lambda: FobNetwork(sizes), state, path)
    except InputError:
        raise
    except (TypeError, ValueError, RuntimeError) as problem:  # PyTorch's, for impossible sizes
        reason = str(problem).strip().splitlines()[0]
        raise InputError(f"{path}: its configuration is of another version ({reason})") from None
    load_into(network, state, source=str(path))
    return network, said


def load_fob(
    path: Path,
    device: torch.device,
    *,
    name: str = "",
    modality: str = "any",
    licence: str = "",
    backbone: Callable[[], EmbeddedModel] | None = None,
    precision: str = "auto",
) -> FobModel:
    """A FoB from a file, ready to encode.

    Args:
        path, modality: as `read_fob`.
        name, licence: for reports.
        backbone: gives the embedded model, for weights that read its features.

    Raises:
        InputError: as `read_fob`, or the weights were trained on another embedded model.
    """
    network, said = read_fob(path, modality)
    model = None
    if network.config.backbone == "embedded":
        model = _backbone(path, backbone, said.get("backbone_sha256", ""))
    licence = licence or said.get("licence", "")
    card = ModelCard(name or path.stem, path.name, sha256_of(path), licence)
    return FobModel(network, card, device, model, precision)


def _backbone(
    path: Path, backbone: Callable[[], EmbeddedModel] | None, wanted: str
) -> EmbeddedModel:
    """The embedded model that the weights in a file learnt to read; `wanted` is its SHA-256."""
    if backbone is None:
        raise InputError(f"{path}: reads the embedded model's features, which were not loaded")
    model = backbone()
    if wanted and wanted != model.card.sha256:
        raise InputError(
            f"{path}: was trained on another embedded model (SHA-256 {wanted[:12]}...) than "
            f"the one here ({model.card.sha256[:12]}...); train it again"
        )
    return model


