"""The job: a real child process, its messages, its cancelling and its sudden death."""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from FewShotSAMModule.runs import worker as workers
from FewShotSAMModule.runs.job import CANCELLED, DONE, FAILED, WAITING, Job, JobError
from FewShotSAMModule.runs.worker import Worker

from FewShotSAMLib import InputError, Support
from FewShotSAMLib.phantom.abdomen import Phantom, abdomen
from FewShotSAMLib.prompting.point_prompts import PointPrompts
from FewShotSAMLib.segmentation.results import Cancelled

pytestmark = pytest.mark.slow
SMALL = {"shape": (8, 64, 64), "spacing": (5.2, 5.2, 25.0)}
MODEL = {"device": "cpu"}
LIVER = 1
LIMIT = 600


@pytest.fixture(scope="module")
def support(phantom) -> Support:
    return Support.from_labels(
        phantom.image, phantom.marked(phantom.marked_slice()), axis="axial", keep_labels=[LIVER]
    )


def new_worker(**options) -> Worker:
    return Worker(environment={"OMP_NUM_THREADS": "1"}, **options)


@pytest.fixture(scope="module")
def mortal() -> Iterator[Worker]:
    """Of the tests that end its process; each finds the one that the last started again."""
    worker = new_worker(patience=0.5)
    yield worker
    worker.close()


def segment(worker: Worker, phantom: Phantom, support: Support, **options) -> Job:
    return worker.segment(phantom.image, [support], model=MODEL, options=options)


@pytest.fixture(scope="module")
def long(phantom) -> Phantom:
    """A patient of so many slices that segmenting takes far longer than what happens meanwhile."""
    image = replace(phantom.image, voxels=np.repeat(phantom.image.voxels, 100, axis=0))
    return Phantom(image, phantom.truth)


def works(job: Job) -> None:
    """Waits until slices are segmented."""
    until = time.monotonic() + LIMIT
    while job.progress is None or job.progress.stage != "slices":
        job.poll()
        assert not job.over and time.monotonic() < until
        time.sleep(0.01)


def ended(process) -> bool:
    try:
        process.wait(LIMIT)
    except Exception:
        return False
    return True


# ------------------------------------------------------------------------------ what it gives


def test_a_job_gives_what_the_library_gives(worker, phantom, support):
    from FewShotSAMLib import load_segmenter

    job, shown = segment(worker, phantom, support), []
    assert job.state == WAITING
    assert job.wait(LIMIT, shown.extend)
    expected = load_segmenter(device="cpu").segment(phantom.image, support)
    result = job.check()
    assert (job.state, job.message) == (DONE, "")
    assert np.array_equal(result.labels.voxels, expected.labels.voxels)
    assert [s.score for s in result.slices] == [s.score for s in expected.slices]
    last = {one.index: one.labels for one in shown}
    assert len(last) >= 3
    for index, labels in last.items():
        assert np.array_equal(labels, result.labels.voxels[index])
    assert job.progress.done == job.progress.total == 8


def test_the_process_stays_warm(worker, phantom, support):
    assert segment(worker, phantom, support).wait(LIMIT)
    process = worker.pid
    before = cpu_seconds(process)
    assert segment(worker, phantom, support, range=(3, 4)).wait(LIMIT)
    assert worker.pid == process
    assert cpu_seconds(process) - before < before / 2, "nothing is loaded again"


def cpu_seconds(pid: int) -> float:
    """What a process has computed so far, whatever else the machine does."""
    import psutil

    used = psutil.Process(pid).cpu_times()
    return used.user + used.system


def test_one_slice(worker, phantom, support):
    points = {LIVER: PointPrompts.of([[30, 20]], [[50, 50]])}
    job = worker.segment_slice(
        phantom.image, [support], 1, prompts=points, model=MODEL, options={}
    )
    assert job.wait(LIMIT)
    answer = job.check()
    assert answer.preview.index == 1 and answer.preview.labels.shape == (64, 64)
    assert np.allclose(answer.prompts[LIVER].points, points[LIVER].points, atol=1e-3)


