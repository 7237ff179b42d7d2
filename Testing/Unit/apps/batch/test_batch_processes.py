"""Batches in processes of their own: killed, out of disk, with several workers, with a scheduler
that goes away."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_disk import needs_root, small_disk
from small_studies import ROOT, batch, batch_command, manifest, support_of, write_studies

from FewShotSAMLib import InputError, read_labels, segment_many

sys.path.append(str(ROOT / "Testing" / "Benchmarks"))

from batch_kills import done_times, killed_and_resumed  # noqa: E402

STUDIES = 3


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes") / "in"
    write_studies(folder, STUDIES)
    return folder


def test_killed_and_started_again(studies, tmp_path):
    counts = killed_and_resumed(studies, tmp_path / "out", 2)
    assert counts == sorted(counts) and counts[-1] == STUDIES


def test_exit_status_and_lists(studies, tmp_path):
    bad = tmp_path / "bad.nii.gz"
    bad.write_text("no image", encoding="utf-8")
    first = studies / "patient 0.nii.gz"
    out, support = tmp_path / "out", support_of(studies)
    dry = batch(first, bad, "--support", support, "-o", out, "--dry-run")
    assert dry.returncode == 0 and "2 studies, 2 to do" in dry.stdout and not out.exists()
    some = batch(first, bad, "--support", support, "-o", out, "--report")
    assert some.returncode == 3, some.stderr
    assert "1 done, 0 earlier, 1 failed" in some.stdout
    assert [one["status"] for one in manifest(out)] == ["failed", "done"]
    assert (out / "patient 0.html").is_file() and "bad.nii.gz" in some.stderr
    log = (out / "batch.log").read_text(encoding="utf-8")
    assert "failed bad" in log and "Traceback" in log and "done patient 0" in log
    none = batch(tmp_path / "gone", "--support", support, "-o", out)
    assert none.returncode == 2 and none.stderr.count("\n") == 1


@needs_root
def test_a_full_disk_is_one_line_and_what_is_done_stays(studies, tmp_path):
    disk = tmp_path / "disk"
    with small_disk(disk):
        said = batch(studies, "--support", support_of(studies), "-o", disk, "--formats", ".nrrd")
        errors = [line for line in said.stderr.splitlines() if "error" in line]
        assert said.returncode == 2, said.stderr
        assert len(errors) == 1 and "full" in errors[0], said.stderr
        assert not list(disk.glob("records/*.partial"))
        done_times(disk)


@pytest.mark.slow
def test_a_killed_worker_is_replaced(studies, tmp_path):
    pytest.importorskip("distributed", reason="the extra `batch` brings Dask")
    psutil = pytest.importorskip("psutil")
    out = tmp_path / "out"
    command = batch_command(studies, "--support", support_of(studies), "-o", out, "--workers", 2)
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_until(lambda: any(out.glob("records/*.partial")) or process.poll() is not None)
    workers = [
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if "spawn_main" in command_of(child)
    ]
    assert len(workers) == 2, workers
    workers[0].kill()
    printed, said = process.communicate()
    assert process.returncode == 0, said.decode("utf-8", "replace")
    assert len(done_times(out)) == STUDIES, printed


@pytest.mark.slow
@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 has no PYTHONSAFEPATH")
def test_workers_take_no_modules_from_the_folder_they_start_in(studies, tmp_path):
    """Relative paths are of that folder, all the same."""
    pytest.importorskip("distributed", reason="the extra `batch` brings Dask")
    (tmp_path / "html.py").write_text("no module", encoding="utf-8")
    (tmp_path / "in").mkdir()
    shutil.copy(studies / "patient 0.nii.gz", tmp_path / "in")
    command = batch_command("in", "--support", support_of(studies), "-o", "out", "--workers", 2)
    program = [sys.executable, "-P", *command[1:]]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert len(done_times(tmp_path / "out")) == 1


def test_workers_that_do_not_start_are_one_line(studies, tmp_path, monkeypatch):
    pytest.importorskip("distributed", reason="the extra `batch` brings Dask")
    from FewShotSAMLib.apps.batch import cluster

    broken = [{**os.environ, "PYTHONPATH": str(tmp_path)}]
    (tmp_path / "distributed.py").write_text("raise OSError('no dice')", encoding="utf-8")
    monkeypatch.setattr(cluster, "_environments", lambda workers: broken)
    with pytest.raises(InputError, match=r"no worker .*no dice\); try it without --workers"):
        list(segment_many([studies / "patient 0.nii.gz"], support_of(studies), tmp_path / "out",
                          device="cpu", workers=2))  # fmt: skip


@pytest.mark.slow
def test_workers_keep_their_memory_and_have_their_share_of_threads(monkeypatch):
    distributed = pytest.importorskip("distributed", reason="the extra `batch` brings Dask")
    from FewShotSAMLib.apps.batch import cluster

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    with cluster._address(2, None) as (address, _), distributed.Client(address) as client:
        there = client.submit(lambda: dict(os.environ)).result(timeout=300)
    assert "MALLOC_TRIM_THRESHOLD_" not in there  # given back to the system again and again
    assert there["OMP_NUM_THREADS"] == str(max((os.cpu_count() or 1) // 2, 1))


@pytest.mark.slow
def test_a_job_queue_starts_the_workers(studies, tmp_path, monkeypatch):
    """The recipe of docs/batch.md for SLURM, on the class of dask-jobqueue that submits its jobs to
    this machine: a real scheduler, and a worker in a process of its own."""
    local = pytest.importorskip("dask_jobqueue.local", reason="needs dask-jobqueue")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    two, support = [studies / f"patient {number}.nii.gz" for number in (0, 1)], support_of(studies)
    own = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    # A job is words with spaces between them, and this Python may lie in a folder with a space.
    python = Path(sys.executable)
    monkeypatch.setenv("PATH", f"{python.parent}{os.pathsep}{os.environ['PATH']}")
    with local.LocalCluster(cores=1, processes=1, memory="8GB", python=python.name,
                            log_directory=str(tmp_path / "jobs"), scheduler_options=own,
                            nanny=False) as cluster:  # fmt: skip
        cluster.scale(jobs=1)
        cluster.wait_for_workers(1, timeout=120)
        found = list(segment_many(two, support, tmp_path / "out", device="cpu",
                                  scheduler=cluster.scheduler_address))  # fmt: skip
    assert sorted((one.name, one.status) for one in found) == [
        ("patient 0", "done"), ("patient 1", "done"),
    ]  # fmt: skip
    assert all(read_labels(one.outputs[".seg.nrrd"]).voxels.any() for one in found)


@pytest.mark.slow
def test_a_scheduler_that_is_restarted(studies, tmp_path):
    """And a client that does not stay: studies go on without it."""
    pytest.importorskip("distributed", reason="the extra `batch` brings Dask")
    out, port = tmp_path / "out", free_port()
    address = f"tcp://127.0.0.1:{port}"
    options = ("--support", support_of(studies), "-o", out, "--scheduler", address)
    machines = start_machines(address, port, tmp_path)
    try:
        client = subprocess.Popen(
            batch_command(studies, *options), cwd=ROOT, stderr=subprocess.PIPE
        )
        wait_until(lambda: len(done_times(out)) >= 1 or client.poll() is not None)
        stop(machines)
        machines = start_machines(address, port, tmp_path)
        _, said = client.communicate()
        assert client.returncode == 0, said.decode("utf-8", "replace")
        assert len(done_times(out)) == STUDIES

        shutil.rmtree(out)
        client = subprocess.Popen(batch_command(studies, *options), cwd=ROOT)
        wait_until(lambda: any(out.glob("records/*.partial")))
        client.kill()
        client.wait()
        wait_until(lambda: len(done_times(out)) == STUDIES)
    finally:
        stop(machines)


def command_of(process) -> str:
    """Of a process that may be gone by now."""
    try:
        return " ".join(process.cmdline())
    except Exception:
        return ""


def start_machines(address: str, port: int, folder: Path) -> list[subprocess.Popen]:
    """A scheduler and a worker, as a person starts them on machines of their own."""
    module = [sys.executable, "-m"]
    scheduler = [
        *module, "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port),
        "--no-dashboard",
    ]  # fmt: skip
    worker = [
        *module, "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-dashboard",
        "--local-directory", str(folder),
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return [
        subprocess.Popen(one, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
        for one in (scheduler, worker)
    ]


def stop(machines: list[subprocess.Popen]) -> None:
    for one in machines:
        one.kill()
        one.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(happened) -> None:
    end = time.monotonic() + 600
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.1)
