"""A run of a training command: its folder, its settings, its log, and Ctrl-C between two steps."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..data.errors import InputError
from ..training.run_log import print_row
from .interrupts import asked_to_stop
from .outputs import write_text

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


def run_folder(asked: Path | None, out: Path) -> Path:
    """The folder of a run, made if needed: the one asked for, or beside what it makes.

    Raises:
        InputError: it cannot be made.
    """
    folder = asked or out.with_name(f"{out.stem}-run")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror})") from None
    return folder


def check_same_run(folder: Path, settings: dict[str, object]) -> None:
    """Keeps a run's settings in its folder, or compares them with those it began with.

    Raises:
        InputError: it began with others, or what is there cannot be read.
    """
    path = folder / "settings.json"
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        write_text(path, json.dumps(settings, indent=2) + "\n")
        return
    except (OSError, ValueError, RecursionError):
        raise InputError(f"{path}: cannot be read; choose another folder with --run") from None
    if not isinstance(before, dict):
        raise InputError(f"{path}: holds no settings; choose another folder with --run")
    changed = " and ".join(name for name, value in settings.items() if before.get(name) != value)
    if changed:
        raise InputError(
            f"{folder}: holds a run that began with other {changed}; choose another folder with "
            "--run, or remove it"
        )


def open_log(kind: str, folder: Path) -> Callable[[dict[str, float]], None]:
    """What is done with each row of the log, besides log.csv: printed ("csv"), and kept as
    TensorBoard's events ("tensorboard").

    Raises:
        InputError: TensorBoard is not installed.
    """
    if kind == "csv":
        return print_row
    writer = _tensorboard(folder)

    def write(row: dict[str, float]) -> None:
        print_row(row)
        for name, value in row.items():
            if name != "step":
                writer.add_scalar(name, value, int(row["step"]))
        writer.flush()

    return write


def _tensorboard(folder: Path) -> SummaryWriter:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise InputError(
            "--log tensorboard: the package tensorboard is not installed; run: pip install "
            "tensorboard"
        ) from None
    return SummaryWriter(str(folder))


@contextlib.contextmanager
def stopping() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed; a second one stops at once."""

    def tell() -> None:
        print("fewshotsam: stopping after this volume or step", file=sys.stderr, flush=True)

    with asked_to_stop(tell) as asked:
        yield asked.is_set
