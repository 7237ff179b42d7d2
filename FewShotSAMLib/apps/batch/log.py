"""The log file of a batch: one line for each study, with the traceback of what failed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from .records import Records
from .results import StudyResult

NAME = "batch.log"


class BatchLog:
    """Writes lines with the time in front of them; each is on disk when the call returns."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def line(self, text: str) -> None:
        """One line, or several."""
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{now} {text.rstrip()}\n")

    def study(self, found: StudyResult) -> None:
        """What became of a study."""
        seconds = f"{found.record['seconds']:.1f} s"
        if not found.error:
            unsent = f"; not sent: {found.not_sent}" if found.not_sent else ""
            self.line(f"{found.status} {found.name}, {seconds}{unsent}")
            return
        self.line(f"failed {found.name}, {seconds}: {found.error}\n{found.record['traceback']}")


@contextmanager
def batch_log(folder: Path) -> Iterator[BatchLog]:
    """The log of a batch's folder, with its start and end.

    Raises:
        InputError: the folder cannot be made or written to.
    """
    Records(folder).make_place()
    log = BatchLog(folder / NAME)
    log.line("started")
    try:
        yield log
    except BaseException as problem:
        log.line(f"stopped: {type(problem).__name__}: {problem}")
        raise
    log.line("ended")
