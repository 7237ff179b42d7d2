"""Studies one after another in this process: while one is segmented the next is read and the last
is written."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field

from ...segmentation.results import Cancelled, ProgressCallback, VolumeResult
from .outputs_of_study import DiskFull
from .results import StudyResult
from .study import Study
from .study_worker import ReadStudy, StudyWorker


@dataclass(eq=False)
class _Item:
    """A study on its way; its claim is held by the thread that runs the pipeline.

    Attributes:
        started: `time.time()` when the work on it began; read_for: seconds that reading took.
    """

    study: Study
    claim: ExitStack
    started: float
    read_for: float = 0.0
    reading: Future[ReadStudy] = field(init=False)
    writing: Future[StudyResult] | None = None


def run_here(
    worker: StudyWorker,
    studies: Sequence[Study],
    progress: ProgressCallback | None = None,
    cancel: threading.Event | None = None,
) -> Iterator[StudyResult]:
    """What becomes of each study, in their order.

    Raises:
        Cancelled: `cancel` was set; studies that were not yet written are as if never begun.
        DiskFull: there is no room for outputs.
    """
    cancel = cancel or threading.Event()
    with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "write") as writer:
        pipeline = _Pipeline(worker, reader, writer, progress, cancel)
        try:
            yield from pipeline.run(studies)
        finally:
            pipeline.close()


class _Pipeline:
    def __init__(
        self,
        worker: StudyWorker,
        reader: ThreadPoolExecutor,
        writer: ThreadPoolExecutor,
        progress: ProgressCallback | None,
        cancel: threading.Event,
    ) -> None:
        self._worker, self._reader, self._writer = worker, reader, writer
        self._progress, self._cancel = progress, cancel
        self._open: list[_Item] = []

    def run(self, studies: Sequence[Study]) -> Iterator[StudyResult]:
        """At any time one study is read, one segmented, one written."""
        upcoming = self._begin(studies[0]) if studies else None
        written: _Item | None = None
        for number in range(len(studies)):
            item = upcoming
            following = studies[number + 1] if number + 1 < len(studies) else None
            item.reading.exception()  # waits; two studies are never read at a time
            upcoming = self._begin(following) if following else None
            finished = self._segment(item)
            if written is not None:
                yield self._collect(written)
            item.writing, written = self._writer.submit(finished), item
        if written is not None:
            yield self._collect(written)

    def close(self) -> None:
        """Gives up what is open; what is being written is written."""
        for item in self._open:
            item.reading.cancel()
            if item.writing is not None:
                item.writing.exception()
            item.claim.close()

    def _begin(self, study: Study) -> _Item:
        claim = ExitStack()
        if not claim.enter_context(self._worker.records.claimed(study.name, self._cancel)):
            claim.close()
            raise Cancelled
        item = _Item(study, claim, time.time())
        item.reading = self._reader.submit(self._read, item)
        self._open.append(item)
        return item

    def _read(self, item: _Item) -> ReadStudy:
        began = time.time()
        try:
            return self._worker.read(item.study)
        finally:
            item.read_for = time.time() - began

    def _segment(self, item: _Item) -> Callable[[], StudyResult]:
        """What the writer is to do with a study."""
        if self._cancel.is_set():
            raise Cancelled
        item.started = time.time() - item.read_for  # its wait for the one before does not count
        try:
            read = item.reading.result()
            if read.record is not None:
                return lambda: StudyResult.of(read.record, self._worker.plan.folder, earlier=True)
            result = self._worker.segment(read, self._progress, self._cancel)
        except (Cancelled, DiskFull):
            raise
        except Exception as problem:
            failure = problem
            return lambda: self._fail(item, failure)
        return lambda: self._write(item, read, result)

    def _write(self, item: _Item, read: ReadStudy, result: VolumeResult) -> StudyResult:
        try:
            record = self._worker.write(read, result, item.started)
        except DiskFull:
            raise
        except Exception as problem:
            return self._fail(item, problem)
        return StudyResult.of(record, self._worker.plan.folder, result)

    def _fail(self, item: _Item, problem: Exception) -> StudyResult:
        record = self._worker.fail(item.study, problem, item.started)
        return StudyResult.of(record, self._worker.plan.folder)

    def _collect(self, item: _Item) -> StudyResult:
        try:
            return item.writing.result()
        finally:
            item.claim.close()
            self._open.remove(item)
