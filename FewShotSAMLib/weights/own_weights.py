"""Files of weights trained here: half precision, with the network's configuration beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..data.errors import InputError


def write_weights(network: nn.Module, path: Path, provenance: Mapping[str, str]) -> None:
    """Writes weights with their configuration, whole or not at all.

    Args:
        network: its `config` is a dataclass of plain values.
        path: a .safetensors file.
        provenance: what else the file says of them.
    """
    tensors = {
        name: (t.half() if t.is_floating_point() else t).detach().cpu().contiguous()
        for name, t in network.state_dict().items()
    }
    partial = path.with_name(path.name + ".partial")
    save_file(tensors, partial, {"config": json.dumps(asdict(network.config)), **provenance})
    partial.replace(path)


def read_weights(
    path: Path, what: str
) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, str]]:
    """What `write_weights` wrote.

    Args:
        path: the file.
        what: "an embedded model" and the like, for the message.

    Returns:
        The configuration, the weights by name in float32, and the provenance.

    Raises:
        InputError: damaged, or without a configuration.
    """
    try:
        with safe_open(path, "pt") as file:
            said = dict(file.metadata() or {})
            config = json.loads(said.pop("config", "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as problem:
        raise InputError(f"{path}: not readable as safetensors ({problem})") from None
    if not isinstance(config, dict):
        raise InputError(f"{path}: holds no configuration of {what}")
    state = {n: t.float() if t.is_floating_point() else t for n, t in tensors.items()}
    return config, state, said
