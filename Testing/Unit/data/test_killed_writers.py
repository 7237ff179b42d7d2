"""What a killed program left of a file is removed by the next that writes into the folder."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import psutil

from FewShotSAMLib.data.whole_files import atomic_path

SCRIPT = """
import os, pathlib, sys
from FewShotSAMLib.data.whole_files import atomic_path
with atomic_path(pathlib.Path(sys.argv[1])) as temporary:
    temporary.write_bytes(b"half")
    os._exit(9)
"""


def leftovers(folder) -> list[str]:
    return [p.name for p in folder.iterdir() if p.name.startswith(".")]


def test_leftovers_of_a_killed_writer_go_with_the_next_write(tmp_path):
    subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path / "a.nii.gz")], timeout=120)
    assert len(leftovers(tmp_path)) == 1 and not (tmp_path / "a.nii.gz").exists()
    with atomic_path(tmp_path / "b.txt") as temporary:
        temporary.write_text("whole", encoding="utf-8")
    assert [p.name for p in tmp_path.iterdir()] == ["b.txt"]


def test_files_of_writers_at_work_and_of_other_programs_stay(tmp_path):
    (tmp_path / ".fewshotsam.json").write_text("{}", encoding="utf-8")
    with atomic_path(tmp_path / "a.txt") as first:
        first.write_text("first", encoding="utf-8")
        with atomic_path(tmp_path / "b.txt") as second:
            second.write_text("second", encoding="utf-8")
        assert first.exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == [".fewshotsam.json", "a.txt", "b.txt"]


def test_what_another_computer_began_stays_for_a_week(tmp_path):
    file = tmp_path / ".fewshotsam-00000000-1-0123456789ab.nrrd"
    file.write_bytes(b"half")
    for days, stays in ((1, True), (8, False)):
        then = time.time() - days * 24 * 3600
        os.utime(file, (then, then))
        with atomic_path(tmp_path / "a.txt") as temporary:
            temporary.write_text("", encoding="utf-8")
        assert file.exists() is stays


def test_leftovers_of_one_whose_end_nobody_has_asked_for_go_as_well(tmp_path):
    """Unix keeps the number of such a process; in containers often for ever."""
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path / "a.nii.gz")])
    end = time.monotonic() + 60
    while psutil.pid_exists(process.pid) and (
        psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE
    ):
        assert time.monotonic() < end
        time.sleep(0.01)
    assert len(leftovers(tmp_path)) == 1
    with atomic_path(tmp_path / "b.txt") as temporary:
        temporary.write_text("whole", encoding="utf-8")
    assert [p.name for p in tmp_path.iterdir()] == ["b.txt"]
    process.wait()


def test_leftovers_go_when_their_writers_number_is_another_process_s(tmp_path):
    """As that of a container's first process always is: here our own."""
    with atomic_path(tmp_path / "a.txt") as first:
        first.write_text("half", encoding="utf-8")
        left = tmp_path / first.name
        long_before = psutil.Process().create_time() - 3600
        os.utime(left, (long_before, long_before))
        with atomic_path(tmp_path / "b.txt") as second:
            second.write_text("whole", encoding="utf-8")
        assert [p.name for p in tmp_path.iterdir()] == ["b.txt"]
        first.write_text("as if it were not gone", encoding="utf-8")
