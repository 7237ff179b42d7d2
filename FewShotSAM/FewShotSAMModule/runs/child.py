"""The child process that segments, its pipes, and the threads that speak with it.

Three threads touch nothing but queues: one writes what is asked, one reads what is answered, one
keeps the last lines that the process prints.
"""

from __future__ import annotations

import contextlib
import queue
import signal
import subprocess
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from FewShotSAMLib import Support, Volume
    from FewShotSAMLib.apps.worker.messages import Message

    from .job import Job


_LAUNCHER_SAYS = "exit abnormally"


class Child:
    """One process, its pipes and threads.

    Args:
        command: of `FewShotSAMLib.apps.worker`, with its interpreter.
        environment: all of its variables.
        folder: where it runs.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, command: list[str], environment: dict[str, str], folder: Path) -> None:
        self.ended: str | None = None  # one line, once it has
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd=folder,
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
        excluded: Volume | None,
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
        if excluded is not None:
            header["excluded"] = self._token(excluded, "volume", job.number)
        self._post(job.number, {**header, "command": command, "id": job.number})
        return True

    def cancel(self, number: int) -> None:
        """Asks the process to stop the job of this number."""
        self._post(0, {"command": "cancel", "target": number, "id": 0})

    def kill(self) -> None:
        """Ends the process now. PythonSlicer is a launcher: what it launched is ended as well."""
        self.ended = self.ended or "the segmentation process was ended"
        _kill(self.process)
        self._outbox.put(None)  # without input what is left of it ends too

    def close(self) -> None:
        """Lets the process end when it has done what it was asked. Does not wait."""
        self._closing = True
        self._outbox.put(None)

    def _token(self, kept: Volume | Support, kind: str, number: int) -> str:
        """Under which the process keeps it; it is sent first if it is new."""
        if kept in self._tokens:
            return self._tokens[kept]
        self._kept += 1
        token = f"{kind} {self._kept}"
        self._tokens[kept] = token
        self._outbox.put((number, partial(_to_keep, kept, kind, token)))
        forget = {"command": "forget", "token": token, "id": 0}
        weakref.finalize(kept, self._post, 0, forget).atexit = False
        return token

    def _post(self, number: int, header: dict[str, Any]) -> None:
        self._outbox.put((number, partial(_of_header, header)))

    def _thread(self, target: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=target, name=f"FewShotSAM{target.__name__}", daemon=True)
        thread.start()
        return thread

    def _write(self) -> None:
        """Sends what is asked until the process is let go."""
        try:
            while self._write_next():
                pass
            self.process.stdin.close()
            self.process.wait(10)
        except OSError:
            pass  # the process has ended; the reading thread tells of it
        except subprocess.TimeoutExpired:
            self.kill()

    def _write_next(self) -> bool:
        """Waits for the next message and sends it; False where there will be none. Nothing that
        was sent is kept alive by the thread, so this is a function of its own."""
        from FewShotSAMLib.apps.worker.messages import write_message

        item = self._outbox.get()
        if item is None:
            return False
        number, make = item
        try:
            write_message(self.process.stdin, make())
        except (TypeError, ValueError) as problem:
            if job := self._jobs.pop(number, None):
                job.put("error", ("internal", f"could not be sent: {problem}"))
        return True

    def _read(self) -> None:
        """Passes on what is answered until the process ends."""
        from FewShotSAMLib.apps.worker.messages import read_message

        problem = ""
        try:
            while (message := read_message(self.process.stdout)) is not None:
                self._deliver(message)
        except (OSError, EOFError):
            pass
        except Exception as error:
            problem = f"it sent what is not understood ({error})"
            _kill(self.process)
        self._end(self.process.wait(), problem)

    def _end(self, code: int, problem: str) -> None:
        """The process has ended: so have its jobs."""
        self._listener.join(2)
        with self._lock:
            if self._closing:
                self.ended = "the segmentation process was closed"
            elif self.ended is None:
                self.ended = _ending(code, problem, list(self._lines))
            jobs, self._jobs = list(self._jobs.values()), {}
        for job in jobs:
            job.put("error", ("crash", self.ended))
        self._outbox.put(None)

    def _deliver(self, message: Message) -> None:
        event, number = message.header["event"], message.header["id"]
        job = self._jobs.get(number)
        if event in ("done", "error"):
            self._jobs.pop(number, None)
        if job is not None:
            job.put(event, _content(message))

    def _listen(self) -> None:
        """Keeps the last lines of what the process prints."""
        for line in self.process.stderr:
            text = line.decode("utf-8", "replace").strip()
            if text:
                self._lines.append(text)


def _of_header(header: dict[str, Any]) -> Message:
    from FewShotSAMLib.apps.worker.messages import Message

    return Message(header)


def _to_keep(kept: Volume | Support, kind: str, token: str) -> Message:
    from FewShotSAMLib.apps.worker import parcels
    from FewShotSAMLib.apps.worker.messages import Message

    made = (parcels.pack_volume if kind == "volume" else parcels.pack_support)(kept)
    header = {"command": "keep", "id": 0, "kind": kind, "token": token}
    return Message({**made.header, **header}, made.arrays)


def _content(message: Message) -> Any:
    """What a job is told by a message, as the library's own objects."""
    from FewShotSAMLib.apps.worker import parcels
    from FewShotSAMLib.segmentation.results import Progress

    header = message.header
    told: dict[str, Callable[[], Any]] = {
        "progress": lambda: Progress(**header["progress"]),
        "note": lambda: header["message"],
        "preview": lambda: parcels.unpack_preview(message),
        "error": lambda: (header["kind"], header["message"]),
    }
    if header["event"] in told:
        return told[header["event"]]()
    if "marked" in header:
        return parcels.unpack_example(message)
    if "names" in header:
        return parcels.unpack_result(message)
    if "prompts" in header:
        return parcels.unpack_answer(message)
    return {k: v for k, v in header.items() if k not in ("event", "id")}


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


def _ending(code: int, problem: str, lines: list[str]) -> str:
    """One line on why a process ended that should not have."""
    if not problem and code < 0:
        try:
            problem = f"it was ended by {signal.Signals(-code).name}"
        except ValueError:
            problem = f"it was ended by signal {-code}"
        if -code == getattr(signal, "SIGKILL", None):
            problem += ", often because memory ran out"
    elif not problem and any(_LAUNCHER_SAYS in line for line in lines):
        # Slicer's launcher stands between: it ends with 1 where its own child was killed.
        problem = "it was ended from outside, often because memory ran out"
    elif not problem:
        problem = f"exit status {code:#x}" if code > 255 else f"exit status {code}"
    last = f"; its last words: {' | '.join(lines[-3:])}" if lines else ""
    return (
        f"the segmentation process ended unexpectedly ({problem}); nothing was changed, "
        f"try again or use a smaller model{last}"
    )
