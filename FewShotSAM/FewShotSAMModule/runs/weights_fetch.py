"""Files of weights by a process of their own.

A thread of the application would get on only while its main thread sleeps: a tenth of the speed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from FewShotSAMLib import InputError

from .job import CANCELLED, JobError
from .worker import Worker

if TYPE_CHECKING:
    from FewShotSAMLib.weights.catalogue import WeightFile


def fetch_weights(
    entry: WeightFile,
    folder: Path,
    *,
    mirror: str = "",
    source: Path | None = None,
    progress: Callable[[int, int | None], Any] = lambda done, total: None,
    cancel: threading.Event | None = None,
) -> None:
    """Downloads and checks a file of weights, and waits for it; any thread may call it.

    Args:
        entry: the file, as the catalogue has it.
        folder: where it goes.
        mirror: address of a mirror, or "".
        source: a file or folder that is taken instead of the network.
        progress: called with bytes (done, in all); None in all where not known.
        cancel: asks to stop; what has arrived stays for the next time.

    Raises:
        InputError: it cannot be had, or is another file than expected. One line.
        DownloadCancelled: `cancel` was set.
    """
    from FewShotSAMLib.weights.downloads import DownloadCancelled

    worker, seen = Worker(), None
    job = worker.weights(entry, folder, mirror, source)
    try:
        while not job.over:
            job.poll()
            if job.progress is not None and job.progress is not seen:
                seen = job.progress
                progress(seen.done, seen.total or None)
            if cancel is not None and cancel.is_set():
                job.cancel()
    finally:
        worker.close()
    if job.state == CANCELLED:
        raise DownloadCancelled
    try:
        job.check()
    except JobError as problem:
        raise InputError(str(problem)) from None