def test_it_says_where_it_computes(worker):
    job = worker.hello()
    assert job.wait(LIMIT)
    assert set(job.check()) == {
        "version", "python", "platform", "torch", "device", "reason", "memory"
    }  # fmt: skip
    doctor = worker.doctor()
    assert doctor.wait(LIMIT) and "optional packages" in doctor.check()["text"]


def test_volumes_are_sent_once_and_forgotten(worker, support):
    one = abdomen(**SMALL, seed=5)
    for _ in range(2):
        job = worker.segment_slice(one.image, [support], 3, model=MODEL, options={})
        assert job.wait(LIMIT) and job.state == DONE
    tokens = worker._child._tokens
    token = tokens[one.image]
    del one
    gc.collect()
    assert token not in tokens.values()
    assert worker.hello().wait(LIMIT), "it goes on after it was told to forget"


def test_unusable_input_is_one_line(worker, phantom, support):
    job = segment(worker, phantom, support, range=(0, 99))
    assert job.wait(LIMIT)
    assert (job.state, job.kind) == (FAILED, "input") and "0 to 7" in job.message
    with pytest.raises(InputError, match="0 to 7"):
        job.check()
    assert segment(worker, phantom, support, range=(3, 4)).wait(LIMIT)


def test_jobs_wait_for_each_other(worker, phantom, support):
    several = [segment(worker, phantom, support, range=(n, n + 1)) for n in range(3)]
    for job in several:
        assert job.wait(LIMIT) and job.state == DONE


# --------------------------------------------------------------------------- never in the way


def test_no_call_takes_long(worker, phantom, support):
    """Even while volumes travel: 64 MB there, 32 MB back."""
    big = np.zeros((32, 1024, 1024), np.int16)
    big[:, ::16, ::16] = 500
    volume = phantom.image.with_voxels(phantom.image.voxels)
    volume = type(volume)(big, (0.3, 0.3, 6.0), name="big")
    started = time.thread_time()
    job = worker.segment(volume, [support], model=MODEL, options={"range": (0, 0)})
    longest = time.thread_time() - started
    until = time.monotonic() + LIMIT
    while not job.over and time.monotonic() < until:
        longest = max(longest, seconds_of(job.poll))
    assert job.over
    assert longest < 10 * min(seconds_of(big.copy) for _ in range(5))


def seconds_of(call) -> float:
    """Of this thread's own work, whatever else the machine does."""
    started = time.thread_time()
    call()
    return time.thread_time() - started


# ------------------------------------------------------------------------ cancelling and dying


def test_cancel(worker, phantom, long, support):
    job = segment(worker, long, support, strategy="slices")
    works(job)
    process = worker.pid
    job.cancel()
    assert job.wait(LIMIT)
    assert (job.state, job.message) == (CANCELLED, "cancelled")
    with pytest.raises(Cancelled):
        job.check()
    after = segment(worker, phantom, support, range=(3, 4))
    assert after.wait(LIMIT) and after.state == DONE
    assert worker.pid == process, "the same process goes on"


def test_cancel_before_it_has_begun(worker, phantom, support):
    first, second = (segment(worker, phantom, support) for _ in range(2))
    second.cancel()
    assert first.wait(LIMIT) and second.wait(LIMIT)
    assert (first.state, second.state) == (DONE, CANCELLED)


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="processes cannot be halted here")
def test_a_process_that_does_not_listen_is_ended(mortal, phantom, support):
    assert mortal.hello().wait(LIMIT)
    process = mortal._child.process
    job = segment(mortal, phantom, support)
    os.kill(process.pid, signal.SIGSTOP)
    job.cancel()
    assert job.wait(LIMIT) and job.state == CANCELLED
    assert ended(process)
    again = segment(mortal, phantom, support, range=(3, 4))
    assert again.wait(LIMIT) and again.state == DONE


