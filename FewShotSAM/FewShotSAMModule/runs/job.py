"""Segmentation in a process of its own: start it, ask it, hear from it, never wait for it.

`Worker` keeps one child process (`FewShotSAMLib.apps.worker`) from one request to the next and
starts another when it has ended. Each request is a `Job`; whoever owns it calls `Job.poll` now and
then, from a timer. Three threads speak with the child and touch nothing but queues.
"""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import FewShotSAMLib

if TYPE_CHECKING:
    from FewShotSAMLib import Support, Volume
    from FewShotSAMLib.apps.messages import Message
    from FewShotSAMLib.prompting.point_prompts import PointPrompts
    from FewShotSAMLib.segmentation.results import Progress, SlicePreview

WAITING, RUNNING, DONE, CANCELLED, FAILED = "waiting", "running", "done", "cancelled", "failed"
_FINAL = (DONE, CANCELLED, FAILED)

# The main thread of an application may keep Python's lock while it waits for the next event. Poll
# sleeps this many seconds so that the threads that speak with the child get on.
_YIELD = 0.004
# Seconds of one poll for taking in what has arrived.
_SHARE = 0.02


class JobError(RuntimeError):
    """A job failed. The message is one line.

    Attributes:
        kind: "memory", "internal" or "crash" (unusable input is an `InputError`).
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Job:
    """One request.

    Attributes:
        state: "waiting", "running", "done", "cancelled" or "failed".
        message: one line when it was cancelled or failed.
        kind: of a failure, "input", "memory", "internal" or "crash".
        progress: the last `Progress`.
        notes: remarks, such as that a network left the GPU.
        result: when done, what was asked for.
    """

    def __init__(self, child: _Child | None, number: int, patience: float) -> None:
        self.state, self.message, self.kind = WAITING, "", ""
        self.progress: Progress | None = None
        self.notes: list[str] = []
        self.result: Any = None
        self.number = number
        self._child, self._patience = child, patience
        self._events: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._arrived = threading.Event()
        self._cancelled_at: float | None = None

    @property
    def over(self) -> bool:
        """Whether it is done, cancelled or failed."""
        return self.state in _FINAL

    def poll(self) -> list[SlicePreview]:
        """Takes in what has arrived, within about 20 ms, and returns slices with new labels, the
        last of each. Call it again and again until `over`."""
        if self.over:
            return []
        if self._events.empty():
            self._arrived.wait(_YIELD)
        self._arrived.clear()
        fresh: dict[tuple[int, int], SlicePreview] = {}
        until = time.monotonic() + _SHARE
        while not self.over and time.monotonic() < until:
            try:
                event, content = self._events.get_nowait()
            except queue.Empty:
                break
            self._take(event, content, fresh)
        if not self.over and self._out_of_patience():
            self._child.kill()
            self._finish(CANCELLED, "cancelled")
        return list(fresh.values())

    def cancel(self) -> None:
        """Asks it to stop. It has stopped when `poll` says so, at the latest when patience runs
        out: then its process is ended."""
        if self.over or self._cancelled_at is not None:
            return
        self._cancelled_at = time.monotonic()
        self._child.cancel(self.number)

    def wait(
        self,
        timeout: float | None = None,
        tick: Callable[[list[SlicePreview]], None] | None = None,
    ) -> bool:
        """Polls until it is over, or `timeout` seconds have passed; says whether it is over.

        Args:
            timeout: None for no limit.
            tick: called after every poll with the slices it gave.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while not self.over:
            fresh = self.poll()
            if tick is not None:
                tick(fresh)
            if until is not None and time.monotonic() > until:
                break
        return self.over

    def check(self) -> Any:
        """The result.

        Raises:
            InputError: what was given is unusable.
            Cancelled: it was cancelled.
            JobError: it failed, or is not over yet.
        """
        if self.state == DONE:
            return self.result
        if self.state == CANCELLED:
            from FewShotSAMLib.segmentation.results import Cancelled

            raise Cancelled(self.message)
        if self.kind == "input":
            raise FewShotSAMLib.InputError(self.message)
        raise JobError(self.kind or "internal", self.message or "it is not over yet")

    def _out_of_patience(self) -> bool:
        asked = self._cancelled_at
        return asked is not None and time.monotonic() - asked > self._patience

    def _take(self, event: str, content: Any, fresh: dict[tuple[int, int], SlicePreview]) -> None:
        if event == "error":
            kind, line = content
            if kind == "cancelled" or self._cancelled_at is not None:
                self._finish(CANCELLED, "cancelled")
            else:
                self._finish(FAILED, line, kind)
            return
        self.state = RUNNING
        if event == "progress":
            self.progress = content
        elif event == "note":
            self.notes.append(content)
        elif event == "preview":
            fresh[content.axis, content.index] = content
        elif self._cancelled_at is not None:  # done, but nobody wants it any more
            self._finish(CANCELLED, "cancelled")
        else:
            self.result = content
            self._finish(DONE)

    def _finish(self, state: str, message: str = "", kind: str = "") -> None:
        self.state, self.message, self.kind = state, message, kind

    def _put(self, event: str, content: Any) -> None:
        """From any thread."""
        self._events.put((event, content))
        self._arrived.set()


