"""Weights from files that others made, without running anything that is in them."""

from __future__ import annotations

import contextlib
import io
import pickletools
import re
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ..data.errors import InputError

State = Mapping[str, Tensor]

_LEVELS = ("model", "state_dict", "model_state_dict")  # where training scripts put the weights
_SHOWN = 3
_LEGACY_PICKLES = 5  # magic number, version, system, content, keys of the storages
_NEEDED_BY_TENSORS = (
    r"collections\.OrderedDict|torch\.\w*Storage|torch\.storage\.\w+|torch\._utils\._rebuild_\w+"
    r"|torch\.Size|torch\.Tensor|torch\.nn\.parameter\.Parameter"
)


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The weights in a checkpoint, on the CPU.

    `.safetensors` files hold nothing but tensors. Others are PyTorch's pickles, read with
    `weights_only=True`: one that would run code, or that holds objects other than tensors and
    plain values, is refused. A "model" or "state_dict" level around the weights is taken off.

    Raises:
        InputError: missing, damaged, not weights, or refused.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file of weights")
    read = _read_safetensors if path.suffix == ".safetensors" else _read_pickle
    content = _unwrapped(read(path))
    if not isinstance(content, Mapping) or not content:
        raise InputError(f"{path}: holds no weights (a {type(content).__name__} is in it)")
    others = [name for name, value in content.items() if not isinstance(value, Tensor)]
    if others:
        raise InputError(f"{path}: holds no state dict; these are no tensors: {_first(others)}")
    check_finite(content, path)
    return dict(content)


def _unwrapped(content: object) -> object:
    for level in _LEVELS:
        if isinstance(content, Mapping) and isinstance(content.get(level), Mapping):
            return content[level]
    return content


def load_into(module: nn.Module, state: Mapping[str, Tensor], *, source: str) -> None:
    """Puts weights into a network; all of them must fit, or nothing is changed.

    Args:
        module: the network.
        state: its weights by name.
        source: file or model name, for the message.

    Raises:
        InputError: names the keys that are missing or not expected and the shapes that differ.
    """
    check_fit(module, state, source=source)
    try:
        module.load_state_dict(dict(state))
    except RuntimeError as problem:
        raise InputError(f"{source}: {' '.join(str(problem).split())}") from None


def check_fit(module: nn.Module, state: State, *, source: str) -> None:
    """Refuse weights of another network; one on the "meta" device will do.

    Raises:
        InputError: names the keys that are missing or not expected and the shapes that differ.
    """
    own = module.state_dict()
    if wrong := _differences(own, state):
        raise InputError(
            f"{source}: holds the weights of another network than {type(module).__name__}: "
            f"of its {len(own)} tensors {'; '.join(wrong)}"
        )


def check_finite(state: State, path: Path) -> None:
    """Refuse weights that are not numbers, and tensors that claim more than is stored of them.

    Raises:
        InputError: names the first tensor.
    """
    for name, tensor in state.items():
        if tensor.layout != torch.strided or tensor.device.type == "meta" or (
            tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size()
        ):
            raise InputError(f"{path}: its tensor {name} is not stored whole; get it again")
        if not (tensor.is_floating_point() and tensor.numel()):
            continue
        # Of a thousand million numbers, without a copy.
        if not all(torch.isfinite(end) for end in tensor.aminmax()):
            raise InputError(
                f"{path}: its tensor {name} holds values that are not numbers; get it again"
            )


def _differences(own: State, state: State) -> list[str]:
    """What of a state does not fit a network's own, in words; nothing where all of it does."""
    differences = {
        "missing": [key for key in own if key not in state],
        "not expected": [key for key in state if key not in own],
        "of another shape": [
            f"{key} is {_shape(state[key])}, not {_shape(value)}"
            for key, value in own.items()
            if key in state and _shape(state[key]) != _shape(value)
        ],
    }
    return [
        f"{len(found)} {what} ({_first(found)})" for what, found in differences.items() if found
    ]


