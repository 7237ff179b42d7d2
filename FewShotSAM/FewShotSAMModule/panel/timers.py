"""A timer that rings once, however often it was started."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt


def once_timer(milliseconds: int, ring: Callable[[], None]) -> Any:
    """A stopped timer; each start puts its ringing off until nothing starts it any more."""
    timer = qt.QTimer()
    timer.setSingleShot(True)
    timer.setInterval(milliseconds)
    timer.connect("timeout()", ring)
    return timer
