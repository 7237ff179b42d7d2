"""A disk that is full at once, or that nothing can be written to."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounts a small disk, which needs root"
)


@contextmanager
def small_disk(disk: Path, *options: str) -> Iterator[None]:
    """A disk of 32 kB, mounted with more options, as the folder `disk`."""
    disk.mkdir()
    asked = ",".join((*options, "size=32k"))
    mount = ["mount", "-t", "tmpfs", "-o", asked, "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(disk)], check=True)
