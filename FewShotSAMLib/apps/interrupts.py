"""Ctrl-C, and what services, containers and schedulers send to end a program: one answer to all."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

# SIGTERM from services and schedulers, SIGBREAK (Ctrl-Break) on Windows.
_TO_END = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)
)

_SOON = 0.05  # seconds


class Interrupted(KeyboardInterrupt):
    """KeyboardInterrupt in all but name: of that very class Python remembers that it came out of
    code which a library's C code ran, and ends as if nobody had caught it."""


def interrupt(number: int, _frame: FrameType | None) -> None:
    """A handler that raises Interrupted; while PyTorch is being loaded, soon after: an exception in
    what its C++ code runs of Python's meanwhile ends the process there and then."""
    if not _is_loading("torch"):
        raise Interrupted
    again = threading.Timer(_SOON, _signal_again, [number])
    again.daemon = True
    again.start()


def _signal_again(number: int) -> None:
    if hasattr(signal, "pthread_kill"):  # wakes the main thread where it waits
        signal.pthread_kill(threading.main_thread().ident, number)
    else:
        signal.raise_signal(number)


def _is_loading(package: str) -> bool:
    """Whether its import has begun and not ended."""
    module = sys.modules.get(package)
    return bool(getattr(getattr(module, "__spec__", None), "_initializing", False))


@contextmanager
def asked_to_stop(tell: Callable[[], object] | None = None) -> Iterator[threading.Event]:
    """An event that the first of them sets; a second one raises Interrupted.

    Args:
        tell: called when the event is set.
    """
    asked = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            interrupt(number, frame)
        asked.set()
        if tell is not None:
            tell()

    with answering(note):
        yield asked


@contextmanager
def answering(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """All of them go to `handler` meanwhile; as before afterwards. One that is ignored, as Ctrl-C
    is by what a shell runs in the background, stays so. Other threads than the main one are told of
    no signals: there nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        number: signal.signal(number, handler)
        for number in _TO_END if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, earlier in before.items():
            # None: set by something that is not Python's
            signal.signal(number, signal.SIG_DFL if earlier is None else earlier)


def none_from_now_on() -> None:
    """For the end of a process: what it did is done, and one of them during Python's own end, which
    takes a third of a second, would say otherwise."""
    for number in _TO_END:
        signal.signal(number, signal.SIG_IGN)
