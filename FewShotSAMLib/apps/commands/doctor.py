"""`fewshotsam doctor`: what a bug report needs, and what to install next."""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import TYPE_CHECKING

from ...data.errors import InputError
from ...weights import packages

if TYPE_CHECKING:
    import torch

# Packages that more can be done with, and the command that installs each.
OPTIONAL = {
    "torchvision": ("full-size models", packages.COMMANDS["torchvision"]),
    "timm": ("DINOv2 features", packages.COMMANDS["timm"]),
    "segment-anything": ("SAM 1", packages.COMMANDS["segment_anything"]),
    "sam2": ("SAM 2.1", packages.COMMANDS["sam2"]),
    "hydra-core": ("SAM 2.1", packages.COMMANDS["hydra"]),
    "iopath": ("SAM 2.1", packages.COMMANDS["iopath"]),
    "dask": ("batches on several machines", "pip install 'fewshotsam[batch]'"),
    "highdicom": ("marked slices in DICOM SEG", "pip install 'fewshotsam[dicom]'"),
    "scikit-image": ("marked slices in DICOM RTSTRUCT", "pip install 'fewshotsam[dicom]'"),
}
REQUIRED = ("torch", "numpy", "scipy", "SimpleITK", "pydicom", "nibabel", "safetensors", "pillow",
            "tqdm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It has none of its own."""


def run(args: argparse.Namespace) -> int:
    """Print what there is, part by part."""
    parts = {
        "program": _program(),
        "packages": _packages(),
        "device": _device(),
        "memory": _memory(),
        "shipped weights": _shipped(),
        "downloaded weights": _downloaded(),
        "optional packages": _optional(),
    }
    for title, lines in parts.items():
        print(title)
        for line in lines:
            print(f"  {line}")
    return 0


def _program() -> Iterator[str]:
    from ...version import __version__

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

    from ...models.devices import choose_device

    chosen = choose_device()
    yield f"auto uses {chosen.device.type}: {chosen.reason}"
    yield from _precision(chosen.device)
    if chosen.device.type == "cuda":
        yield from _cards()
    elif chosen.device.type == "cpu":
        yield f"{torch.get_num_threads()} threads"
        built = torch.version.cuda is not None
        remedy = "update its driver" if built else "install PyTorch for CUDA from pytorch.org"
        yield f"with an NVIDIA card: {remedy}"


def _cards() -> Iterator[str]:
    import torch

    for n in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(n)
        name = torch.cuda.get_device_name(n)
        yield f"cuda:{n} {name}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"


def _precision(device: torch.device) -> Iterator[str]:
    from ...models.half_precision import answers_file, compared
    from ...models.precision import choose_precision, half_in_question

    for training, what in ((False, "its networks compute"), (True, "training on it computes")):
        chosen = choose_precision(device, training=training)
        half = half_in_question(device, training=training)
        if half is None:
            reason = "there is no other choice"
        elif found := compared(device, half, training):
            reason = (
                f"measured: a small convolution takes {found.ratio:.2f} times as long in "
                f"{_name(half)} as in float32"
            )
        else:
            reason = f"{_name(half)} does not work here"
        yield f"{what} in {_name(chosen)} ({reason})"
    yield f"measurements are kept in {answers_file() or 'memory'}"


def _name(kind: torch.dtype) -> str:
    return str(kind).removeprefix("torch.")


def _memory() -> Iterator[str]:
    import psutil

    memory = psutil.virtual_memory()
    yield f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free"
    yield f"{psutil.cpu_count(logical=False) or psutil.cpu_count()} CPU cores"


def _shipped() -> Iterator[str]:
    from ...weights.catalogue import megabytes
    from ...weights.resources import models_folder, recorded_sha256, sha256_of, shipped_weights

    try:
        used = 0
        for path in shipped_weights():
            used += path.stat().st_size
            digest = sha256_of(path)
            state = "whole" if digest == recorded_sha256(path) else "NOT as recorded, install again"
            yield f"{path.stem}: {state}, SHA-256 {digest}"
        yield f"{megabytes(used)} used on disk, in {models_folder()}"
    except InputError as problem:
        yield str(problem)


def _downloaded() -> Iterator[str]:
    """Files are not read here, which may take minutes: `models verify` does that."""
    from ...weights.catalogue import megabytes
    from ...weights.folder import weights_place
    from ...weights.store import WeightStore

    try:
        place = weights_place()
    except InputError as problem:
        yield str(problem)
        return
    store = WeightStore(place.folder)
    yield f"folder {place.folder}, as {place.reason} says"
    yield f"mirror {place.mirror or 'none'}, settings file {place.settings}"
    present = [name for name in store.known.weights if store.is_present(name)]
    for name in present:
        if store.is_checked(name):
            yield f"{name}: present, checked, SHA-256 {store.find(name).sha256}"
        else:
            yield (
                f"{name}: present, NOT checked since it came or changed: "
                f"fewshotsam models verify {name}"
            )
    missing = [name for name in store.known.weights if name not in present]
    yield f"missing: {', '.join(missing) or 'none'}"
    yield "to get one: fewshotsam models download NAME"
    yield f"{megabytes(store.disk_used())} used on disk"


def _optional() -> Iterator[str]:
    for name, (purpose, command) in OPTIONAL.items():
        version = _version(name)
        yield f"{name} {version}" if version else f"{name} missing ({purpose}): {command}"
