"""A training run in one file, to go on from: written whole or not at all, read without trust."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from ..data.errors import InputError
from ..data.whole_files import atomic_path


def save_run(content: Mapping[str, Any], path: Path) -> None:
    """Keeps a run.

    Raises:
        InputError: it cannot be written there.
    """
    with atomic_path(path) as temporary:
        try:
            torch.save(dict(content), temporary)
        except RuntimeError as problem:
            reason = str(problem).strip().splitlines()[0]
            raise InputError(
                f"{path}: cannot be written ({reason}; is the disk full?)"
            ) from None


def read_run(path: Path, device: torch.device, parts: Iterable[str]) -> dict[str, Any]:
    """What `save_run` kept.

    Args:
        path: the file.
        device: where its tensors go.
        parts: names that must be in it.

    Raises:
        InputError: empty, damaged, or no run.
    """
    try:
        saved = torch.load(path, map_location=device, weights_only=True)
    except Exception as problem:  # damaged pickles fail in every way there is
        reason = (str(problem).strip() or type(problem).__name__).splitlines()[0]
        raise _no_run(path, reason) from None
    if not isinstance(saved, dict):
        raise _no_run(path, f"a {type(saved).__name__} is in it")
    if missing := [name for name in parts if name not in saved]:
        raise _no_run(path, f"it lacks {missing[0]}")
    return saved


def _no_run(path: Path, reason: str) -> InputError:
    return InputError(f"{path}: not a run that can be resumed ({reason}); choose another folder")
