"""The public weight files and the presets made of them, as `catalogue.json` lists them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..data.errors import InputError

CATALOGUE = Path(__file__).with_name("catalogue.json")
EMBEDDED = "embedded"  # ships with the program and is never downloaded


@dataclass(frozen=True)
class WeightFile:
    """One file of weights.

    Attributes:
        name: what people call it, "sam2.1-tiny".
        kind: "promptable" (masks from prompts), "features" (similarity) or "prompts" (prompts
            from marked slices).
        file: its name on disk and on a mirror.
        url: its public address, or "" where only the user can bring it.
        size: bytes, or None where nobody published them.
        about_size: roughly the size where `size` is None, to show to people.
        sha256: 64 lower-case hexadecimal digits, or "" where nobody published them.
        licence: its name, or "" where the source must be asked.
        source: the page of who made it.
        purpose: one line for people.
        modality: what it was trained on, where it is meant for nothing else; "any" otherwise.
    """

    name: str
    kind: str
    file: str
    url: str
    size: int | None
    about_size: int | None
    sha256: str
    licence: str
    source: str
    purpose: str
    modality: str = "any"

    def address(self, mirror: str = "") -> str:
        """Where to download it: its own address, or its file name under the mirror's."""
        return f"{mirror.rstrip('/')}/{self.file}" if mirror else self.url

    @property
    def licence_text(self) -> str:
        """The licence, or where to read about it."""
        return self.licence or f"licence: see {self.source}"

    @property
    def size_text(self) -> str:
        """ "375 MB", "about 346 MB", "size not known"."""
        if self.size is not None:
            return megabytes(self.size)
        return f"about {megabytes(self.about_size)}" if self.about_size else "size not known"


@dataclass(frozen=True)
class Preset:
    """A promptable model and a feature encoder that go well together.

    Attributes:
        name: what people call it.
        model: the promptable model's name.
        features: the feature encoder's name; "none" for the model's own embeddings.
        prompts: names of trained prompt generators that belong to it.
        purpose: one line for people.
    """

    name: str
    model: str
    features: str
    prompts: tuple[str, ...] = ()
    purpose: str = ""

    @property
    def weights(self) -> tuple[str, ...]:
        """The names of the weight files that it needs on disk."""
        names = (self.model, self.features, *self.prompts)
        return tuple(name for name in names if name not in (EMBEDDED, "none"))


@dataclass(frozen=True)
class Catalogue:
    """All weight files and presets, by name, in the order of the file."""

    weights: Mapping[str, WeightFile]
    presets: Mapping[str, Preset]

    def weight_file(self, name: str) -> WeightFile:
        """The weight file of that name.

        Raises:
            InputError: there is none; the message lists those there are.
        """
        if name not in self.weights:
            raise InputError(f"weights {name!r}: unknown; use one of {', '.join(self.weights)}")
        return self.weights[name]

    def needed(self, name: str) -> tuple[WeightFile, ...]:
        """The weight files that a preset or a model of that name needs; none for the embedded.

        Raises:
            InputError: there is neither; the message lists both.
        """
        if name in self.presets:
            return tuple(self.weights[part] for part in self.presets[name].weights)
        if name in self.weights:
            return (self.weights[name],)
        raise InputError(
            f"{name!r}: unknown; use a preset ({', '.join(self.presets)}) "
            f"or a model ({', '.join(self.weights)})"
        )


@cache
def catalogue() -> Catalogue:
    """The catalogue that ships with the program."""
    return read_catalogue(CATALOGUE)


def read_catalogue(path: Path) -> Catalogue:
    """The catalogue in a file.

    Raises:
        InputError: it is not readable as one.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        weights = [_weight_file(entry, content["bases"]) for entry in content["weights"]]
        presets = [Preset(**{**p, "prompts": tuple(p["prompts"])}) for p in content["presets"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as problem:
        raise InputError(f"{path}: not readable as a catalogue of models ({problem})") from None
    return Catalogue({w.name: w for w in weights}, {p.name: p for p in presets})


def megabytes(count: int) -> str:
    """Bytes as people read them: "2.6 GB", "375 MB", "8.1 MB", "12 kB"."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            value = count / size
            return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"
    return f"{count} bytes"


def _weight_file(entry: Mapping, bases: Mapping[str, str]) -> WeightFile:
    path = entry.get("path")
    return WeightFile(
        name=entry["name"],
        kind=entry["kind"],
        file=entry["file"],
        url=bases[entry["base"]] + path if path else "",
        size=entry["bytes"],
        about_size=entry.get("about_bytes"),
        sha256=entry["sha256"] or "",
        licence=entry["licence"] or "",
        source=entry["source"],
        purpose=entry["purpose"],
        modality=entry.get("modality", "any"),
    )
