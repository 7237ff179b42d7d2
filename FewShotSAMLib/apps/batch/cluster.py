"""Studies as tasks of Dask: processes of this machine, or the workers of a scheduler elsewhere.

What a worker has done lies in the batch's folder as soon as it is done, so nothing depends on the
process that waits here: a worker that dies gives its study to another, and when the connection to
the scheduler is lost, what is not done is handed in again. `distributed` is needed
(pip install "fewshotsam[batch]").
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...data.errors import InputError
from ...segmentation.results import Cancelled
from .outputs_of_study import DiskFull
from .pipeline import run_here
from .plan import Plan
from .results import StudyResult
from .study import Study
from .study_worker import StudyWorker

if TYPE_CHECKING:
    from distributed import Client, Future

CRASHES = 2  # after that many dead workers a study has failed
PATIENCE = 120.0  # seconds that a scheduler may be away
_LOOK = 0.5  # seconds between looks at `cancel`
# Dask has its workers give memory back to the system at once, and networks ask for the same again
# with the next slice: a study took two and a half times as much of the CPU.
_KEEP_MEMORY = {
    "DASK_DISTRIBUTED__NANNY__PRE_SPAWN_ENVIRON": '{"MALLOC_TRIM_THRESHOLD_": None}',
}


class _Lost(Exception):
    """The scheduler is not there, or has forgotten what it was to do."""


def run_on_cluster(
    plan: Plan,
    studies: Sequence[Study],
    *,
    workers: int,
    scheduler: str | None,
    cancel: threading.Event | None,
    tell: Callable[[str], None],
) -> Iterator[StudyResult]:
    """What becomes of each study, in the order in which they are done.

    Raises:
        InputError: Dask is not installed, the scheduler does not answer for two minutes, or all
            workers of this machine have ended and do not start again.
        Cancelled: `cancel` was set; tasks that nobody has begun are taken back.
        DiskFull: there is no room for outputs.
    """
    if find_spec("distributed") is None:
        raise InputError('several workers need Dask: pip install "fewshotsam[batch]"')
    _check_address(scheduler)
    _silence()
    waiting = {study.name: study for study in studies}
    cancel, since = cancel or threading.Event(), time.monotonic()
    with _address(workers, scheduler) as (address, check):
        while waiting:
            try:
                for found in _handed_in(address, plan, list(waiting.values()), cancel, check):
                    del waiting[found.name]
                    since = time.monotonic()
                    yield found
            except (_Lost, OSError) as problem:
                if time.monotonic() - since > PATIENCE:
                    raise InputError(f"{address}: the scheduler does not answer") from problem
                tell(f"{address}: no scheduler there; trying again, {len(waiting)} studies to do")
                if cancel.wait(2.0):
                    raise Cancelled from None


def _check_address(scheduler: str | None) -> None:
    from distributed.comm import parse_host_port

    try:
        if scheduler:
            parse_host_port(scheduler.partition("://")[2] or scheduler)
    except ValueError:
        raise InputError(
            f"{scheduler}: is no address of a Dask scheduler; use one such as tcp://10.0.0.1:8786"
        ) from None


def _silence() -> None:
    """What matters is told here, in our own words."""
    import distributed  # sets levels of its own when it is imported

    for name in (distributed.__name__, "distributed.client", "tornado"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


@contextmanager
def _address(
    workers: int, scheduler: str | None
) -> Iterator[tuple[str, Callable[[], None]]]:
    """A scheduler's address: the given one, or that of one in this process with workers of its
    own, each with a GPU or a share of the CPU's threads. And what raises an InputError once there
    can be no workers any more."""
    if scheduler:
        yield scheduler, lambda: None
        return
    import dask
    from distributed import Scheduler, SpecCluster

    own = {"host": "127.0.0.1", "port": 0, "dashboard_address": "127.0.0.1:0"}
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": CRASHES}),
        SpecCluster({}, {"cls": Scheduler, "options": own}) as cluster,
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch,
        _processes(cluster.scheduler_address, scratch, _environments(workers)) as check,
    ):
        yield cluster.scheduler_address, check


@contextmanager
def _processes(
    address: str, scratch: str, environments: Sequence[dict[str, str]]
) -> Iterator[Callable[[], None]]:
    """Workers, each with a nanny that starts it again when it dies; and what raises an InputError
    where all nannies have ended. They are programs of their own, since a script that calls this
    need not be one that can be imported."""
    command = [
        sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1",
        "--memory-limit", "0", "--no-dashboard", "--death-timeout", "60",
        "--local-directory", scratch,
    ]  # fmt: skip
    with (Path(scratch) / "said").open("w+b") as said:
        running = [
            subprocess.Popen(command, env=one, stdout=subprocess.DEVNULL, stderr=said)
            for one in environments
        ]

        def check() -> None:
            if all(process.poll() is not None for process in running):
                said.seek(0)
                last = said.read().decode("utf-8", "replace").strip().splitlines()[-1:]
                reason = "; ".join([f"status {running[0].returncode}", *last])
                raise InputError(
                    f"no worker of Dask runs any more ({reason}); try it without --workers"
                )

        try:
            yield check
        finally:
            for process in running:
                process.terminate()
            for process in running:
                process.wait()


def _environments(workers: int) -> list[dict[str, str]]:
    """Of the workers: their share of the machine, and the library. What else lies in the folder
    they start in, an `html.py` say, is no module for them (from Python 3.11 on)."""
    import torch

    there = os.environ.get("PYTHONPATH")
    paths = [str(Path(__file__).resolve().parents[3]), *([there] if there else [])]
    found = {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(paths)}
    cards = torch.cuda.device_count()
    threads = str(max((os.cpu_count() or 1) // workers, 1))
    names = ("OMP_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
    shares = {**_KEEP_MEMORY, **{name: os.environ.get(name, threads) for name in names}}
    return [
        {**found, **shares, **({"CUDA_VISIBLE_DEVICES": str(number % cards)} if cards else {})}
        for number in range(workers)
    ]


def _handed_in(
    address: str, plan: Plan, studies: Sequence[Study], cancel: threading.Event,
    check: Callable[[], None],
) -> Iterator[StudyResult]:
    """Give all studies to the scheduler and yield what becomes of them.

    Args:
        check: raises an InputError where nobody can do them any more.

    Raises:
        _Lost: the connection broke, or tasks were lost.
        Cancelled, DiskFull: see `run_on_cluster`.
    """
    from distributed import CancelledError, Client

    with Client(address, timeout="10s") as client:
        tasks = _tasks(client, plan, studies)
        try:
            yield from _awaited(tasks, plan, cancel, check)
        except CancelledError as problem:  # Dask's, for all that a lost scheduler had
            raise _Lost(str(problem)) from problem
        except (Cancelled, DiskFull):
            with suppress(Exception):  # the scheduler may be gone as well
                client.cancel(list(tasks), force=True)
            raise


def _tasks(client: Client, plan: Plan, studies: Sequence[Study]) -> dict[Future, Study]:
    from distributed import fire_and_forget

    tasks = {
        client.submit(
            do_study, plan, study.absolute(), key=f"study-{plan.run[:16]}-{study.name}"
        ): study
        for study in studies
    }
    fire_and_forget(list(tasks))  # they go on when this process ends
    return tasks


def _awaited(
    tasks: Mapping[Future, Study], plan: Plan, cancel: threading.Event, check: Callable[[], None]
) -> Iterator[StudyResult]:
    from distributed import wait

    pending = set(tasks)
    while pending:
        if cancel.is_set():
            raise Cancelled
        with suppress(TimeoutError):
            wait(pending, timeout=_LOOK, return_when="FIRST_COMPLETED")
        ended = {task for task in pending if task.status != "pending"}
        for task in ended:
            yield _outcome(task, tasks[task], plan)
        pending -= ended
        if pending:
            check()


def _outcome(task: Future, study: Study, plan: Plan) -> StudyResult:
    """What a task that has ended gave; a study that ended its workers has failed."""
    if task.status in ("cancelled", "lost"):
        raise _Lost(study.name)
    if task.status == "finished":
        return task.result()
    problem = task.exception()
    if isinstance(problem, (DiskFull, InputError)):
        raise problem
    record = StudyWorker(plan).fail(study, _died(problem), time.time())
    return StudyResult.of(record, plan.folder)


def _died(problem: Any) -> Exception:
    from distributed.scheduler import KilledWorker

    if isinstance(problem, KilledWorker):
        return InputError(f"{CRASHES + 1} workers ended while they worked on it")
    return problem


def do_study(plan: Plan, study: Study) -> StudyResult:
    """One task: read, segment, write, in whatever process Dask chose.

    Raises:
        DiskFull: there is no room for outputs.
    """
    (found,) = run_here(_worker(plan), [study])
    return replace(found, result=None)  # the voxels stay where they are


@lru_cache(maxsize=1)
def _worker(plan: Plan) -> StudyWorker:
    """Networks and supports of the plan that this process works on, kept between tasks."""
    return StudyWorker(plan)