class Worker:
    """A child process that segments, started when it is first needed and kept.

    Args:
        python: its interpreter; by default PythonSlicer in Slicer, else the one that runs here.
        environment: variables to add to this process's own.
        patience: seconds that a cancelled job may take to stop before its process is ended.
    """

    def __init__(
        self,
        python: Path | None = None,
        environment: Mapping[str, str] | None = None,
        *,
        patience: float = 10.0,
    ) -> None:
        self.python, self.environment, self.patience = python, dict(environment or {}), patience
        self._child: _Child | None = None
        self._number = 0

    @property
    def alive(self) -> bool:
        """Whether a process waits for requests or works on one."""
        return self._child is not None and self._child.ended is None

    @property
    def pid(self) -> int | None:
        """Of the process, where one is alive."""
        return self._child.process.pid if self.alive else None

    def hello(self) -> Job:
        """Versions, device and memory, as a dict: version, python, platform, torch, device,
        reason, memory."""
        return self._ask("hello")

    def doctor(self) -> Job:
        """A dict with "text", what `fewshotsam doctor` prints."""
        return self._ask("doctor")

    def load(self, model: Mapping[str, Any]) -> Job:
        """Loads networks ahead of the first segmentation.

        Args:
            model: arguments of `FewShotSAMLib.load_segmenter`.
        """
        return self._ask("load", model=dict(model))

    def segment(
        self,
        volume: Volume,
        supports: Sequence[Support],
        *,
        model: Mapping[str, Any],
        options: Mapping[str, Any],
    ) -> Job:
        """A volume. Its result is a `VolumeResult`; slices come while it runs.

        Args:
            volume, supports: sent once and kept by the process as long as the object lives; their
                arrays must not change.
            model: arguments of `FewShotSAMLib.load_segmenter`.
            options: of `Segmenter.segment`: strategy, range, window, seed, assume_present.
        """
        return self._ask("segment", volume, supports, model=dict(model), options=dict(options))

    def segment_slice(
        self,
        volume: Volume,
        supports: Sequence[Support],
        index: int,
        *,
        prompts: Mapping[int, PointPrompts] | None = None,
        model: Mapping[str, Any],
        options: Mapping[str, Any],
    ) -> Job:
        """One slice on its own. Its result is a `SliceAnswer`; arguments as for `segment` and
        `Segmenter.segment_slice`."""
        from FewShotSAMLib.apps.parcels import pack_prompts

        return self._ask(
            "slice", volume, supports, index=index, prompts=pack_prompts(prompts or {}),
            model=dict(model), options=dict(options),
        )

    def kill(self) -> None:
        """Ends the process at once; running jobs fail."""
        if self._child is not None:
            self._child.kill()

    def close(self) -> None:
        """Lets the process end; it is started again when it is needed. Does not wait."""
        if self._child is not None:
            self._child.close()
            self._child = None

    def _ask(
        self,
        command: str,
        volume: Volume | None = None,
        supports: Sequence[Support] = (),
        **header: Any,
    ) -> Job:
        self._number += 1
        for _ in range(2):  # the child may end between the look and the call
            if not self.alive:
                try:
                    self._child = _Child(self._command(), self._variables())
                except OSError as problem:
                    job = Job(None, self._number, self.patience)
                    job._finish(FAILED, _not_started(self._command()[0], problem), "crash")
                    return job
            job = Job(self._child, self._number, self.patience)
            if self._child.submit(job, command, volume, supports, header):
                return job
        job._finish(FAILED, self._child.ended or "the segmentation process ended", "crash")
        return job

    def _command(self) -> list[str]:
        return [str(self.python or find_python()), "-m", "FewShotSAMLib.apps.worker"]

    def _variables(self) -> dict[str, str]:
        there = os.environ.get("PYTHONPATH")
        paths = [str(library_folder()), *([there] if there else [])]
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "PYTHONIOENCODING": "utf-8:backslashreplace",
            **self.environment,
        }


