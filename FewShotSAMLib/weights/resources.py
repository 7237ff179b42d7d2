"""Where the weights that ship with the project lie on this machine.

In a checkout (and an editable installation) they are in the repository's Resources/Models; a
wheel and the Slicer extension carry them inside the package.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from ..data.errors import InputError

SHIPPED = ("embedded.safetensors", "fob-embedded.safetensors")
_PACKAGE = Path(__file__).resolve().parents[1]


def models_folder() -> Path:
    """The folder of the shipped weights.

    Raises:
        InputError: the installation lacks it.
    """
    places = [_PACKAGE / "Resources" / "Models", _PACKAGE.parent / "Resources" / "Models"]
    for place in places:
        if place.is_dir():
            return place
    raise InputError(f"{places[-1]}: the shipped weights are not there; install FewShotSAM again")


def shipped_weights() -> list[Path]:
    """The weight files that ship with the project, by name."""
    return sorted(models_folder().glob("*.safetensors"))


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def recorded_sha256(path: Path) -> str:
    """The SHA-256 that the provenance beside a weight file (same name, .json) gives.

    Raises:
        InputError: the provenance is missing or does not tell.
    """
    provenance = path.with_suffix(".json")
    try:
        return str(json.loads(provenance.read_text(encoding="utf-8"))["sha256"])
    except (OSError, ValueError, KeyError):
        raise InputError(
            f"{provenance}: tells no SHA-256 of {path.name}; install FewShotSAM again"
        ) from None