def load_state(
    network: nn.Module,
    state: State | Path | None,
    *,
    name: str,
    convert: Callable[[State], State] = dict,
) -> None:
    """Puts weights into a network that was just built.

    Args:
        network: the network.
        state: its weights by name, or their file; None leaves those that it has.
        name: what it is called, for the message; a file is named by its path.
        convert: from the weights as they are given to the network's own names.

    Raises:
        InputError: as `read_checkpoint` and `load_into`.
    """
    if state is None:
        return
    source = name
    if isinstance(state, Path):
        source, state = str(state), read_checkpoint(state)
    load_into(network, convert(state), source=source)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as problem:
        raise InputError(
            f"{path}: not readable as safetensors ({_line(problem)}); get it again"
        ) from None


def _read_pickle(path: Path) -> object:
    # Older PyTorch runs code from its first, tar-based format in spite of weights_only
    # (CVE-2025-32434); newer ones refuse the format, and so it is refused here.
    if tarfile.is_tarfile(path):
        raise InputError(f"{path}: refused, PyTorch's tar format of 2017 cannot be opened safely")
    # Mapped into memory, a large file is not in it twice while the network is filled.
    mapped = zipfile.is_zipfile(path)
    if mapped:
        _check_not_packed(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch thinks of the file is said below
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except OSError as problem:
        raise InputError(f"{path}: cannot be read ({problem.strerror or problem})") from None
    except Exception as problem:  # damaged pickles fail in every way there is
        raise _refusal(path, problem) from None


def _check_not_packed(path: Path) -> None:
    """Refuse an archive that would unpack to more than its own length, which PyTorch's never do.

    Raises:
        InputError: that, or it is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(part.file_size for part in archive.infolist())
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as problem:
        raise InputError(f"{path}: is damaged ({_line(problem)}); get it again") from None
    if unpacked > path.stat().st_size:
        raise InputError(
            f"{path}: refused, it would unpack to {unpacked / 1e9:.1f} GB, which PyTorch's files "
            "never do; get it again"
        )


def _refusal(path: Path, problem: Exception) -> InputError:
    foreign = _foreign_names(path)
    if foreign:
        return InputError(
            f"{path}: refused, because it is not only weights: it asks for Python's "
            f"{_first(foreign)}, which could run any code; use a copy that holds tensors only "
            "(a state dict or safetensors)"
        )
    return InputError(
        f"{path}: not readable as PyTorch weights ({_line(problem)}); "
        "it is damaged or another kind of file, get it again"
    )


def _foreign_names(path: Path) -> list[str]:
    """What the pickles of a file would import beyond what tensors need. Nothing is executed."""
    found: dict[str, None] = {}
    strings: list[str] = []
    with contextlib.suppress(Exception):  # the file may be anything; what was found counts
        for stream in _pickles(path):
            for operation, argument, _ in pickletools.genops(stream):
                if operation.name in ("GLOBAL", "INST"):
                    found[str(argument).replace(" ", ".")] = None
                elif operation.name == "STACK_GLOBAL":
                    found[".".join(strings[-2:])] = None
                elif isinstance(argument, str):
                    strings.append(argument)
    return [name for name in found if not re.fullmatch(_NEEDED_BY_TENSORS, name)]


def _pickles(path: Path) -> Iterator[BinaryIO]:
    """The pickles of a PyTorch file: one in a zip archive, or several after each other."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith(".pkl"):
                    yield io.BytesIO(archive.read(name))
        return
    with path.open("rb") as stream:
        for _ in range(_LEGACY_PICKLES):
            yield stream


def _line(problem: Exception) -> str:
    """The first sentence of an error; PyTorch's go on with advice for programmers."""
    text = " ".join(str(problem).split()) or type(problem).__name__
    return re.split(r"\. |\. ?$", text, maxsplit=1)[0][:160]


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)


def _first(names: Sequence[object]) -> str:
    shown = ", ".join(map(str, names[:_SHOWN]))
    more = len(names) - _SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
