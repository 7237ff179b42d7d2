"""The command line: which commands there are, and what an error or Ctrl-C looks like.

Exit status: 0 done, 1 an unexpected failure, 2 unusable input, 3 some studies of
a batch failed, 130 cancelled, 141 nobody reads
what it prints (as when `head` has seen enough; a shell says 128 + SIGPIPE of other programs too).
"""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import NoReturn, TextIO

from ..version import __version__
from .interrupts import answering, interrupt, none_from_now_on
from .own_process import begin_process

# A command's module offers `add_arguments(parser)` and `run(args) -> int`. Modules import torch
# and the like only when they run, so that help comes at once.
COMMANDS = {
    "segment": "segment a volume from one or more marked slices",
    "batch": "segment many studies; what is done stays done",
    "prompts": "show the prompts of one slice as JSON",
    "support": "keep marked slices as a file for later",
    "models": "list, download, verify, remove and locate models",
    "train-fob": "train FoB on one's own unlabelled scans",
    "evaluate": "measure Dice on a folder of images and labels",
    "demo": "segment a generated abdomen and make pictures of it",
    "doctor": "show versions, device, memory, weights and what is missing",
}

DONE, FAILED, UNUSABLE, CANCELLED, UNREAD = 0, 1, 2, 130, 141


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments in one line."""

    def error(self, message: str) -> NoReturn:
        if re.match("unrecognized arguments: [^-]", message):
            message += "; files stand together, in front of the options"
        _complain(f"{message} (see {self.prog} --help)")
        sys.exit(UNUSABLE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status. Never raises for bad input."""
    begin_process()
    with _open_streams():
        return _with_streams(arguments)


def program() -> int:
    """`main` as a process of its own, which ends with its status."""
    try:
        return main()
    finally:
        none_from_now_on()


@contextmanager
def _open_streams() -> Iterator[None]:
    """A service may have closed them; what is printed then goes nowhere."""
    closed = [name for name in ("stdout", "stderr") if getattr(sys, name) is None]
    with ExitStack() as opened:
        for name in closed:
            nowhere = opened.enter_context(Path(os.devnull).open("w", encoding="utf-8"))
            setattr(sys, name, nowhere)
        try:
            yield
        finally:
            for name in closed:
                setattr(sys, name, None)


def _with_streams(arguments: Sequence[str] | None) -> int:
    for stream in (sys.stdout, sys.stderr):
        # Names and paths are printed as they are, whatever the terminal's code page.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        try:
            return _run(arguments)
        finally:
            sys.stdout.flush()  # else Python finds out on its way out, and says it its own way
    except OSError as error:
        unread = _nobody_reads(error)
        status = UNREAD if unread else _failed(error, UNUSABLE, debug=False)
        _discard_output()
        return status


def _run(arguments: Sequence[str] | None) -> int:
    try:
        with answering(interrupt):
            args = command_parser().parse_args(arguments)
            return _answered(args)
    except KeyboardInterrupt:
        _complain("cancelled; nothing was written")
        return CANCELLED


def _answered(args: argparse.Namespace) -> int:
    try:
        return _module(args.command).run(args)
    except (ValueError, OSError) as error:
        if _nobody_reads(error):
            raise
        return _failed(error, UNUSABLE, args.debug)
    except Exception as error:
        return _failed(error, FAILED, args.debug)


def command_parser() -> argparse.ArgumentParser:
    """The parser of all commands; its result has `command` and the command's options."""
    parser = _Parser(
        prog="fewshotsam",
        description="Mark a structure on one slice, get a segmentation of the whole volume. "
        "For research; not a medical device.",
    )
    parser.add_argument("--version", action="version", version=f"fewshotsam {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary.capitalize() + ".")
        _module(name).add_arguments(command)
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _module(command: str) -> ModuleType:
    return importlib.import_module(f".commands.{command.replace('-', '_')}", __package__)


def _failed(error: Exception, status: int, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    message = str(error) or type(error).__name__
    if status == FAILED:
        hint = "" if debug else "; run with --debug for the traceback"
        message = f"{type(error).__name__}: {message}{hint}"
    _complain(message)
    return status


def _nobody_reads(error: Exception) -> bool:
    """Whether standard output or error was a pipe whose other end is closed."""
    if isinstance(error, BrokenPipeError):
        return True
    if not isinstance(error, OSError) or error.errno != errno.EINVAL or error.filename is not None:
        return False
    # Windows says "invalid argument" of such a pipe, and of much else. What could not be written
    # still waits to be.
    return any(not _can_flush(stream) for stream in (sys.stdout, sys.stderr))


def _can_flush(stream: TextIO) -> bool:
    try:
        stream.flush()
    except OSError:
        return False
    return True


def _discard_output() -> None:
    """Sends what waits in streams that do not take it nowhere: Python tries again when it ends."""
    for stream in (sys.stdout, sys.stderr):
        if not _can_flush(stream):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def _complain(message: str) -> None:
    line = " ".join(message.split())
    print(f"fewshotsam: error: {line}", file=sys.stderr)
