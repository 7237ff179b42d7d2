"""`fewshotsam doctor`: what a bug report needs, and what to install next."""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Iterator
from importlib import metadata

# Packages that more can be done with, and the command that installs each.
OPTIONAL = {
    "torchvision": ("full-size models", "pip install 'fewshotsam[models]'"),
    "timm": ("DINOv2 features", "pip install 'fewshotsam[models]'"),
    "segment-anything": ("SAM 1", "pip install 'fewshotsam[models]'"),
    "sam2": ("SAM 2.1", "SAM2_BUILD_CUDA=0 pip install --no-build-isolation --no-deps sam2"),
    "dask": ("batches on several machines", "pip install 'fewshotsam[batch]'"),
    "highdicom": ("results as DICOM SEG", "pip install 'fewshotsam[batch]'"),
}
REQUIRED = ("torch", "numpy", "scipy", "scikit-learn", "SimpleITK", "safetensors", "pillow", "tqdm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It has none of its own."""


def run(args: argparse.Namespace) -> int:
    """Print what there is, part by part."""
    parts = {
        "program": _program(),
        "packages": _packages(),
        "device": _device(),
        "memory": _memory(),
        "weights": _weights(),
        "optional packages": _optional(),
    }
    for title, lines in parts.items():
        print(title)
        for line in lines:
            print(f"  {line}")
    return 0


def _program() -> Iterator[str]:
    from .. import __version__

    yield f"FewShotSAM {__version__}"
    yield f"Python {platform.python_version()} ({sys.executable})"
    yield f"{platform.system()} {platform.release()}, {platform.machine()}"


def _packages() -> Iterator[str]:
    for name in REQUIRED:
        yield f"{name} {_version(name) or 'MISSING: pip install ' + name}"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _device() -> Iterator[str]:
    import torch

    from ..models.devices import choose_device

    chosen = choose_device()
    yield f"auto uses {chosen.device.type}: {chosen.reason}"
    if chosen.device.type == "cuda":
        for n in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(n)
            name = torch.cuda.get_device_name(n)
            yield f"cuda:{n} {name}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
    elif chosen.device.type == "cpu":
        yield f"{torch.get_num_threads()} threads"
        built = torch.version.cuda is not None
        remedy = "update its driver" if built else "install PyTorch for CUDA from pytorch.org"
        yield f"with an NVIDIA card: {remedy}"


def _memory() -> Iterator[str]:
    import psutil

    memory = psutil.virtual_memory()
    yield f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free"
    yield f"{psutil.cpu_count(logical=False) or psutil.cpu_count()} CPU cores"


def _weights() -> Iterator[str]:
    from ..models.resources import models_folder, sha256_of, shipped_weights

    used = 0
    for path in shipped_weights():
        used += path.stat().st_size
        yield f"{path.stem}, SHA-256 {sha256_of(path)}"
    yield f"{used / 1e6:.1f} MB used on disk, in {models_folder()}"


def _optional() -> Iterator[str]:
    for name, (purpose, command) in OPTIONAL.items():
        version = _version(name)
        yield f"{name} {version}" if version else f"{name} missing ({purpose}): {command}"
