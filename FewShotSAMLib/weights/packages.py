"""Packages that only some networks need, and the one command that installs each."""

from __future__ import annotations

from collections.abc import Mapping

from ..data.errors import InputError

# sam2 asks for a compiler and for a PyTorch of its own choice, unless it is told not to.
SAM2 = "SAM2_BUILD_CUDA=0 pip install --no-build-isolation --no-deps sam2"

# By the name that is imported.
COMMANDS: Mapping[str, str] = {
    "torchvision": "pip install torchvision",
    "timm": "pip install timm",
    "segment_anything": "pip install segment-anything",
    "sam2": SAM2,
    "hydra": "pip install hydra-core",
    "omegaconf": "pip install hydra-core",
    "iopath": "pip install iopath",
}


def missing_package(who: str, problem: BaseException, wanted: str) -> InputError:
    """One line for a package that could not be imported.

    Args:
        who: what needs it, "model 'sam-vit-b'".
        problem: from the import. It, or what caused it, names the package: `wanted` or one that
            `wanted` needs.
        wanted: the package that was imported.
    """
    name = wanted
    cause: BaseException | None = problem
    while cause is not None:
        if isinstance(cause, ImportError) and cause.name:
            name = cause.name.partition(".")[0]
        cause = cause.__cause__ or cause.__context__
    command = COMMANDS.get(name, f"pip install {name}")
    return InputError(f"{who}: the package {name} is not installed; run: {command}")
