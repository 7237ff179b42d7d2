"""Names for the files of a study that every file system takes, and that no two studies share."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ...data.files import extension
from ..image_places import Place

LONGEST = 100  # characters, which leaves room for extensions and for the folders above
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)  # on Windows


def study_names(places: Sequence[Place]) -> list[str]:
    """A name for each place from its path below the input; where two would be alike (upper and
    lower case do not count) both carry a part of the hash of their path and series."""
    plain = [safe_name(_below_root(place)) for place in places]
    often = Counter(name.casefold() for name in plain)
    return [
        name if often[name.casefold()] == 1 else f"{name}-{_mark(f'{p.path}|{p.series}')}"
        for name, p in zip(plain, places, strict=True)
    ]


def safe_name(text: str) -> str:
    """A text as a file name without extension: letters of all scripts stay as they are."""
    name = _FORBIDDEN.sub("_", text).strip(" .") or "study"
    if _RESERVED.match(name):
        name = f"_{name}"
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 9].rstrip(' .')}-{_mark(name)}"


def _below_root(place: Place) -> str:
    path = place.path
    inside = path.relative_to(place.root) if path != place.root else Path(path.name)
    text = "_".join(inside.parts)
    kind = "" if place.series else extension(path)
    text = text[: len(text) - len(kind)]
    return f"{text}_{place.description or place.series}" if place.series else text


def _mark(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]
