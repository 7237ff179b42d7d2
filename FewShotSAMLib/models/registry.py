"""Names of models and presets, and what loads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from ..data.errors import InputError
from .embedded import load_embedded
from .interfaces import FeatureEncoder, PromptableModel

Loader = Callable[[torch.device], tuple[PromptableModel, FeatureEncoder | None]]

MODELS: Mapping[str, Loader] = {"embedded": load_embedded}


def load_models(
    model: str, features: str | None, device: torch.device
) -> tuple[PromptableModel, FeatureEncoder | None]:
    """The promptable model of that name with its feature encoder.

    Args:
        model: one of `MODELS`.
        features: None for the model's own choice; "none" for its own embeddings alone.

    Raises:
        InputError: a name is not known, or weights are missing or damaged.
    """
    if model not in MODELS:
        raise InputError(f"model {model!r}: unknown; use one of {', '.join(MODELS)}")
    if features not in (None, "none", model):
        raise InputError(f"features {features!r}: unknown; use none or {model}")
    promptable, encoder = MODELS[model](device)
    return promptable, None if features == "none" else encoder
