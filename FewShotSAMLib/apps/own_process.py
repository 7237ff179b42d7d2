"""What a process of this program's own does first, whatever it does then."""

from __future__ import annotations

import atexit
import gc
import os

# Of the collector's: objects made before it looks for circles. The networks' packages make a
# million that stay, and Python's own number has it look through them hundreds of times.
_YOUNG = 50_000


def begin_process() -> None:
    """Threads that wait, a start and an end that keep nobody waiting. To be called before torch is
    imported."""
    wait_asleep()
    gc.set_threshold(_YOUNG, *gc.get_threshold()[1:])
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)  # nothing that is left is looked through for circles at the end


def wait_asleep() -> None:
    """Threads that have nothing to do sleep, here and in processes started from here; a user's own
    OMP_WAIT_POLICY stands.

    By default they spin, which another busy process turns into seconds of waiting: beside two of
    them a volume took three times as long.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
