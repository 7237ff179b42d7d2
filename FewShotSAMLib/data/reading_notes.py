"""Everything that a person should know about how a volume and its supports were read."""

from __future__ import annotations

from collections.abc import Sequence

from .support import Support
from .volume import Volume


def reading_notes(volume: Volume, supports: Sequence[Support]) -> tuple[str, ...]:
    """Notes of the volume, of the supports' images and of their drawings, each once and with the
    name of what it is about."""
    parts = [volume]
    for support in supports:
        parts += [support.volume, support.labels]
    lines = [f"{one.name}: {note}" if one.name else note for one in parts for note in one.notes]
    return tuple(dict.fromkeys(lines))
