"""How PyTorch's threads wait for each other, on machines that do other things as well."""

from __future__ import annotations

import os


def wait_asleep() -> None:
    """Threads that have nothing to do sleep, here and in processes started from here; a user's own
    OMP_WAIT_POLICY stands. To be called before torch is imported, which reads it then.

    By default they spin, which another busy process turns into seconds of waiting: beside two of
    them a volume took three times as long.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
