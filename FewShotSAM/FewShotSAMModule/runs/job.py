"""A request to the segmentation process, and what becomes of it.

Whoever owns a `Job` calls `Job.poll` now and then, from a timer, and never waits. What the process
says is put into its queue by another thread.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from FewShotSAMLib import InputError

if TYPE_CHECKING:
    from FewShotSAMLib.segmentation.results import Progress, SlicePreview

WAITING, RUNNING, DONE, CANCELLED, FAILED = "waiting", "running", "done", "cancelled", "failed"
_FINAL = (DONE, CANCELLED, FAILED)

# The main thread of an application may keep Python's lock while it waits for the next event. Poll
# sleeps this many seconds so that the threads that speak with the child get on, and again as long
# as something comes.
_YIELD = 0.004
# Seconds of one poll for taking in what arrives.
_SHARE = 0.02


class JobError(RuntimeError):
    """A job failed. The message is one line.

    Attributes:
        kind: "memory", "internal" or "crash" (unusable input is an `InputError`).
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def check_done(state: str, kind: str, message: str) -> None:
    """Of a job or a run: see `Job.check` for what is raised unless it is done."""
    if state == DONE:
        return
    if state == CANCELLED:
        from FewShotSAMLib.segmentation.results import Cancelled

        raise Cancelled(message)
    if kind == "input":
        raise InputError(message)
    raise JobError(kind or "internal", message or "it is not over yet")


class Process(Protocol):
    """Who works on a job."""

    def cancel(self, number: int) -> None:
        """Asks it to stop the job of this number."""
        ...

    def kill(self) -> None:
        """Ends it at once."""
        ...


class Job:
    """One request.

    Attributes:
        state: "waiting", "running", "done", "cancelled" or "failed".
        message: one line when it was cancelled or failed.
        kind: of a failure, "input", "memory", "internal" or "crash".
        progress: the last `Progress`.
        notes: remarks, such as that a network left the GPU.
        result: when done, what was asked for.
    """

    def __init__(self, child: Process | None, number: int, patience: float) -> None:
        self.state, self.message, self.kind = WAITING, "", ""
        self.progress: Progress | None = None
        self.notes: list[str] = []
        self.result: Any = None
        self.number = number
        self._child, self._patience = child, patience
        self._events: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._cancelled_at: float | None = None

    @classmethod
    def failed(cls, number: int, line: str, kind: str) -> Job:
        """One that is over before it began."""
        job = cls(None, number, 0.0)
        job._finish(FAILED, line, kind)
        return job

    @property
    def over(self) -> bool:
        """Whether it is done, cancelled or failed."""
        return self.state in _FINAL

    def poll(self) -> list[SlicePreview]:
        """Takes in what has arrived, within about 20 ms, and returns slices with new labels, the
        last of each. Call it again and again until `over`."""
        if self.over:
            return []
        fresh = self._taken_in()
        if not self.over and self._out_of_patience():
            self._child.kill()
            self._finish(CANCELLED, "cancelled")
        return list(fresh.values())

    def _taken_in(self) -> dict[tuple[int, int], SlicePreview]:
        fresh: dict[tuple[int, int], SlicePreview] = {}
        until = time.monotonic() + _SHARE
        while not self.over and time.monotonic() < until:
            try:
                event, content = self._events.get(timeout=_YIELD)
            except queue.Empty:
                break
            self._take(event, content, fresh)
        return fresh

    def cancel(self) -> None:
        """Asks it to stop. It has stopped when `poll` says so, at the latest when patience runs
        out: then its process is ended."""
        if self.over or self._cancelled_at is not None:
            return
        self._cancelled_at = time.monotonic()
        self._child.cancel(self.number)

    def wait(
        self,
        timeout: float | None = None,
        tick: Callable[[list[SlicePreview]], None] | None = None,
    ) -> bool:
        """Polls until it is over, or `timeout` seconds have passed; says whether it is over.

        Args:
            timeout: None for no limit.
            tick: called after every poll with the slices it gave.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while not self.over:
            fresh = self.poll()
            if tick is not None:
                tick(fresh)
            if until is not None and time.monotonic() > until:
                break
        return self.over

    def check(self) -> Any:
        """The result.

        Raises:
            InputError: what was given is unusable.
            Cancelled: it was cancelled.
            JobError: it failed, or is not over yet.
        """
        check_done(self.state, self.kind, self.message)
        return self.result

    def _out_of_patience(self) -> bool:
        asked = self._cancelled_at
        return asked is not None and time.monotonic() - asked > self._patience

    def _take(self, event: str, content: Any, fresh: dict[tuple[int, int], SlicePreview]) -> None:
        if event in ("error", "done"):
            self._end(event, content)
            return
        self.state = RUNNING
        if event == "progress":
            self.progress = content
        elif event == "note":
            self.notes.append(content)
        else:
            fresh[content.axis, content.index] = content

    def _end(self, event: str, content: Any) -> None:
        kind, line = content if event == "error" else ("", "")
        # What is done though it was cancelled nobody wants any more.
        if kind == "cancelled" or self._cancelled_at is not None:
            self._finish(CANCELLED, "cancelled")
        elif event == "error":
            self._finish(FAILED, line, kind)
        else:
            self.result = content
            self._finish(DONE)

    def _finish(self, state: str, message: str = "", kind: str = "") -> None:
        self.state, self.message, self.kind = state, message, kind

    def put(self, event: str, content: Any) -> None:
        """What the process says; from any thread."""
        self._events.put((event, content))
