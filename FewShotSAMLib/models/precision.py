"""Which number format a network computes in: half precision where the device is faster with it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from ..data.errors import InputError

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
_FORMATS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_precision(device: torch.device, asked: str = "auto") -> torch.dtype:
    """The format for matrix products and convolutions on a device.

    "auto" takes bfloat16 where the hardware multiplies it itself: on CUDA since Ampere, on a CPU
    with AVX-512 BF16 or AMX. CUDA cards with fast float16 only (Volta, Turing) take float16, all
    others float32. Apple's GPUs stay at float32, where half precision gains little.

    Raises:
        InputError: `asked` is not one of `PRECISIONS`.
    """
    if asked not in PRECISIONS:
        raise InputError(f"precision {asked!r}: unknown; use one of {', '.join(PRECISIONS)}")
    if asked != "auto":
        return _FORMATS[asked]
    if device.type == "cuda":
        return _for_cuda(torch.cuda.get_device_capability(device))
    if device.type == "cpu" and _cpu_multiplies_bf16():
        return torch.bfloat16
    return torch.float32


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager:
    """A context in which products on the device are done in `dtype`; nothing for float32."""
    if dtype == torch.float32:
        return nullcontext()
    return torch.autocast(device.type, dtype=dtype)


def _for_cuda(capability: tuple[int, int]) -> torch.dtype:
    if capability >= (8, 0):
        return torch.bfloat16
    return torch.float16 if capability >= (7, 0) else torch.float32


def _cpu_multiplies_bf16() -> bool:
    """oneDNN takes bfloat16 on any AVX-512 machine, but without the instructions it is slower than
    float32; so the processor is asked too, where this torch can tell."""
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    questions = [
        getattr(torch.cpu, name, None)
        for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    ]
    known = [ask for ask in questions if ask is not None]
    return not known or any(ask() for ask in known)
