"""How long half precision takes on a device: measured once with a small convolution, and kept.

What a processor says of itself does not tell: bfloat16 is many times slower than float32 on CPUs
without instructions for it, and in some releases of PyTorch on CPUs that have them.
"""

from __future__ import annotations

import contextlib
import json
import math
import platform
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.errors import InputError
from ..data.files import atomic_path
from ..weights.folder import cache_folder

FILE = "precision.json"
_CHANNELS, _SIDE = 64, 64
_PICTURES = {"cpu": 1}  # a GPU gets so many that starting its kernels is not what is measured
_PICTURES_OF_A_GPU = 64
_ROUNDS, _SECONDS = 2, 0.2  # at least; as many as fit, where they are short
_KEPT = 64  # answers in the file: a home folder may be that of many machines


@dataclass(frozen=True)
class Comparison:
    """The best times of the convolution.

    Attributes:
        half: bfloat16 or float16.
        half_seconds: with products in `half`, the conversions included.
        single_seconds: in float32.
    """

    half: torch.dtype
    half_seconds: float
    single_seconds: float

    @property
    def ratio(self) -> float:
        """Of the time in half precision to that in float32."""
        return self.half_seconds / self.single_seconds


@cache
def compared(device: torch.device, half: torch.dtype, training: bool) -> Comparison | None:
    """The answer for this machine, device and PyTorch: kept in the cache folder, where there is
    one, or measured now.

    Args:
        device: where the networks compute.
        half: the format that is in question.
        training: forward and backward, or forward alone.

    Returns:
        None where the device cannot do it.
    """
    return compared_in(answers_file(), device, half, training)


def answers_file() -> Path | None:
    """Where answers are kept; None for a user without a home folder."""
    try:
        return cache_folder() / FILE
    except RuntimeError:
        return None


def compared_in(
    file: Path | None, device: torch.device, half: torch.dtype, training: bool
) -> Comparison | None:
    """As `compared`, with the file that answers are kept in; without one nothing is kept."""
    key = _key(device, half, training)
    known = _read(file)
    if key in known:
        return Comparison(half, *known[key])
    found = measure(device, half, training)
    if found is not None and file is not None:
        _keep(file, known | {key: (found.half_seconds, found.single_seconds)})
    return found


def measure(device: torch.device, half: torch.dtype, training: bool) -> Comparison | None:
    """Times both formats in turn; the best of several rounds, as other programs disturb some.

    Returns:
        None where the device cannot do it, or has no memory left for it.
    """
    best = {half: math.inf, torch.float32: math.inf}
    try:
        # The caller may compute without gradients; its random numbers stay as they are.
        with torch.inference_mode(False), torch.set_grad_enabled(training):
            picture, kernel = _operands(device, training)
            for kind in best:
                _seconds(picture, kernel, half, kind)  # not counted: kernels are prepared in it
            rounds, end = 0, time.perf_counter() + _SECONDS
            while rounds < _ROUNDS or time.perf_counter() < end:
                for kind in best:
                    best[kind] = min(best[kind], _seconds(picture, kernel, half, kind))
                rounds += 1
    except RuntimeError:  # PyTorch's, also for memory
        return None
    return Comparison(half, best[half], best[torch.float32])


def _operands(device: torch.device, training: bool) -> tuple[Tensor, Tensor]:
    """Pictures (N, C, side, side) and kernel (C, C, 3, 3), laid out as the networks have them."""
    generator = torch.Generator().manual_seed(0)
    pictures = _PICTURES.get(device.type, _PICTURES_OF_A_GPU)
    return tuple(
        torch.randn(shape, generator=generator)
        .to(device, memory_format=torch.channels_last).requires_grad_(training)
        for shape in ((pictures, _CHANNELS, _SIDE, _SIDE), (_CHANNELS, _CHANNELS, 3, 3))
    )


def _seconds(picture: Tensor, kernel: Tensor, half: torch.dtype, kind: torch.dtype) -> float:
    """Of one convolution with products in `kind`, and of its gradients where they are asked."""
    _finish(picture.device)
    start = time.perf_counter()
    with torch.autocast(picture.device.type, half, enabled=kind == half):
        out = F.conv2d(picture, kernel, padding=1)
    if out.requires_grad:
        torch.autograd.grad(out, (picture, kernel), torch.ones_like(out))
    _finish(picture.device)
    return time.perf_counter() - start


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _key(device: torch.device, half: torch.dtype, training: bool) -> str:
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        processor = platform.processor() or platform.machine()
        name = f"{device.type} {processor} {torch.backends.cpu.get_cpu_capability()}"
    work = "training" if training else "inference"
    return f"{platform.node()} | {name} | torch {torch.__version__} | {half} | {work}"


def _read(file: Path | None) -> dict[str, tuple[float, float]]:
    """What is kept; nothing from a file that this program did not write."""
    try:
        content = json.loads(file.read_text(encoding="utf-8")) if file else {}
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {key: tuple(times) for key, times in content.items() if _are_times(times)}


def _are_times(values: object) -> bool:
    return (
        isinstance(values, list) and len(values) == 2
        and all(isinstance(v, float) and 0 < v < math.inf for v in values)
    )


def _keep(file: Path, answers: dict[str, tuple[float, float]]) -> None:
    newest = dict(list(answers.items())[-_KEPT:])
    # Where nothing can be written the answer holds for this process.
    with contextlib.suppress(InputError), atomic_path(file) as temporary:
        temporary.write_text(json.dumps(newest, indent=2) + "\n", encoding="utf-8")
