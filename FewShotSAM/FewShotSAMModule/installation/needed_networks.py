"""Which weight files and groups of packages a choice of networks and method needs."""

from __future__ import annotations

from pathlib import Path

from FewShotSAMLib.prompting.registry import METHODS

_PROMPTS = "prompts"  # the catalogue's kind of FoB's weights
_CHECKPOINTS = (".pth", ".pt")


def needed_networks(
    model: str, features: str | None = None, method: str = "synpo", fob: str | None = None
) -> tuple[str, ...]:
    """Names of the weight files that are not shipped and not the user's own.

    Args:
        model, features, method, fob: as for `FewShotSAMLib.load_segmenter`.

    Raises:
        InputError: the model or the features are not known.
    """
    return tuple(dict.fromkeys((*_chosen(model, features), *_prompts(model, method, fob))))


def reads_checkpoint(method: str, fob: str | None) -> bool:
    """Whether FoB's weights are a published checkpoint that lies anywhere: it needs the PyTorch
    that the public models need."""
    return METHODS[method].trained and Path(fob or "").suffix in _CHECKPOINTS


def package_group(network: str) -> str:
    """Of packages that a network needs."""
    if network.startswith("sam2"):
        return "sam2"
    if network.startswith("sam-"):
        return "sam"
    return "dinov2" if network.startswith(("dinov2", "sinder")) else "all"


def is_fob_weights(text: str) -> bool:
    """Whether FoB's weights may be that: a file that is there, or a name of the catalogue."""
    from FewShotSAMLib.weights.catalogue import EMBEDDED, catalogue

    entry = catalogue().weights.get(text)
    named = text == EMBEDDED or (entry is not None and entry.kind == _PROMPTS)
    return named or Path(text).is_file()


def _chosen(model: str, features: str | None) -> list[str]:
    from FewShotSAMLib import InputError
    from FewShotSAMLib.weights.catalogue import EMBEDDED, catalogue

    known = catalogue()
    if model == EMBEDDED:
        names: list[str] = []
    elif model in known.presets:
        preset = known.presets[model]
        left_out = preset.prompts if features is None else (*preset.prompts, preset.features)
        names = [name for name in preset.weights if name not in left_out]
    else:
        names = [entry.name for entry in known.needed(model)]
    if features not in (None, "none", EMBEDDED):
        if features not in known.weights:
            raise InputError(f"features {features!r}: unknown; use none or {EMBEDDED}")
        names.append(features)
    return names


def _prompts(model: str, method: str, fob: str | None) -> tuple[str, ...]:
    from FewShotSAMLib.weights.catalogue import catalogue

    known = catalogue()
    if not METHODS[method].trained:
        return ()
    if fob:
        return (fob,) if fob in known.weights else ()
    return known.presets[model].prompts if model in known.presets else ()
