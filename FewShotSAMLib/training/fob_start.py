"""The weights that a FoB run begins with: another FoB, or a backbone trained on something else."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from ..data.errors import InputError
from ..models.fob import read_fob
from ..models.fob_network import FobNetwork
from ..weights.checkpoints import load_into, read_checkpoint

_REFINEMENT = "refine."
_UNUSED = ("classifier.", "aux_classifier.")  # of torchvision's segmentation networks


def start_from(network: FobNetwork, path: Path) -> str:
    """Puts initial weights into a network.

    Args:
        network: to be trained.
        path: what `save_fob` wrote, a published FoB checkpoint, or a state dict of torchvision's
            resnet101 (with or without its last layer; of its DeepLab and FCN the backbone).

    Returns:
        What was taken over, for the user.

    Raises:
        InputError: unreadable, or the weights of another network.
    """
    state = read_checkpoint(path)
    if "masked_attention.learnable_pos" in state:
        return _from_fob(network, path)
    return _from_backbone(network, path, state)


def _from_fob(network: FobNetwork, path: Path) -> str:
    theirs, own = read_fob(path)[0].state_dict(), network.state_dict()
    # Variants differ in having a refinement: it begins anew where the other has none.
    both = any(n in theirs for n in own if n.startswith(_REFINEMENT))
    if not both:
        theirs |= {n: t for n, t in own.items() if n.startswith(_REFINEMENT)}
        theirs = {n: t for n, t in theirs.items() if n in own or not n.startswith(_REFINEMENT)}
    load_into(network, theirs, source=str(path))
    return "all weights" if both else "all weights but the refinement's"


def _from_backbone(network: FobNetwork, path: Path, state: dict[str, Tensor]) -> str:
    state = {
        name.removeprefix("backbone."): tensor
        for name, tensor in state.items() if not name.startswith(_UNUSED)
    }
    if "layer4.2.conv3.weight" not in state:
        raise InputError(
            f"{path}: is neither a FoB nor a resnet101 of torchvision; give one of these"
        )
    if network.config.backbone != "resnet101":
        raise InputError(
            f"{path}: is a resnet101, which only '--backbone resnet101' can begin with"
        )
    own = network.encoder.backbone.state_dict()
    added = {n: t for n, t in own.items() if n.startswith("fc.") and n not in state}
    load_into(network.encoder.backbone, state | added, source=str(path))
    return "the backbone's weights"
