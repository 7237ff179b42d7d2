"""One process at a time: a lock that the system releases when its holder ends, however it ends."""

from __future__ import annotations

import contextlib
import errno
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_LOOK_AGAIN = 0.3  # seconds
_HELD = {errno.EACCES, errno.EAGAIN, errno.EDEADLK, errno.EWOULDBLOCK}


@contextmanager
def locked(path: Path, waiting: Callable[[], None], cancel: threading.Event) -> Iterator[bool]:
    """Holds the lock file while the block runs.

    Where the file system knows no locks (some network shares) the block runs without one.

    Args:
        path: the lock file, made if needed; it holds nothing.
        waiting: called once if another process holds the lock.
        cancel: ends the waiting when set.

    Yields:
        False when `cancel` was set before the lock was free.
    """
    with path.open("a+b") as file:
        told = False
        while not _take(file):
            if not told:
                waiting()
                told = True
            if cancel.wait(_LOOK_AGAIN):
                yield False
                return
        try:
            yield True
        finally:
            _release(file)


def _take(file: BinaryIO) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as problem:
        return problem.errno not in _HELD
    return True


def _release(file: BinaryIO) -> None:
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)
        else:
            import fcntl

            fcntl.flock(file.fileno(), fcntl.LOCK_UN)
