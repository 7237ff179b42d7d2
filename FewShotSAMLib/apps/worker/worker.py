"""`python -m FewShotSAMLib.apps.worker`: segments for another process, over its standard streams.

Requests come in on standard input and answers go out on standard output, as `messages`; anything
printed goes to standard error. Networks, volumes and supports stay loaded from one request to the
next. The process ends when its input does.

Requests: a header with "command", "id" (a number that the answers repeat) and

    hello     -> done {version, python, platform, packages}
    doctor    -> done {text}
    load      options of load_segmenter -> done {device, model, features}
    keep      token, kind ("volume" or "support"), a packed one -> nothing; it stays under its token
    forget    token -> nothing
    weights   entry, folder, mirror, source -> progress, done; see `weight_files`
    abdomen   shape, spacing, seed -> done: a generated image, and the labels of one slice
    segment   model {options}, volume token, supports [tokens], excluded token or null, options
              -> progress, preview, done
    slice     as segment, with index and prompts -> done
    cancel    target: the id of the request to give up -> that one's error, kind "cancelled"
    quit      -> the process ends

Answers: "event", "id" and what belongs to it; "error" has "kind" ("input", "cancelled", "memory",
"internal") and "message", one line; "note" has "message".
"""

from __future__ import annotations

import contextlib
import io
import os
import platform
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

from ..own_process import begin_process
from .messages import Message, read_message
from .outbox import Outbox
from .requests import check_request

if TYPE_CHECKING:
    from ...segmentation.results import Progress, SlicePreview
    from ...segmentation.segmenter import Segmenter

# Seconds that a step may still take when nobody listens any more.
_PATIENCE = 5.0

Send = Callable[[str, Message], None]


class Worker:
    """Answers requests one after the other; a second thread reads, so that cancelling works.

    Args:
        source, target: where requests come from and answers go to.
    """

    def __init__(self, source: BinaryIO, target: BinaryIO) -> None:
        self._source, self._outbox = source, Outbox(target)
        self._requests: queue.SimpleQueue[tuple[Message, threading.Event] | None]
        self._requests = queue.SimpleQueue()
        self._cancels: dict[int, threading.Event] = {}
        self._kept: dict[str, Any] = {}
        self._segmenters: dict[str, Segmenter] = {}
        self._send: Send | None = None  # of the request that is being answered

    def run(self) -> None:
        """Until the input ends or asks to quit."""
        threading.Thread(target=self._read, name="requests", daemon=True).start()
        while (item := self._requests.get()) is not None:
            self._answer(*item)
        self._outbox.close()

    def _read(self) -> None:
        try:
            while (request := read_message(self._source)) is not None:
                check_request(request)
                if request.header["command"] == "quit":
                    break
                if request.header["command"] == "cancel":
                    if event := self._cancels.get(request.header["target"]):
                        event.set()
                    continue
                event = self._cancels[request.header["id"]] = threading.Event()
                self._requests.put((request, event))
        except (OSError, EOFError):
            pass  # the other side is gone, which ends it all the same
        except Exception as problem:  # after it nobody knows where the next message begins
            line = " ".join(str(problem).split())[:500] or type(problem).__name__
            print(f"fewshotsam worker: error: {line}", file=sys.stderr, flush=True)
        for event in list(self._cancels.values()):
            event.set()
        self._requests.put(None)
        threading.Event().wait(_PATIENCE)
        os._exit(1)  # the step that is being worked on does not end

    def _answer(self, request: Message, cancel: threading.Event) -> None:
        number = request.header["id"]
        self._send = send = partial(self._write, number)
        try:
            answer = self._do(request, send, cancel)
            if answer is not None:
                send("done", answer)
        except BaseException as problem:
            kind, line = explain(problem)
            if kind == "internal":
                traceback.print_exc()
            send("error", Message({"kind": kind, "message": line}))
        finally:
            self._cancels.pop(number, None)

    def _write(self, number: int, event: str, message: Message) -> None:
        header = {**message.header, "event": event, "id": number}
        self._outbox.put(Message(header, message.arrays))

    def _do(self, request: Message, send: Send, cancel: threading.Event) -> Message | None:
        command = {
            "hello": lambda: Message(about()),
            "doctor": lambda: Message({"text": doctor_text()}),
            "keep": lambda: self._keep(request),
            "forget": lambda: self._forget(request),
            "load": lambda: self._load(request),
            "segment": lambda: self._segment(request, send, cancel),
            "slice": lambda: self._slice(request, cancel),
            "weights": lambda: self._weights(request, send, cancel),
            "abdomen": lambda: generated_abdomen(request.header),
        }[request.header["command"]]
        return command()

    def _keep(self, request: Message) -> None:
        from . import parcels

        unpack = {"volume": parcels.unpack_volume, "support": parcels.unpack_support}
        self._kept[request.header["token"]] = unpack[request.header["kind"]](request)

    def _forget(self, request: Message) -> None:
        self._kept.pop(request.header["token"], None)

    def _load(self, request: Message) -> Message:
        segmenter = self._segmenter(request.header["model"])
        features = segmenter.encoders.features
        return Message({
            "device": str(segmenter.device.device),
            "reason": segmenter.device.reason,
            "model": segmenter.encoders.model.card.name,
            "features": features.card.name if features else None,
        })

    def _segmenter(self, options: dict[str, Any]) -> Segmenter:
        """The segmenter of these options; the last one stays loaded, others make room for it."""
        from ...segmentation.segmenter import load_segmenter

        key = repr(sorted(options.items()))
        if key not in self._segmenters:
            self._segmenters.clear()
            self._segmenters[key] = load_segmenter(**options, tell=self._tell)
            self._segmenters[key].keeps_slices = True  # a person paints on and asks again
        return self._segmenters[key]

    def _tell(self, line: str) -> None:
        """A remark of a network's; it outlives the request that it was loaded for."""
        if self._send is not None:
            self._send("note", Message({"message": " ".join(line.split())}))

    def _segment(self, request: Message, send: Send, cancel: threading.Event) -> Message:
        from . import parcels

        def progress(step: Progress) -> None:
            send("progress", Message({"progress": vars(step)}))

        def preview(one: SlicePreview) -> None:
            # A copy: it is sent later, and whose array it is may go on working in it.
            send("preview", parcels.pack_preview(replace(one, labels=one.labels.copy())))

        header = request.header
        self._check(cancel)
        send("progress", Message({"progress": _step("load")}))
        segmenter = self._ready(header["model"], cancel)
        options = dict(header["options"])
        seed = options.pop("seed", None)
        result = segmenter.segment(
            self._kept[header["volume"]],
            [self._kept[token] for token in header["supports"]],
            progress=progress, preview=preview, cancel=cancel, seed=seed,
            excluded=self._kept.get(header.get("excluded")), **options,
        )
        for note in result.notes:
            self._tell(note)
        return parcels.pack_result(result)

    def _slice(self, request: Message, cancel: threading.Event) -> Message:
        from . import parcels

        header = request.header
        segmenter = self._ready(header["model"], cancel)
        return parcels.pack_answer(segmenter.segment_slice(
            self._kept[header["volume"]],
            [self._kept[token] for token in header["supports"]],
            header["index"],
            prompts=parcels.unpack_prompts(header["prompts"]),
            excluded=self._kept.get(header.get("excluded")),
            **header["options"],
        ))

    def _weights(self, request: Message, send: Send, cancel: threading.Event) -> Message:
        from .weight_files import fetch_weights

        def progress(done: int, total: int | None) -> None:
            send("progress", Message({"progress": _step("download", done, total or 0)}))

        fetch_weights(request.header, progress, self._tell, cancel)
        return Message({})

    def _ready(self, options: dict[str, Any], cancel: threading.Event) -> Segmenter:
        """The segmenter of these options, unless the request is given up before or meanwhile."""
        self._check(cancel)
        segmenter = self._segmenter(options)
        self._check(cancel)
        return segmenter

    def _check(self, cancel: threading.Event) -> None:
        from ...segmentation.results import Cancelled

        if cancel.is_set():
            raise Cancelled


