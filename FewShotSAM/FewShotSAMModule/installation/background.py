"""Installation steps in a thread of their own, which touches neither Qt nor the scene."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from .steps import InstallCancelled, InstallError

if TYPE_CHECKING:
    from .steps import Step


_YIELD = 0.02


class Background:
    """Runs something that raises `InstallError` or `InstallCancelled` in a thread; ask it from a
    timer.

    Attributes:
        over: whether it has ended, well or not.
        problem: one line once it failed, else "".
        cancelled: whether a person stopped it.
    """

    def __init__(self, work: Callable[[], None]) -> None:
        self.over, self.problem, self.cancelled = False, "", False
        self._work = work
        self._thread = threading.Thread(
            target=self._run, name="FewShotSAM installation", daemon=True
        )
        self._thread.start()

    def poll(self) -> bool:
        """Whether it is over. Waits 20 ms for it: the main thread of an application may keep
        Python's lock otherwise, and the thread would not get on."""
        self._thread.join(_YIELD)
        return self.over

    def _run(self) -> None:
        try:
            self._work()
        except InstallCancelled:
            self.cancelled = True
        except InstallError as problem:
            self.problem = str(problem)
        except Exception as problem:  # a thread has nobody to raise to
            self.problem = f"{type(problem).__name__}: {' '.join(str(problem).split())}"
        finally:
            self.over = True


def step_line(step: Step) -> str:
    """What a step is doing, in one line: "Installing scipy>=1.10", or bytes where they count."""
    if step.progress is None:
        return f"Installing {step.title}"
    from FewShotSAMLib.weights.catalogue import megabytes

    done, total = step.progress
    of = f" of {megabytes(total)}" if total else ""
    return f"Downloading {step.title}: {megabytes(done)}{of}"
