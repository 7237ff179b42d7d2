"""Words that a narrow panel can show."""

from __future__ import annotations

import re

# A line may be broken here, and nothing is seen of it.
_BREAK = "\u200b"
_LONGEST = 24


def breakable(text: str) -> str:
    """The text with places to break it in words (paths, addresses, hashes) that are longer than a
    narrow panel is wide: Slicer's module panel grows with its widest word and never shrinks."""
    return re.sub(rf"\S{{{_LONGEST + 1},}}", lambda word: _broken(word[0]), text)


def _broken(word: str) -> str:
    parts = re.findall(r"[^/\\._-]*[/\\._-]?", word)
    pieces = [part[n : n + _LONGEST] for part in parts for n in range(0, len(part), _LONGEST)]
    return _BREAK.join(pieces)
