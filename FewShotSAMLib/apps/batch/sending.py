"""Each finished study's DICOM SEG on its way to a DICOMweb server, while the next ones are done.

It is sent by the process that waits for the batch, wherever the studies are done: only that one
needs to reach the server and to know its token. What was sent stands in the study's record; what
was not is sent at the next start, and nothing is segmented for that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import replace
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any

from ...data.dicom_web import NotSent, address, store
from .outputs_of_study import write_record
from .records import FAILED, Records
from .results import StudyResult

SENT = ".dcm"
_AHEAD = 3  # finished studies that wait to be sent; their voxels are in memory
_SILENT = 3  # files in a row without an answer: the server is not asked again


def to_send(record: Mapping[str, Any] | None, url: str) -> bool:
    """Whether a study's record has a DICOM SEG that this server does not have yet."""
    output = (record or {}).get("outputs", {}).get(SENT)
    if output is None:
        return False
    return record.get("sent", {}).get(address(url)) != output["sha256"]


def sent_on(
    found: Iterable[StudyResult], records: Records, url: str
) -> Iterator[StudyResult]:
    """The same studies, in the same order, each when it was sent or could not be.

    Raises:
        DiskFull: there is no room for a record; and what `found` raises.
    """
    background, waiting = _Background(_Sender(records, url).send), deque[Future[StudyResult]]()
    try:
        for one in found:
            waiting.append(background.submit(one))
            while waiting and (waiting[0].done() or len(waiting) > _AHEAD):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        background.end()  # the next start sends what waits


class _Background:
    """One thread that works on study after study. Nothing waits for it at the end: a server that
    accepts a file and never answers would hold up who pressed Ctrl-C."""

    def __init__(self, work: Callable[[StudyResult], StudyResult]) -> None:
        self._work, self._ended = work, Event()
        self._queue: SimpleQueue[tuple[Future[StudyResult], StudyResult] | None] = SimpleQueue()
        Thread(target=self._run, name="send", daemon=True).start()

    def submit(self, one: StudyResult) -> Future[StudyResult]:
        future: Future[StudyResult] = Future()
        self._queue.put((future, one))
        return future

    def end(self) -> None:
        """After the study that it works on."""
        self._ended.set()
        self._queue.put(None)

    def _run(self) -> None:
        while (item := self._queue.get()) is not None and not self._ended.is_set():
            future, one = item
            try:
                future.set_result(self._work(one))
            except BaseException as problem:  # who waits for the study hears of it
                future.set_exception(problem)


class _Sender:
    def __init__(self, records: Records, url: str) -> None:
        self._records, self._url, self._silent = records, url, 0

    def send(self, one: StudyResult) -> StudyResult:
        """The study, with why it was not sent where it was not."""
        if one.status == FAILED or not to_send(one.record, self._url):
            return one
        why = self._try(one)
        record = {key: value for key, value in one.record.items() if key != "not_sent"}
        if why:
            record["not_sent"] = f"{address(self._url)}: {why}"
        else:
            sha256 = record["outputs"][SENT]["sha256"]
            record["sent"] = {**record.get("sent", {}), address(self._url): sha256}
        write_record(self._records, record)
        return replace(one, record=record, not_sent=why)

    def _try(self, one: StudyResult) -> str:
        """Send its file; why that cannot be done, else ""."""
        if self._silent >= _SILENT:
            return f"no answer {_SILENT} times; the next start tries again"
        try:
            store(one.outputs[SENT], self._url)
        except NotSent as problem:
            self._silent = 0 if problem.answered else self._silent + 1
            return problem.why
        except Exception as problem:  # of this file; the study and the others are not to suffer
            return " ".join(f"{type(problem).__name__}: {problem}".split())
        self._silent = 0
        return ""
