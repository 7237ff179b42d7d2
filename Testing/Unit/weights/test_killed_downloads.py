"""Downloads that are killed, against a real server: what has arrived stays and is gone on with, and
nothing but the whole file ever has its name."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from file_server import Answer, serving
from killed_processes import DIED, dying, kill

from FewShotSAMLib.weights.downloads import (
    DownloadError,
    Patience,
    Wanted,
    download,
    lock_file,
    partial_files,
)
from FewShotSAMLib.weights.file_lock import locked
from FewShotSAMLib.weights.store import WeightStore, record_file

ROOT = Path(__file__).resolve().parents[3]
CONTENT = np.random.default_rng(0).bytes(900_001)
OTHER = np.random.default_rng(1).bytes(900_001)
SIZE = len(CONTENT)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
FETCH = """
import sys
from pathlib import Path
from FewShotSAMLib.weights.downloads import Wanted, download
url, target, size, sha256 = sys.argv[1:]
print(download(Wanted(url, Path(target), int(size) or None, sha256)))
"""


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    """This machine is reached directly, whatever proxy it uses for others."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def server():
    with serving() as running:
        running.files["/weights.pth"] = CONTENT
        yield running


@pytest.fixture
def environment(tmp_path):
    """Children find the program and the module `fetch`."""
    (tmp_path / "fetch.py").write_text(FETCH, encoding="utf-8")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}


def get(server, target, sha256=SHA256) -> str:
    return download(
        Wanted(f"{server.url}/weights.pth", target, SIZE, sha256), patience=Patience(2, 0.01)
    )


def arrived(target: Path) -> int:
    partial = partial_files(target)[0]
    return partial.stat().st_size if partial.exists() else 0


@pytest.mark.parametrize("sha256", [SHA256, ""])
def test_killed_at_random_moments(server, environment, tmp_path, sha256):
    target, choose = tmp_path / "w" / "weights.pth", random.Random(1)
    server.answers = [Answer(pause=0.01, piece=20_000)] * 9
    command = [sys.executable, "-m", "fetch", f"{server.url}/weights.pth", target,
               str(len(CONTENT)), sha256]  # fmt: skip
    kept = []
    for _ in range(3):
        process = subprocess.Popen([*map(str, command)], env=environment)
        before, end = arrived(target), time.monotonic() + 60
        while arrived(target) <= before and process.poll() is None:
            assert time.monotonic() < end
            time.sleep(0.002)
        time.sleep(choose.uniform(0, 0.1))
        kill(process)
        assert not target.exists()
        kept.append(arrived(target))
    assert kept == sorted(kept) and kept[0] > 0
    assert get(server, target, sha256) == SHA256
    assert server.ranges() == ["", *(f"bytes={n}-" for n in kept)]
    assert target.read_bytes() == CONTENT
    assert [p.name for p in target.parent.iterdir()] == [target.name]


@pytest.mark.parametrize("sha256", [SHA256, ""])
def test_killed_before_any_change(server, environment, tmp_path, sha256):
    for changes in range(60):
        target = tmp_path / str(changes) / "weights.pth"
        status = fetch_dying(changes, server, target, environment, sha256)
        assert not target.exists() or target.read_bytes() == CONTENT
        if status == 0:
            break
        assert get(server, target, sha256) == SHA256
        assert target.read_bytes() == CONTENT
        assert [p.name for p in target.parent.iterdir()] == [target.name], changes
    assert 6 < changes < 60


def fetch_dying(changes: int, server, target: Path, environment, sha256: str) -> int:
    command = dying(
        changes, target.parent, "fetch", f"{server.url}/weights.pth", target, SIZE, sha256
    )
    ran = subprocess.run(command, env=environment, capture_output=True, timeout=120)
    assert ran.returncode in (0, DIED), ran.stderr
    return ran.returncode


def test_a_file_that_changed_on_the_server_is_not_joined_to_its_old_half(
    server, environment, tmp_path
):
    """Nobody knows its SHA-256, so only the server can tell; killed before any change."""
    for changes in range(60):
        target = tmp_path / str(changes) / "weights.pth"
        server.files["/weights.pth"], server.etag = CONTENT, '"version 1"'
        server.answers = [Answer(stop_after=400_000), Answer(status=404)]
        with pytest.raises(DownloadError):
            get(server, target, "")
        assert arrived(target) == 400_000
        server.files["/weights.pth"], server.etag = OTHER, '"version 2"'
        status = fetch_dying(changes, server, target, environment, "")
        get(server, target, "")
        assert target.read_bytes() == OTHER, changes
        assert [p.name for p in target.parent.iterdir()] == [target.name], changes
        if status == 0:
            break
    assert 6 < changes < 60


def test_what_a_kill_left_of_a_download_goes_when_the_file_is_used(server, tmp_path):
    """Killed after the file had its name, and before anything else."""
    store = WeightStore(tmp_path / "w", tell=lambda _: None)
    name = "dinov2-base-registers"
    target = store.path(name)
    get(server, target, "")
    for left in (*partial_files(target), lock_file(target)):
        left.write_text("{}", encoding="utf-8")
    assert store.find(name).sha256 == SHA256
    assert sorted(target.parent.iterdir()) == [target, record_file(target)]


def test_a_lock_that_is_not_kept_is_held_by_one_at_a_time(tmp_path):
    """Its file comes and goes with each holder."""
    path, inside, most = tmp_path / "a.lock", [], []

    def work() -> None:
        for _ in range(15):
            with locked(path, lambda: None, threading.Event(), keep=False) as held:
                assert held
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.001)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert most == [1] * 60 and not path.exists()
