"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from uuid import uuid4

from .errors import InputError
from .file_kinds import extension
from .links import real_path

_LEFTOVER = re.compile(r"\.fewshotsam-([0-9a-f]{8})-(\d+)-[0-9a-f]{12}\.")
_OLD = 7 * 24 * 3600  # seconds after which what another computer began counts as left
_CLOCKS = 60.0  # seconds by which the clock of a file server may be late


def written_path(path: Path) -> Path:
    """The file that writing to ``path`` changes: what a symbolic link leads to, else itself.

    Raises:
        InputError: a link that leads to itself or into a folder that is not there.
    """
    if not path.is_symlink():
        return path
    target = real_path(path)
    if target.is_symlink():
        raise InputError(f"{path}: is a link that leads to itself; remove it")
    if not target.parent.is_dir():
        raise InputError(f"{path}: is a link to {target}, whose folder is not there")
    return target


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A new name in the folder of ``path``, of the same format. When the block ends well that
    file is brought onto the disk and takes the place of ``path`` at once; else it is removed and
    ``path`` is as it was. A symbolic link stays, and what it leads to is replaced. What killed
    programs left of such files in the folder is removed.

    Raises:
        InputError: the folder cannot be made or written to, a link that leads nowhere, or the
            file does not come onto the disk whole.
    """
    target = written_path(path)
    temporary = target.with_name(_own_name() + (extension(path) or path.suffix))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _not_written(path, error) from None
    _remove_leftovers(target.parent)
    try:
        yield temporary
        _bring_to_disk(temporary)
        temporary.replace(target)
        _bring_name_to_disk(target.parent)
    except OSError as error:
        raise _not_written(path, error) from None
    finally:
        temporary.unlink(missing_ok=True)


def _not_written(path: Path, error: OSError) -> InputError:
    return InputError(f"{path}: cannot be written ({error.strerror or error})")


def _bring_to_disk(file: Path) -> None:
    """A full disk may say so no earlier than here."""
    with file.open("r+b") as written:
        os.fsync(written.fileno())


def _bring_name_to_disk(folder: Path) -> None:
    """So that the name survives a loss of power; Windows opens no folders, network folders may
    not be brought to disk."""
    with contextlib.suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def _own_name() -> str:
    """The beginning of a name that tells which process of which computer makes the file."""
    return f".fewshotsam-{_computer()}-{os.getpid()}-{uuid4().hex[:12]}"


@cache
def _computer() -> str:
    """Of this computer, and of the container in it: others count their processes anew."""
    name = platform.node()
    with contextlib.suppress(OSError):
        name += str(Path("/proc/self/ns/pid").readlink())
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def _remove_leftovers(folder: Path) -> None:
    with contextlib.suppress(OSError):
        for file in folder.glob(".fewshotsam-*"):
            if (found := _LEFTOVER.match(file.name)) and _is_left(file, found[1], int(found[2])):
                with contextlib.suppress(OSError):
                    file.unlink()


def _is_left(file: Path, computer: str, process: int) -> bool:
    """Whether nobody writes a file any more."""
    with contextlib.suppress(OSError):
        changed = file.stat().st_mtime
        if computer == _computer():
            return not _may_have_changed(process, changed)
        return time.time() - changed > _OLD
    return False


def _may_have_changed(process: int, when: float) -> bool:
    """Whether a process runs that ran at that time: its number may be another's by now."""
    import psutil

    try:
        found = psutil.Process(process)
        if found.status() == psutil.STATUS_ZOMBIE:
            return False
        return found.create_time() <= when + _CLOCKS
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:  # not ours to ask about
        return True
