"""Weights that were trained, and beside them what they were made from: always of one another."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from ..data.errors import InputError
from ..data.whole_files import atomic_path, written_path
from ..weights.resources import sha256_of


def write_trained(
    path: Path, save: Callable[[Path], None], provenance: Mapping[str, object]
) -> None:
    """Writes `path` (.safetensors) and its provenance (.json), each whole or not at all.

    Both are on the disk before either takes its name. A kill between the two leaves weights without
    a provenance, never one that tells of other weights.

    Args:
        save: writes the weights to a path.
        provenance: what is told besides the file's name and SHA-256.

    Raises:
        InputError: they cannot be written there.
    """
    beside = path.with_suffix(".json")
    with atomic_path(beside) as told, atomic_path(path) as weights:
        try:
            save(weights)
        except InputError as problem:  # names the file that was not to be seen
            raise InputError(str(problem).replace(str(weights), str(path))) from None
        text = json.dumps({"file": path.name, "sha256": sha256_of(weights), **provenance}, indent=2)
        told.write_text(text + "\n", encoding="utf-8")
        written_path(beside).unlink(missing_ok=True)
