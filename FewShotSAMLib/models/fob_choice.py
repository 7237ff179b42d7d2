"""Which of FoB's weights go with an image: they must have learnt from its modality."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from ..data.errors import InputError
from ..weights.catalogue import EMBEDDED, catalogue
from ..weights.resources import models_folder
from ..weights.store import WeightStore
from .embedded import EmbeddedModel, load_embedded
from .fob import FobModel, load_fob
from .fob_config import MODALITIES
from .interfaces import PromptableModel

FILE = "fob-embedded.safetensors"


def fob_names() -> tuple[str, ...]:
    """What `FobChoice` takes as weights, beside a file's path."""
    known = catalogue().weights
    return (EMBEDDED, *(name for name, w in known.items() if w.kind == "prompts"))


class FobChoice:
    """Loads FoB's networks when a modality first asks for them.

    Args:
        model: name of the preset or model that is prompted; a preset may bring weights of its own.
        weights: one of `fob_names`, a file (.safetensors, .pth), or None for the preset's, and
            without such the embedded ones.
        promptable: the loaded model; the embedded one is shared.
        device, precision: where and how they compute.
        store: where weights lie.
        tell: called with one sentence when weights were made for another modality.

    Raises:
        InputError: the name is not known and no such file is there.
    """

    def __init__(
        self,
        model: str,
        weights: str | None,
        promptable: PromptableModel,
        device: torch.device,
        *,
        precision: str = "auto",
        store: WeightStore | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        preset = catalogue().presets.get(model)
        offered = preset.prompts if preset and preset.prompts else (EMBEDDED,)
        self._names = (weights,) if weights else offered
        for name in self._names:
            _check_known(name)
        self._promptable, self._device, self._precision = promptable, device, precision
        self._store, self._tell = store, tell
        self._loaded: dict[str, FobModel] = {}
        self._told: set[str] = set()

    def for_modality(self, modality: str) -> FobModel:
        """The network for images of a modality.

        Raises:
            InputError: weights are missing or damaged, or none of several fits the modality.
        """
        name = self._fitting(modality)
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        found = self._loaded[name]
        unfit = found.config.modality not in ("any", modality)
        if unfit and self._tell and modality not in self._told:
            self._told.add(modality)
            self._tell(
                f"FoB's weights {found.card.name} were trained on {found.config.modality} and the "
                f"image is {modality}: expect prompts in wrong places, or choose others with --fob"
            )
        return found

    def _fitting(self, modality: str) -> str:
        if len(self._names) == 1:
            return self._names[0]
        fitting = [name for name in self._names if _modality(name) in ("any", modality)]
        if not fitting:
            known = ", ".join(f"{name} ({_modality(name)})" for name in self._names)
            raise InputError(
                f"FoB's weights {known}: none was trained on {modality} images; choose some with "
                "--fob, or another --method"
            )
        return fitting[0]

    def _load(self, name: str) -> FobModel:
        share = {"device": self._device, "precision": self._precision}
        if name in fob_names() and name != EMBEDDED:
            found = (self._store or WeightStore()).find(name)
            return load_fob(
                found.path, name=name, modality=_modality(name),
                licence=found.entry.licence_text, **share,
            )
        path = models_folder() / FILE if name == EMBEDDED else Path(name)
        label = f"fob-{EMBEDDED}" if name == EMBEDDED else path.stem
        return load_fob(path, name=label, backbone=self._backbone, **share)

    def _backbone(self) -> EmbeddedModel:
        if isinstance(self._promptable, EmbeddedModel):
            return self._promptable
        return load_embedded(self._device, precision=self._precision)[0]


def _check_known(name: str) -> None:
    if name not in fob_names() and not Path(name).is_file():
        raise InputError(
            f"FoB weights {name!r}: neither a file nor known; use a .safetensors or .pth "
            f"file, or one of {', '.join(fob_names())}"
        )


def _modality(name: str) -> str:
    """What the catalogue's weights of that name were trained on; "any" where it does not say."""
    entry = catalogue().weights.get(name)
    modality = entry.modality if entry else "any"
    return modality if modality in MODALITIES else "any"
