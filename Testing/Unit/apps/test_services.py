"""The command line as services, containers and schedulers run it: without a home folder, without
streams, ended by signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from FewShotSAMLib import Support, write_volume
from FewShotSAMLib.apps.interrupts import answering
from FewShotSAMLib.phantom.abdomen import abdomen

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[3]
posix = pytest.mark.skipif(os.name == "nt", reason="a POSIX shell closes the streams")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("a service")
    patient = abdomen(shape=(6, 48, 48), spacing=(7, 7, 33))
    write_volume(patient.image, folder / "scan.nii.gz")
    Support.from_labels(
        patient.image, patient.marked(patient.marked_slice()), axis="axial", keep_labels=[1]
    ).save(folder / "support.nrrd")
    return folder


def command(inputs: Path, out: Path) -> list[str]:
    return [
        sys.executable, "-m", "FewShotSAMLib", "segment", str(inputs / "scan.nii.gz"),
        "--support", str(inputs / "support.nrrd"), "-o", str(out), "--device", "cpu",
    ]  # fmt: skip


def without_home(**more: str) -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if k not in ("HOME", "XDG_CACHE_HOME")} | more


@posix
@pytest.mark.parametrize("home", [None, "a file", "a loop", "nowhere"])
def test_the_shipped_model_needs_no_home(inputs, tmp_path, home):
    (tmp_path / "a file").write_text("", encoding="utf-8")
    (tmp_path / "a loop").symlink_to(tmp_path / "a loop")
    environment = without_home(**({"HOME": str(tmp_path / home)} if home else {}))
    out = tmp_path / "out.nii.gz"
    done = subprocess.run(
        command(inputs, out), cwd=ROOT, env=environment, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    assert out.is_file() and "Traceback" not in done.stderr


@posix
@pytest.mark.parametrize("closed", ["2>&-", ">&-", ">&- 2>&-", "<&-"])
def test_closed_streams_cost_nothing(inputs, tmp_path, closed):
    out = tmp_path / "out.nii.gz"
    shell = ["sh", "-c", f'exec "$@" {closed}', "sh", *command(inputs, out)]
    done = subprocess.run(shell, cwd=ROOT, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert out.is_file() and "Traceback" not in done.stdout + done.stderr
    shell[-7] = str(inputs / "none.nii.gz")
    done = subprocess.run(shell, cwd=ROOT, capture_output=True, encoding="utf-8")
    assert done.returncode == 2 and "Traceback" not in done.stdout + done.stderr


@posix
def test_a_link_that_leads_to_itself_is_one_line(inputs, tmp_path):
    loop = tmp_path / "loop.nii.gz"
    loop.symlink_to(loop)
    into, out_of = command(inputs, loop), command(inputs, tmp_path / "out.nii.gz")
    out_of[4] = str(loop)
    for asked in (into, out_of):
        done = subprocess.run(asked, cwd=ROOT, capture_output=True, encoding="utf-8")
        assert done.returncode == 2, done.stderr
        (line,) = [one for one in done.stderr.splitlines() if "error" in one]
        assert "loop.nii.gz" in line and "Traceback" not in done.stderr
    assert sorted(one.name for one in tmp_path.iterdir()) == ["loop.nii.gz"]


@pytest.mark.skipif(os.name == "nt", reason="Windows ends a process that is sent a signal")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ended_at_any_moment(inputs, tmp_path, number):
    """Before Python has come to this program's code it ends as Python does, without a word."""
    for seconds in (0.15, 0.3, 0.6, 1.2, 2.4):
        process = subprocess.Popen(
            command(inputs, tmp_path / "out.nii.gz"), cwd=ROOT,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        time.sleep(seconds)
        process.send_signal(number)
        _, said = process.communicate()
        assert process.returncode in (0, 130, -number), (seconds, said)
        if process.returncode == 130:
            assert b"cancelled" in said and b"Traceback" not in said, (seconds, said)
        done = [one.name for one in tmp_path.iterdir()]
        assert done == (["out.nii.gz"] if process.returncode == 0 else []), seconds
        (tmp_path / "out.nii.gz").unlink(missing_ok=True)


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_the_end_of_python_takes_nothing_back(inputs, tmp_path, number):
    out = tmp_path / "out.nii.gz"
    for seconds in (0.02, 0.06, 0.12):
        process = subprocess.Popen(
            command(inputs, out), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            encoding="utf-8",
        )  # fmt: skip
        while "wrote" not in process.stdout.readline() and process.poll() is None:
            pass
        time.sleep(seconds)
        process.send_signal(number)
        _, said = process.communicate()
        assert process.returncode == 0 and out.is_file(), (seconds, said)


LOADING = """
import os, signal, sys, threading, time
from FewShotSAMLib.apps.interrupts import Interrupted, answering, interrupt
threading.Thread(
    target=lambda: [time.sleep({seconds}), os.kill(os.getpid(), signal.SIGINT)], daemon=True
).start()
with answering(interrupt):
    try:
        import torch
        time.sleep(60)
    except Interrupted:
        sys.exit(7)
"""


@posix
@pytest.mark.parametrize("seconds", [0.3, 0.6, 0.9])
def test_an_interrupt_waits_for_pytorch_to_be_loaded(seconds):
    """Or it would end the process from within PyTorch's C++ code."""
    done = subprocess.run(
        [sys.executable, "-c", LOADING.format(seconds=seconds)], cwd=ROOT, capture_output=True,
        encoding="utf-8", timeout=120,
    )  # fmt: skip
    assert done.returncode == 7, done.stderr


def test_signals_are_answered_and_then_as_before():
    heard: list[int] = []
    before = signal.getsignal(signal.SIGTERM)
    with answering(lambda number, _frame: heard.append(number)):
        signal.raise_signal(signal.SIGTERM)
    assert heard == [signal.SIGTERM] and signal.getsignal(signal.SIGTERM) is before
    ignored = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with answering(lambda number, _frame: heard.append(number)):
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, ignored)


def test_other_threads_change_nothing():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def elsewhere() -> None:
        with answering(lambda *_: None):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [before]


@posix
def test_folders_with_links_in_a_circle_are_looked_through_once(inputs, tmp_path):
    (tmp_path / "scan.nii.gz").write_bytes((inputs / "scan.nii.gz").read_bytes())
    (tmp_path / "back").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "loop.nii.gz").symlink_to(tmp_path / "loop.nii.gz")
    done = subprocess.run(
        [sys.executable, "-m", "FewShotSAMLib", "batch", str(tmp_path), "--support",
         str(inputs / "support.nrrd"), "-o", str(tmp_path / "out"), "--dry-run"],
        cwd=ROOT, capture_output=True, encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("scan.nii.gz") == 1 and "2 studies, 2 to do" in done.stdout
