"""What ITK and the C libraries below it say: kept off the terminal, and told in our own words."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_STANDARD_ERROR = 2
_DAMAGED = ("cannot be read", "while reading", "Cannot read requested file")
_lock = threading.RLock()


def reason(error: Exception) -> str:
    """The last telling line of an ITK error, without addresses and source lines."""
    if "Unable to determine ImageIO" in str(error):
        return "its content is of another kind than its name"
    if any(words in str(error) for words in _DAMAGED):
        return "it is damaged or cut short"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = lines[-1] if lines else type(error).__name__
    for mark in ("ITK ERROR:", "ITK Error:", "Description:"):
        telling = telling.split(mark)[-1]
    if "): " in telling:
        telling = telling.split("): ", 1)[1]
    return telling.strip().rstrip(".")[:160] or "the file is damaged"


@contextmanager
def quiet() -> Iterator[None]:
    """Without ITK's warnings on the terminal, nor what its C libraries print on standard error."""
    import SimpleITK as sitk

    with _lock:
        shown = sitk.ProcessObject.GetGlobalWarningDisplay()
        sitk.ProcessObject.SetGlobalWarningDisplay(False)
        try:
            with _without_standard_error():
                yield
        finally:
            sitk.ProcessObject.SetGlobalWarningDisplay(shown)


@contextmanager
def _without_standard_error() -> Iterator[None]:
    """C libraries write to the process's standard error whatever Python's is. A process without
    one (a window application) is left as it is."""
    try:
        kept = os.dup(_STANDARD_ERROR)
    except OSError:
        yield
        return
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, _STANDARD_ERROR)
        os.close(nowhere)
        yield
    finally:
        with suppress(OSError):
            os.dup2(kept, _STANDARD_ERROR)
        os.close(kept)
