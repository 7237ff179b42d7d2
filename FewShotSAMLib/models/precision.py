"""Which number format a network computes in: half precision where the device is faster with it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from ..data.errors import InputError
from .half_precision import compared

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
_FORMATS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_CLEARLY_FASTER = 0.9  # of float32's time; a tie goes to the format that rounds less


def choose_precision(
    device: torch.device, asked: str = "auto", *, training: bool = False
) -> torch.dtype:
    """The format for matrix products and convolutions on a device.

    "auto" takes half precision where a small convolution is clearly faster with it, which is
    measured once a machine (`half_precision`), and float32 elsewhere. Cards with TF32 have bfloat16
    too, which is faster still; where float32 is asked for, TF32 stays as PyTorch has it.

    Args:
        device: where the network computes.
        asked: one of `PRECISIONS`.
        training: for forward and backward passes.

    Raises:
        InputError: `asked` is not one of `PRECISIONS`.
    """
    if asked not in PRECISIONS:
        raise InputError(f"precision {asked!r}: unknown; use one of {', '.join(PRECISIONS)}")
    if asked != "auto":
        return _FORMATS[asked]
    half = half_in_question(device, training=training)
    found = compared(device, half, training) if half else None
    return half if found and found.ratio < _CLEARLY_FASTER else torch.float32


def half_in_question(device: torch.device, *, training: bool = False) -> torch.dtype | None:
    """The half precision that may be faster on a device, or None.

    bfloat16 on CPUs and on CUDA since Ampere. Older CUDA cards with fast float16 (Volta, Turing)
    take that, but not in training: small gradients vanish in it. Apple's GPUs stay at float32,
    where half precision gains little.
    """
    if device.type == "cpu":
        return torch.bfloat16
    if device.type != "cuda":
        return None
    capability = torch.cuda.get_device_capability(device)
    if capability >= (8, 0):
        return torch.bfloat16
    return torch.float16 if capability >= (7, 0) and not training else None


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager:
    """A context in which products on the device are done in `dtype`; nothing for float32."""
    if dtype == torch.float32:
        return nullcontext()
    return torch.autocast(device.type, dtype=dtype)
