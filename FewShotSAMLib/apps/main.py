"""The command line: which commands there are, and what an error or Ctrl-C looks like.

Exit status: 0 done, 1 an unexpected failure, 2 unusable input, 130 cancelled.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import traceback
from collections.abc import Sequence
from types import ModuleType
from typing import NoReturn

from ..version import __version__

# A command's module offers `add_arguments(parser)` and `run(args) -> int`. Modules import torch
# and the like only when they run, so that help comes at once.
COMMANDS = {
    "segment": "segment a volume from one or more marked slices",
    "prompts": "show the prompts of one slice as JSON",
    "support": "keep marked slices as a file for later",
    "models": "list, download, verify, remove and locate models",
    "train-fob": "train FoB on one's own unlabelled scans",
    "evaluate": "measure Dice on a folder of images and labels",
    "demo": "segment a generated abdomen and make pictures of it",
    "doctor": "show versions, device, memory, weights and what is missing",
}

DONE, FAILED, UNUSABLE, CANCELLED = 0, 1, 2, 130


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments in one line."""

    def error(self, message: str) -> NoReturn:
        _complain(f"{message} (see {self.prog} --help)")
        sys.exit(UNUSABLE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status. Never raises for bad input."""
    for stream in (sys.stdout, sys.stderr):
        # Names and paths are printed as they are, whatever the terminal's code page.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    args = command_parser().parse_args(arguments)
    try:
        return _module(args.command).run(args)
    except KeyboardInterrupt:
        _complain("cancelled; nothing was written")
        return CANCELLED
    except (ValueError, OSError) as error:
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
    return importlib.import_module(f".{command.replace('-', '_')}", __package__)


def _failed(error: Exception, status: int, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    message = str(error) or type(error).__name__
    if status == FAILED:
        hint = "" if debug else "; run with --debug for the traceback"
        message = f"{type(error).__name__}: {message}{hint}"
    _complain(message)
    return status


def _complain(message: str) -> None:
    line = " ".join(message.split())
    print(f"fewshotsam: error: {line}", file=sys.stderr)
