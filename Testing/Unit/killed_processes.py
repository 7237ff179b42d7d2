"""Programs that end at once, whatever they are doing: killed from outside, or by themselves before
a chosen change of a folder."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil

DIED = 86  # exit status of a program that ended before a change

_DYING = f"""
import os, runpy, sys
left, folder, module = int(sys.argv[1]), sys.argv[2], sys.argv[3]
CHANGES = ("os.rename", "os.remove", "os.truncate", "os.mkdir", "os.rmdir")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

def changes(event, arguments):
    if event == "open":
        path, mode, flags = arguments
        writes = bool(flags & WRITES) if mode is None else mode.strip("rbt") != ""
        return writes and inside(path)
    return event in CHANGES and any(map(inside, arguments))

def inside(path):
    return isinstance(path, (str, os.PathLike)) and os.fspath(path).startswith(folder)

def watch(event, arguments):
    global left
    if event.startswith(("open", "os.")) and changes(event, arguments):
        left -= 1
        if left < 0:
            os._exit({DIED})

sys.argv = [module, *sys.argv[4:]]
sys.addaudithook(watch)
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


def kill(process: subprocess.Popen) -> None:
    """SIGKILL, on Windows TerminateProcess, for a process and those that it started, and waits
    until all are gone: there an environment's python.exe starts the real one, which may outlive it
    for a moment with its files still open."""
    family: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        first = psutil.Process(process.pid)
        family = [first, *first.children(recursive=True)]
    for one in family:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    process.wait()
    psutil.wait_procs(family[1:], timeout=60)


def dying(changes: int, folder: Path, module: str, *arguments: object) -> list[str]:
    """A command that ends with the status `DIED` before it changes a folder for the time after so
    many: opens a file there for writing, renames or removes one, makes a folder. Where it makes no
    more changes it ends as usual. Python's own changes count, not those of libraries in C."""
    start = [sys.executable, "-c", _DYING, str(changes), str(folder), module]
    return [*start, *map(str, arguments)]


def temporaries(*folders: Path) -> list[Path]:
    """The files that are being written in some folders, or that a kill left there."""
    return [path for folder in folders for path in folder.glob(".fewshotsam-*")]