@pytest.mark.skipif(os.name != "posix", reason="the launcher is a shell script")
def test_a_launcher_like_pythonslicer(tmp_path, phantom, long, support):
    """The worker is then the child of a child."""
    import psutil

    launcher = tmp_path / "PythonSlicer"
    launcher.write_text(f'#!/bin/sh\n"{sys.executable}" "$@"\nexit $?\n', encoding="utf-8")
    launcher.chmod(0o755)
    worker = new_worker(python=launcher, patience=0.5)
    assert worker.hello().wait(LIMIT)
    (inner,) = psutil.Process(worker.pid).children()
    job = segment(worker, phantom, support)
    inner.suspend()
    job.cancel()
    assert job.wait(LIMIT) and job.state == CANCELLED
    assert gone(inner.pid), "the launcher and what it launched"
    again = segment(worker, long, support, strategy="slices")
    works(again)
    (inner,) = psutil.Process(worker.pid).children()
    inner.kill()
    assert again.wait(LIMIT) and again.kind == "crash"
    assert worker.hello().wait(LIMIT)
    (inner,) = psutil.Process(worker.pid).children()
    worker.close()
    assert gone(inner.pid)


def test_a_killed_process_is_told_of_and_replaced(mortal, phantom, long, support):
    job = segment(mortal, long, support, strategy="slices")
    works(job)
    first = mortal.pid
    mortal._child.process.kill()
    assert job.wait(LIMIT)
    assert (job.state, job.kind) == (FAILED, "crash")
    assert "ended unexpectedly" in job.message and "\n" not in job.message
    if os.name == "posix":
        assert "SIGKILL" in job.message and "memory" in job.message
    with pytest.raises(JobError, match="nothing was changed"):
        job.check()
    assert not mortal.alive
    again = segment(mortal, phantom, support, range=(3, 4))
    assert again.wait(LIMIT) and again.state == DONE
    assert mortal.pid not in (None, first)


def test_killed_while_nothing_runs(mortal, phantom, support):
    assert mortal.hello().wait(LIMIT)
    mortal._child.process.kill()
    job = segment(mortal, phantom, support, range=(3, 4))  # perhaps before anybody noticed
    assert job.wait(LIMIT)
    if job.state == FAILED:
        job = segment(mortal, phantom, support, range=(3, 4))
        assert job.wait(LIMIT)
    assert job.state == DONE


def test_last_words_are_passed_on(tmp_path, monkeypatch):
    """A Python that cannot find the library: its own message reaches the person."""
    empty = tmp_path / "FewShotSAMLib"
    empty.mkdir()
    (empty / "__init__.py").write_text("raise RuntimeError('no such luck')", encoding="utf-8")
    monkeypatch.setattr(workers, "library_folder", lambda: tmp_path)
    job = new_worker().hello()
    assert job.wait(LIMIT)
    assert job.kind == "crash" and "no such luck" in job.message and "\n" not in job.message


def test_a_python_that_is_not_there():
    job = Worker(python=Path("no", "such", "python")).hello()
    assert (job.state, job.kind) == (FAILED, "crash")
    assert "cannot be started" in job.message


def test_nonsense_on_the_pipe_is_a_crash(tmp_path, monkeypatch):
    """A program that is no worker."""
    fake = tmp_path / "FewShotSAMLib" / "apps"
    fake.mkdir(parents=True)
    for folder in (fake.parent, fake):
        (folder / "__init__.py").write_text("", encoding="utf-8")
    (fake / "worker.py").write_text("print('Hello, world! ' * 99)", encoding="utf-8")
    monkeypatch.setattr(workers, "library_folder", lambda: tmp_path)
    job = new_worker().hello()
    assert job.wait(LIMIT)
    assert job.kind == "crash" and "not understood" in job.message


def test_close_ends_the_process(mortal):
    assert mortal.hello().wait(LIMIT)
    process = mortal._child.process
    mortal.close()
    assert ended(process) and process.returncode == 0
    assert not mortal.alive and mortal.pid is None
    assert mortal.hello().wait(LIMIT), "it starts again when it is needed"


def test_the_process_ends_with_the_application(tmp_path):
    """An application that vanishes takes its child with it."""
    import subprocess

    script = (
        "import os, sys\n"
        "from FewShotSAMModule.runs.worker import Worker\n"
        "worker = Worker()\n"
        "assert worker.hello().wait(600)\n"
        "print(worker.pid, flush=True)\n"
        "os._exit(3)\n"
    )
    root = workers.library_folder()
    paths = os.pathsep.join([str(root), str(root / "FewShotSAM")])
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, encoding="utf-8",
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert gone(int(done.stdout))


def gone(pid: int) -> bool:
    import psutil

    until = time.monotonic() + LIMIT
    while time.monotonic() < until:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.1)
    return False