class _Child:
    """One process, its pipes and threads."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self.ended: str | None = None  # one line, once it has
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd=library_folder(),
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        self._outbox: queue.SimpleQueue[tuple[int, Callable[[], Message]] | None]
        self._outbox = queue.SimpleQueue()
        self._jobs: dict[int, Job] = {}
        self._lock = threading.Lock()
        self._tokens: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()
        self._kept = 0
        self._lines: deque[str] = deque(maxlen=30)
        self._closing = False
        self._listener = self._thread(self._listen)
        self._thread(self._write)
        self._thread(self._read)

    def submit(
        self,
        job: Job,
        command: str,
        volume: Volume | None,
        supports: Sequence[Support],
        header: dict[str, Any],
    ) -> bool:
        """Sends a request; False when the process has ended already."""
        with self._lock:
            if self.ended is not None:
                return False
            self._jobs[job.number] = job
        if volume is not None:
            header["volume"] = self._token(volume, "volume", job.number)
            header["supports"] = [self._token(s, "support", job.number) for s in supports]
        self._post(job.number, {**header, "command": command, "id": job.number})
        return True

    def cancel(self, number: int) -> None:
        self._post(0, {"command": "cancel", "target": number, "id": 0})

    def kill(self) -> None:
        """Ends the process now. PythonSlicer is a launcher: what it launched is ended as well."""
        self.ended = self.ended or "the segmentation process was ended"
        _kill(self.process)
        self._outbox.put(None)  # without input what is left of it ends too

    def close(self) -> None:
        self._closing = True
        self._outbox.put(None)

    def _token(self, kept: Volume | Support, kind: str, number: int) -> str:
        """Under which the process keeps it; it is sent first if it is new."""
        if kept in self._tokens:
            return self._tokens[kept]
        self._kept += 1
        token = f"{kind} {self._kept}"
        self._tokens[kept] = token

        def pack() -> Message:
            from FewShotSAMLib.apps import parcels
            from FewShotSAMLib.apps.messages import Message

            made = (parcels.pack_volume if kind == "volume" else parcels.pack_support)(kept)
            header = {"command": "keep", "id": 0, "kind": kind, "token": token}
            return Message({**made.header, **header}, made.arrays)

        self._outbox.put((number, pack))
        weakref.finalize(
            kept, self._post, 0, {"command": "forget", "token": token, "id": 0}
        ).atexit = False
        return token

    def _post(self, number: int, header: dict[str, Any]) -> None:
        def make() -> Message:
            from FewShotSAMLib.apps.messages import Message

            return Message(header)

        self._outbox.put((number, make))

    def _thread(self, target: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=target, name=f"FewShotSAM{target.__name__}", daemon=True)
        thread.start()
        return thread

    def _write(self) -> None:
        from FewShotSAMLib.apps.messages import write_message

        stream = self.process.stdin
        try:
            while (item := self._outbox.get()) is not None:
                number, make = item
                item = None  # nothing that was sent is kept alive by this thread
                try:
                    write_message(stream, make())
                except (TypeError, ValueError) as problem:
                    if job := self._jobs.pop(number, None):
                        job._put("error", ("internal", f"could not be sent: {problem}"))
                make = None
            stream.close()
            self.process.wait(10)
        except OSError:
            pass  # the process has ended; the reading thread tells of it
        except subprocess.TimeoutExpired:
            self.kill()

    def _read(self) -> None:
        from FewShotSAMLib.apps.messages import read_message

        problem = ""
        try:
            while (message := read_message(self.process.stdout)) is not None:
                self._deliver(message)
        except (OSError, EOFError):
            pass
        except Exception as error:
            problem = f"it sent what is not understood ({error})"
            _kill(self.process)
        code = self.process.wait()
        self._listener.join(2)
        with self._lock:
            if self._closing:
                self.ended = "the segmentation process was closed"
            elif self.ended is None:
                self.ended = _ending(code, problem, list(self._lines))
            jobs, self._jobs = list(self._jobs.values()), {}
        for job in jobs:
            job._put("error", ("crash", self.ended))
        self._outbox.put(None)

    def _deliver(self, message: Message) -> None:
        from FewShotSAMLib.apps import parcels
        from FewShotSAMLib.segmentation.results import Progress

        header = message.header
        event, job = header["event"], self._jobs.get(header["id"])
        if event in ("done", "error"):
            self._jobs.pop(header["id"], None)
        if job is None:
            return
        if event == "progress":
            job._put(event, Progress(**header["progress"]))
        elif event == "note":
            job._put(event, header["message"])
        elif event == "preview":
            job._put(event, parcels.unpack_preview(message))
        elif event == "error":
            job._put(event, (header["kind"], header["message"]))
        elif "names" in header:
            job._put(event, parcels.unpack_result(message))
        elif "prompts" in header:
            job._put(event, parcels.unpack_answer(message))
        else:
            job._put(event, {k: v for k, v in header.items() if k not in ("event", "id")})

    def _listen(self) -> None:
        """Keeps the last lines of what the process prints."""
        for line in self.process.stderr:
            text = line.decode("utf-8", "replace").strip()
            if text:
                self._lines.append(text)


def library_folder() -> Path:
    """The folder that FewShotSAMLib lies in."""
    return Path(FewShotSAMLib.__file__).resolve().parents[1]


def find_python() -> Path:
    """PythonSlicer inside of Slicer, else the interpreter that runs here."""
    found = shutil.which("PythonSlicer") if "slicer" in sys.modules else None
    return Path(found or sys.executable)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Ends a process and, where they can be found, those that it started."""
    below: Sequence[Any] = ()
    try:
        import psutil

        below = psutil.Process(process.pid).children(recursive=True)
    except ImportError:
        pass
    except psutil.Error:
        pass  # it has ended
    process.kill()
    for one in below:
        with contextlib.suppress(psutil.Error):
            one.kill()


def _not_started(command: str, problem: OSError) -> str:
    return (
        f"{command}: the segmentation process cannot be started "
        f"({problem.strerror or problem}); reinstall the extension or Slicer"
    )


def _ending(code: int, problem: str, lines: list[str]) -> str:
    """One line on why a process ended that should not have."""
    if not problem and code < 0:
        try:
            problem = f"it was ended by {signal.Signals(-code).name}"
        except ValueError:
            problem = f"it was ended by signal {-code}"
        if -code == getattr(signal, "SIGKILL", None):
            problem += ", often because memory ran out"
    elif not problem:
        problem = f"exit status {code:#x}" if code > 255 else f"exit status {code}"
    last = f"; its last words: {' | '.join(lines[-3:])}" if lines else ""
    return (
        f"the segmentation process ended unexpectedly ({problem}); nothing was changed, "
        f"try again or use a smaller model{last}"
    )
