"""One run: it reads, starts a job, shows slices in the scene meanwhile, and leaves its result there
or the scene as it was."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from FewShotSAMLib import InputError

from .job import CANCELLED, DONE, FAILED, WAITING, Job, check_done

if TYPE_CHECKING:
    from FewShotSAMLib.segmentation.results import (
        Progress,
        SliceAnswer,
        SlicePreview,
        VolumeResult,
    )

    from ..scene.results import ResultWriter
    from ..scene.segments import SegmentInfo
    from .source import Preparation, Source

# Seconds of one poll for showing slices; the rest is shown at the next.
_SHARE = 0.015
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Work:
    """What a run does once it has read.

    Attributes:
        job: what the process works on.
        writer: what the scene shows; None where nothing is written.
        write: writes the job's result and returns the segmentation node.
        write_part: writes the slices that had come when it was stopped; returns the node and what
            is known of them. None where a part is of no use.
    """

    job: Job
    writer: ResultWriter | None
    write: Callable[[Any], Any]
    write_part: Callable[[list[SlicePreview]], tuple[Any, Any]] | None = None


class Pollable(Protocol):
    """What goes on while it is polled, until it is over."""

    @property
    def over(self) -> bool:
        """Whether there is nothing left to poll for."""
        ...

    def poll(self) -> None:
        """Takes in what has arrived."""
        ...

    def abandon(self) -> None:
        """Ends it at once; nothing half done stays."""
        ...


class Run:
    """A segmentation on its way. Poll it from a timer until it is `over`.

    Attributes:
        state: "waiting", "running", "done", "cancelled" or "failed".
        message: one line when it was cancelled or failed.
        kind: of a failure, "input", "memory", "internal" or "crash".
        progress: the last `Progress`, or None.
        notes: remarks of the networks, such as that one left the GPU.
        result: when done, the `VolumeResult` of a volume; of one that was stopped, the
            `PartialResult` of its slices.
        partial: whether it was stopped and kept what had come.
        answer: when done, the `SliceAnswer` of a slice.
        node: when done, the segmentation node that was written to.
        segments: label -> what the structure is called and looks like.

    Args:
        preparation: reads what the run works on.
        begin: starts the work once it is read. An InputError of its ends the run.
        nodes: what the run was started with, the volume first: it ends when one of them leaves
            the scene.
        progress: called with each new `Progress`.
        callback: called with this run, once, when it is over.
    """

    def __init__(
        self,
        preparation: Preparation,
        begin: Callable[[Source], Work],
        nodes: Sequence[Any],
        progress: Callable[[Progress], None] | None = None,
        callback: Callable[[Run], None] | None = None,
    ) -> None:
        self.state, self.message, self.kind = WAITING, "", ""
        self.progress: Progress | None = None
        self.result: VolumeResult | None = None
        self.answer: SliceAnswer | None = None
        self.node: Any = None
        self.segments: Mapping[int, SegmentInfo] = {}
        self._preparation, self._begin, self._nodes = preparation, begin, tuple(nodes)
        self._job: Job | None = None
        self._work: Work | None = None
        self.partial = False
        self._keeping = False
        self._came: dict[tuple[int, int], SlicePreview] = {}
        self._writer: ResultWriter | None = None
        self._tell, self._callback = progress, callback
        self._pending: dict[tuple[int, int], SlicePreview] = {}
        self._cancelled = False
        self._stopped = ""  # why it cannot go on, in one line

    @property
    def over(self) -> bool:
        """Whether it is done, cancelled or failed."""
        return self.state in (DONE, CANCELLED, FAILED)

    @property
    def volume_node(self) -> Any:
        """The volume that is segmented."""
        return self._nodes[0]

    @property
    def notes(self) -> list[str]:
        """Remarks of the networks, such as that one left the GPU."""
        return self._job.notes if self._job else []

    @property
    def segment_ids(self) -> dict[int, str]:
        """Label -> id of the segment that it was written to."""
        return self._writer.segment_ids if self._writer else {}

    @property
    def held_back(self) -> dict[int, int]:
        """Label -> voxels that were not written because they belong to another segment."""
        return self._writer.held_back if self._writer else {}

    def poll(self) -> None:
        """Takes in what has arrived and shows it; quick, but for writing the result at the end."""
        if self.over:
            return
        scene = self._nodes[0].GetScene()
        if scene is not None and (scene.IsClosing() or scene.IsImporting()):
            return
        self._stop_if_removed()
        if self._job is None:
            self._prepare()
            return
        self._hear()
        if self._job.over:
            self._end()
        elif not self._stopped:
            self._show()

    def _stop_if_removed(self) -> None:
        for node in self._nodes:
            if node.GetScene() is None and not self._stopped:
                self._stop(
                    f"{node.GetName()}: was removed while it was in use; the run was ended and "
                    "nothing was changed"
                )

    def _hear(self) -> None:
        """Takes in what the job says."""
        for one in self._job.poll():
            self._pending[one.axis, one.index] = self._came[one.axis, one.index] = one
        if self._job.state != self.state and not self._job.over:
            self.state = self._job.state
        if self._job.progress is not self.progress:
            self.progress = self._job.progress
            if self._tell is not None:
                self._tell(self.progress)

    def cancel(self) -> None:
        """Asks it to stop; `poll` tells when it has. The scene is then as it was before."""
        if self._job is not None:
            self._job.cancel()
        self._cancelled = True

    def keep(self) -> None:
        """Asks it to stop and keeps the slices that have come; `poll` tells when it is done. Where
        none has come the scene is as it was before."""
        self._keeping = True
        self.cancel()

    def abandon(self) -> None:
        """Ends it at once for whoever will not poll it any more: nothing of it stays in the scene,
        and nobody is called."""
        if not self.over:
            self.cancel()
            self._discard()
            self._finish(CANCELLED, "cancelled")

    def undo(self) -> None:
        """Takes the written result back.

        Raises:
            InputError: there is none, or its segmentation was edited since.
        """
        if self._writer is None:
            raise InputError("there is no result to take back")
        self._writer.undo()

    def wait(self, tick: Callable[[], None] | None = None) -> None:
        """Polls until it is over.

        Args:
            tick: called after every poll, to let an application redraw.

        Raises:
            KeyboardInterrupt: and whatever else `tick` or a callback raises; the run was ended.
        """
        poll_until_over(self, tick)

    def check(self) -> Run:
        """Itself, when done.

        Raises:
            InputError: what was given is unusable.
            Cancelled: it was cancelled.
            JobError: it failed, or is not over yet.
        """
        check_done(self.state, self.kind, self.message)
        return self

    def _prepare(self) -> None:
        """Waits for what the run works on, then starts the job."""
        if self._cancelled or self._stopped:
            self._over(CANCELLED, "cancelled")
            return
        try:
            source = self._preparation.poll()
            if source is None:
                return
            work = self._begin(source)
        except InputError as problem:
            self._over(FAILED, str(problem), "input")
        except Exception as problem:
            _log.exception("the run cannot be started")
            self._over(FAILED, _line("it cannot be started", problem), "internal")
        else:
            self._work = work
            self._job, self._writer = work.job, work.writer
            self.segments = source.segments

    def _show(self) -> None:
        until = time.monotonic() + _SHARE
        while self._writer is not None and self._pending and time.monotonic() < until:
            one = self._pending.pop(next(iter(self._pending)))
            try:
                self._writer.preview(one.axis, one.index, one.labels)
            except InputError as problem:
                self._stop(str(problem))
            except Exception as problem:
                _log.exception("a slice cannot be shown")
                self._stop(_line("a slice cannot be shown", problem))

    def _stop(self, line: str) -> None:
        self._stopped = " ".join(line.split())
        self.cancel()
        self._discard()

    def _discard(self) -> None:
        self._pending.clear()
        if self._writer is not None:
            self._writer.discard()

    def _end(self) -> None:
        if self._job.state == DONE and not self._stopped:
            self._commit(lambda: (self._work.write(self._job.result), self._job.result))
            self._over(self.state, self.message, self.kind)
        elif self._keeps_part:
            self.partial = True
            self._commit(lambda: self._work.write_part(list(self._came.values())))
            self._over(self.state, self.message, self.kind)
        else:
            self._discard()
            self._over(self._job.state, self._job.message, self._job.kind)

    @property
    def _keeps_part(self) -> bool:
        stopped = self._job.state == CANCELLED and self._keeping and not self._stopped
        return stopped and bool(self._came) and self._work.write_part is not None

    def _over(self, state: str, message: str = "", kind: str = "") -> None:
        """The end, whichever it was."""
        if self._stopped:
            state, message, kind = FAILED, self._stopped, "input"
        self._finish(state, message, kind)
        if self._callback is not None:
            self._callback(self)

    def _commit(self, write: Callable[[], tuple[Any, Any]]) -> None:
        try:
            self.node, found = write()
        except InputError as problem:
            self._discard()
            self._finish(FAILED, str(problem), "input")
            return
        except Exception as problem:
            _log.exception("the result cannot be written")
            self._discard()
            self._finish(FAILED, _line("the result cannot be written", problem), "internal")
            return
        if hasattr(found, "preview"):
            self.answer = found
        else:
            self.result = found
        self._finish(DONE)

    def _finish(self, state: str, message: str = "", kind: str = "") -> None:
        self.state, self.message, self.kind = state, message, kind


def poll_until_over(run: Pollable, tick: Callable[[], None] | None) -> None:
    """Polls; whatever `tick` or a callback raises abandons the run and is raised."""
    try:
        while not run.over:
            run.poll()
            if tick is not None:
                tick()
    except BaseException:
        run.abandon()
        raise


def _line(what: str, problem: Exception) -> str:
    return " ".join(f"{what} ({type(problem).__name__}: {problem})".split())