def generated_abdomen(header: Mapping[str, Any]) -> Message:
    """Something to try the program with, ready to be sent."""
    from ...phantom.abdomen import abdomen
    from . import parcels

    phantom = abdomen(tuple(header["shape"]), tuple(header["spacing"]), header["seed"])
    return parcels.pack_example(phantom.image, phantom.marked(phantom.marked_slice()))


def explain(problem: BaseException) -> tuple[str, str]:
    """Kind of an error ("input", "cancelled", "memory" or "internal") and one line on it."""
    from ...data.errors import InputError
    from ...segmentation.results import Cancelled

    if isinstance(problem, Cancelled):
        return "cancelled", "cancelled"
    line = " ".join(str(problem).split())
    if isinstance(problem, InputError):
        return "input", line
    if isinstance(problem, ModuleNotFoundError) and problem.name:
        package = problem.name.partition(".")[0]
        return "input", f"the package {package} is not installed; install what is missing first"
    if isinstance(problem, MemoryError) or _is_out_of_memory(problem):
        return "memory", "memory ran out; close other programs or use a smaller model or range"
    return "internal", f"{type(problem).__name__}: {line}" if line else type(problem).__name__


def _is_out_of_memory(problem: BaseException) -> bool:
    if not isinstance(problem, RuntimeError) or "torch" not in sys.modules:
        return False
    from ...models.memory import is_out_of_memory

    return is_out_of_memory(problem)


def about() -> dict[str, Any]:
    """Versions and the device that "auto" takes, as plain values."""
    from ...version import __version__

    found = {
        "version": __version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "torch": None,
        "device": None,
        "reason": "PyTorch is not installed",
        "memory": "",
    }
    try:
        import torch
    except ImportError:
        return found
    from ...models.devices import choose_device

    chosen = choose_device()
    return found | {
        "torch": torch.__version__,
        "device": str(chosen.device),
        "reason": chosen.reason,
        "memory": _free_memory(chosen.device.type),
    }


def _free_memory(device: str) -> str:
    """Such as "5.2 of 16.0 GiB free", of the GPU where there is one."""
    import torch

    if device == "cuda":
        free, total = torch.cuda.mem_get_info()
    else:
        import psutil

        memory = psutil.virtual_memory()
        free, total = memory.available, memory.total
    return f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB free"


def doctor_text() -> str:
    """What `fewshotsam doctor` prints."""
    import argparse

    from ..commands import doctor

    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        doctor.run(argparse.Namespace())
    return text.getvalue()


def _step(stage: str, done: int = 0, total: int = 1) -> dict[str, Any]:
    return {"stage": stage, "done": done, "total": total, "message": ""}


def _own_streams() -> tuple[BinaryIO, BinaryIO]:
    """The process's input and output for messages alone: whatever else reads finds nothing, and
    what else is printed, by libraries in C too, goes to standard error."""
    source = os.fdopen(os.dup(0), "rb")
    target = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return source, target


def main() -> int:
    """Serve the process that started this one."""
    begin_process()
    if hasattr(sys.stderr, "reconfigure"):
        sys.stderr.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    source, target = _own_streams()
    Worker(source, target).run()
    return 0

