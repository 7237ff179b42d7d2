"""From a name to loaded networks: the embedded model, presets, and models one by one."""

from __future__ import annotations

import torch

from ..data.errors import InputError
from ..weights.catalogue import EMBEDDED, catalogue
from ..weights.store import LocalWeights, WeightStore
from .dinov2 import DINOV2_MODELS, Dinov2Features, build_dinov2
from .embedded import load_embedded
from .interfaces import FeatureEncoder, ModelCard, PromptableModel
from .memory import MemoryPolicy
from .sam import SAM_MODELS, SamModel, build_sam
from .sam2 import SAM2_MODELS, Sam2Model, build_sam2

NO_FEATURES = "none"


def model_names() -> tuple[str, ...]:
    """What `load_models` takes as a model: presets first, then single promptable models."""
    known = catalogue()
    return (*known.presets, *SAM_MODELS, *SAM2_MODELS)


def remembering_presets() -> tuple[str, ...]:
    """Presets whose model is a `RememberingModel`."""
    return tuple(n for n, preset in catalogue().presets.items() if preset.model in SAM2_MODELS)


def check_remembers(model: str) -> None:
    """Raises InputError for a model, by its preset's name or its card's, that has no memory of
    slices."""
    *some, last = names = remembering_presets()
    if model not in names:
        raise InputError(
            f"strategy 'memory': model {model!r} has no memory of slices; use model "
            f"{', '.join(some)} or {last}, or strategy 'propagate'"
        )


def feature_names() -> tuple[str, ...]:
    """What `load_models` takes as features."""
    return (NO_FEATURES, EMBEDDED, *DINOV2_MODELS)


def load_models(
    model: str,
    features: str | None,
    device: torch.device,
    *,
    precision: str = "auto",
    memory: MemoryPolicy | None = None,
    store: WeightStore | None = None,
) -> tuple[PromptableModel, FeatureEncoder | None]:
    """The promptable model and the feature encoder of these names, with their weights.

    Args:
        model: one of `model_names`.
        features: one of `feature_names`, or None for the preset's own choice (a single model has
            none: its own embeddings alone).
        device: where they compute.
        precision: "auto", "fp32", "bf16" or "fp16".
        memory: what may be done when the device's memory runs out.
        store: where weights lie; the user's own folder by default.

    Raises:
        InputError: a name is not known (the known ones are listed), or weights or a package are
            missing (the command that brings them is named). Nothing is downloaded here.
    """
    name, features = _networks(model, features)
    store = store or (WeightStore(tell=memory.tell) if memory else WeightStore())
    settings = {"precision": precision, "memory": memory}
    if EMBEDDED in (name, features):
        own, matching = load_embedded(device, precision=precision)
    promptable = own if name == EMBEDDED else _promptable(store.find(name), device, settings)
    if features == NO_FEATURES:
        return promptable, None
    if features == EMBEDDED:
        return promptable, matching
    found = store.find(features)
    network = build_dinov2(features, found.path)
    return promptable, Dinov2Features(network, _card(found), device, **settings)


def _networks(model: str, features: str | None) -> tuple[str, str]:
    """The names of the single networks that a model, or a preset, and features stand for."""
    if model not in model_names():
        raise InputError(f"model {model!r}: unknown; use one of {', '.join(model_names())}")
    if features is not None and features not in feature_names():
        raise InputError(f"features {features!r}: unknown; use one of {', '.join(feature_names())}")
    preset = catalogue().presets.get(model)
    name = preset.model if preset else model
    return name, features or (preset.features if preset else NO_FEATURES)


def _promptable(found: LocalWeights, device: torch.device, settings: dict) -> PromptableModel:
    name = found.entry.name
    if name in SAM_MODELS:
        return SamModel(build_sam(name, found.path), _card(found), device, **settings)
    return Sam2Model(build_sam2(name, found.path), _card(found), device, **settings)


def _card(found: LocalWeights) -> ModelCard:
    entry = found.entry
    return ModelCard(entry.name, found.path.name, found.sha256, entry.licence_text)
