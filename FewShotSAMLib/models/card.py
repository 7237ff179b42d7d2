"""What a report says about a model; free of torch, so that results can be read without it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class ModelCard:
    """What a report says about a model: its name, where its weights came from, their hash."""

    name: str
    weights: str = ""
    sha256: str = ""
    licence: str = ""
    details: dict[str, str] = field(default_factory=dict)
