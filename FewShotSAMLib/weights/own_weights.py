"""Files of weights trained here: half precision, with the network's configuration beside them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..data.errors import InputError
from ..data.whole_files import atomic_path
from .checkpoints import check_finite, check_fit

Network = TypeVar("Network", bound=nn.Module)

_WIDEST = 4096  # of anything in a configuration
_MOST_LEVELS = 16


def write_weights(network: nn.Module, path: Path, provenance: Mapping[str, str]) -> None:
    """Writes weights with their configuration, whole or not at all.

    Args:
        network: its `config` is a dataclass of plain values.
        path: a .safetensors file.
        provenance: what else the file says of them.

    Raises:
        InputError: it cannot be written there.
    """
    tensors = {
        name: (t.half() if t.is_floating_point() else t).detach().cpu().contiguous()
        for name, t in network.state_dict().items()
    }
    said = {"config": json.dumps(asdict(network.config)), **provenance}
    with atomic_path(path) as temporary:
        try:
            save_file(tensors, temporary, said)
            with safe_open(temporary, "pt") as written:  # compares the length with the header's
                whole = set(written.keys()) == set(tensors)
        except SafetensorError as problem:
            whole, said = False, {"": str(problem)}
        if not whole:
            reason = said.get("") or "it did not arrive whole"
            raise InputError(f"{path}: cannot be written ({reason}; is the disk full?)")


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
    except (SafetensorError, OSError, ValueError, RecursionError) as problem:
        raise InputError(f"{path}: not readable as safetensors ({problem})") from None
    if not isinstance(config, dict) or not all(map(_is_sane, config.values())):
        raise InputError(f"{path}: holds no configuration of {what}")
    check_finite(tensors, path)
    state = {n: t.float() if t.is_floating_point() else t for n, t in tensors.items()}
    return config, state, said


def build_to_fit(
    build: Callable[[], Network], state: Mapping[str, Tensor], path: Path
) -> Network:
    """The network of a file's configuration, made only once its tensors are known to be those in
    the file: a configuration may ask for more than a computer has.

    Raises:
        InputError: they are others.
    """
    with torch.device("meta"):  # shapes without memory
        sketch = build()
    check_fit(sketch, state, source=str(path))
    return build()


def _is_sane(value: object) -> bool:
    """A width, a choice, or a few widths."""
    if isinstance(value, (list, tuple)):
        return len(value) <= _MOST_LEVELS and all(
            not isinstance(part, (list, tuple)) and _is_sane(part) for part in value
        )
    if isinstance(value, (bool, str, type(None))):
        return True
    return isinstance(value, (int, float)) and 0 <= value <= _WIDEST
