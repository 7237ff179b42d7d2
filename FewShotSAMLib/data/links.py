"""Files and folders behind symbolic links, which may lead in a circle."""

from __future__ import annotations

import os
from pathlib import Path


def real_path(path: Path) -> Path:
    """Where links lead; the path itself, made absolute, where they lead nowhere or in a circle, for
    which `Path.resolve` raises RuntimeError."""
    return Path(os.path.realpath(path))
