"""Which device computes, and why."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..data.errors import InputError

DEVICES = ("auto", "cpu", "cuda", "mps")


@dataclass(frozen=True)
class ChosenDevice:
    """A torch device and one sentence on why it was chosen."""

    device: torch.device
    reason: str


def choose_device(name: str = "auto") -> ChosenDevice:
    """The device of that name; "auto" takes CUDA, then Apple's MPS, then the CPU.

    Args:
        name: "auto", "cpu", "cuda", "cuda:1", "mps".

    Raises:
        InputError: unknown, or not usable on this machine.
    """
    _check_arrays()
    if name == "auto":
        return _best_device()
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"device {name!r}: unknown; use one of {', '.join(DEVICES)}") from None
    if device.type not in DEVICES:
        raise InputError(f"device {name!r}: unknown; use one of {', '.join(DEVICES)}")
    _check_usable(device, name)
    return ChosenDevice(device, "as asked for")


def _best_device() -> ChosenDevice:
    if torch.cuda.is_available():
        return ChosenDevice(torch.device("cuda"), f"GPU {torch.cuda.get_device_name(0)}")
    if torch.backends.mps.is_available():
        return ChosenDevice(torch.device("mps"), "Apple GPU")
    return ChosenDevice(torch.device("cpu"), _why_no_gpu())


def _check_usable(device: torch.device, name: str) -> None:
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise InputError(f"device {name!r}: {_why_no_gpu()}; use --device cpu")
        if (device.index or 0) >= torch.cuda.device_count():
            raise InputError(
                f"device {name!r}: there are {torch.cuda.device_count()} GPUs, counted from 0"
            )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise InputError(f"device {name!r}: no Apple GPU here; use --device cpu")


def _check_arrays() -> None:
    """PyTorch 2.2, the newest on Intel Macs, cannot take arrays of NumPy 2."""
    try:
        torch.zeros(1).numpy()
    except RuntimeError:
        raise InputError(
            f"PyTorch {torch.__version__} cannot read arrays of NumPy {np.__version__}; install "
            "numpy<2, or a newer PyTorch where there is one"
        ) from None


def _why_no_gpu() -> str:
    if torch.version.cuda is None:
        return "this build of torch has no CUDA"
    return f"torch was built for CUDA {torch.version.cuda} but finds no usable GPU"
