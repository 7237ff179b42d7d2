"""One process at a time: a lock that the system releases when its holder ends, however it ends."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import BaseFileLock

_LOOK_AGAIN = 0.3  # seconds
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}


@contextmanager
def locked(
    path: Path, waiting: Callable[[], None], cancel: threading.Event, *, keep: bool = True
) -> Iterator[bool]:
    """Holds the lock file while the block runs.

    Where the file system knows no locks (some network shares) the block runs without one.

    Args:
        path: the lock file, made if needed; it holds nothing.
        waiting: called once if another process holds the lock.
        cancel: ends the waiting when set.
        keep: whether the lock file stays afterwards.

    Yields:
        False when `cancel` was set before the lock was free.
    """
    # It comes with PyTorch; what lies on disk can be listed before that is installed.
    from filelock import FileLock

    lock, told = FileLock(path), False
    while not _take(lock):
        if not told:
            waiting()
            told = True
        if cancel.wait(_LOOK_AGAIN):
            yield False
            return
    try:
        yield True
    finally:
        # Removed while it is held: whoever waits then finds it gone and makes another. Afterwards
        # it might be held already, and a third would make a second one. Windows removes no file
        # that is open, which is to say held.
        if not keep and os.name != "nt":
            _remove(path)
        lock.release()
        if not keep and os.name == "nt":
            _remove(path)


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()


def _take(lock: BaseFileLock) -> bool:
    from filelock import Timeout

    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    except NotImplementedError:  # older versions, of a file system without locks
        return True
    except OSError as problem:
        if problem.errno not in _NO_LOCKS:
            raise
    return True
