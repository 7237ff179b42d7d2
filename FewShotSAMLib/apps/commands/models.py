"""`fewshotsam models`: which models there are, and their weights: fetch, check, remove, find."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..outputs import tell

if TYPE_CHECKING:
    from ...weights.catalogue import WeightFile
    from ...weights.store import WeightStore

ACTIONS = {
    "list": "show presets and models, their sizes and licences, and what is on this machine",
    "download": "fetch the weights of a model or preset, or take them from a file",
    "verify": "read the weights and compare their SHA-256",
    "remove": "delete downloaded weights",
    "where": "print the folder of the weights, or where those of a model lie",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One set of options for each action."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for action, summary in ACTIONS.items():
        options = actions.add_parser(action, help=summary, description=summary.capitalize() + ".")
        options.add_argument("--debug", action="store_true", default=argparse.SUPPRESS,
                             help="show the traceback of an error")  # fmt: skip
        if action in ("download", "remove"):
            options.add_argument("name", metavar="NAME", help="a preset or model of the list")
        elif action != "list":
            options.add_argument("name", nargs="?", metavar="NAME", help="default: all")
        if action == "download":
            _add_download_options(options)


def _add_download_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--from-file",
        type=Path,
        metavar="PATH",
        help="take this file, or the files of this folder, and use no network",
    )
    parser.add_argument(
        "--mirror", metavar="URL", help="an address under which the files lie by name"
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run(args: argparse.Namespace) -> int:
    """Do one of the actions."""
    actions: dict[str, Callable[[argparse.Namespace], int]] = {
        "list": _list,
        "download": _download,
        "verify": _verify,
        "remove": _remove,
        "where": _where,
    }
    return actions[args.action](args)


def _store() -> WeightStore:
    from ...weights.store import WeightStore

    return WeightStore(tell=tell)


def _list(args: argparse.Namespace) -> int:
    store = _store()
    presets = [("preset", "model", "features", "weights", "for")]
    for p in store.known.presets.values():
        there = all(store.is_present(name) for name in p.weights)
        state = "ready" if there else "to download"
        presets.append((p.name, p.model, p.features, state, p.purpose))
    weights = [("model", "for", "size", "licence", "weights")]
    for entry in store.known.weights.values():
        state = "on this machine" if store.is_present(entry.name) else "-"
        weights.append((entry.name, entry.purpose, entry.size_text, entry.licence_text, state))
    _print_table(presets)
    print()
    _print_table(weights)
    print(f"\nWeights lie in {store.folder}")
    return 0


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def _download(args: argparse.Namespace) -> int:
    from ...weights.folder import weights_place

    store = _store()
    entries = store.known.needed(args.name)
    if not entries:
        print(f"{args.name}: ships with the program; there is nothing to download")
        return 0
    if args.from_file:
        return _take_files(store, entries, args.from_file)
    mirror = args.mirror or weights_place().mirror
    missing = _missing(store, entries, mirror)
    if missing and not args.yes and not _agrees(missing, store.folder):
        print("nothing was downloaded", file=sys.stderr)
        return 130
    return 0 if all(_fetch(store, entry, mirror) for entry in missing) else 130


def _fetch(store: WeightStore, entry: WeightFile, mirror: str) -> bool:
    """Downloads one file; False when Ctrl-C was pressed."""
    try:
        with _Bar(entry) as bar:
            found = store.download(entry.name, mirror=mirror, progress=bar)
    except KeyboardInterrupt:
        from ...weights.catalogue import megabytes
        from ...weights.downloads import partial_files

        partial, _ = partial_files(store.path(entry.name))
        kept = megabytes(partial.stat().st_size) if partial.is_file() else "nothing"
        print(
            f"fewshotsam: error: cancelled; of {entry.file} {kept} is kept, and the same "
            "command goes on from there",
            file=sys.stderr,
        )
        return False
    print(f"{entry.name}: {found.path}, SHA-256 {found.sha256}")
    return True


def _missing(
    store: WeightStore, entries: Sequence[WeightFile], mirror: str
) -> Sequence[WeightFile]:
    """Those to be downloaded; says of each file whether it is there or what it will be."""
    missing = [entry for entry in entries if not _is_whole(store, entry)]
    for entry in entries:
        if entry not in missing:
            print(f"{entry.name}: on this machine already, {store.path(entry.name)}")
    for entry in missing:
        address = store.address(entry.name, mirror)
        print(f"{entry.name}: {entry.size_text}, {entry.licence_text}, {address}")
    return missing


def _take_files(store: WeightStore, entries: Sequence[WeightFile], source: Path) -> int:
    from ...data.errors import InputError

    if len(entries) > 1 and not source.is_dir():
        raise InputError(
            f"{source}: one file for {len(entries)} models; name one of "
            f"{', '.join(entry.name for entry in entries)}, or a folder that holds "
            f"{', '.join(entry.file for entry in entries)}"
        )
    for entry in entries:
        print(f"{entry.name}: {entry.licence_text}, {entry.source}")
        found = store.install(entry.name, source)
        print(f"{entry.name}: {found.path}, SHA-256 {found.sha256}")
    return 0


def _is_whole(store: WeightStore, entry: WeightFile) -> bool:
    from ...data.errors import InputError

    if not store.is_present(entry.name):
        return False
    try:
        store.find(entry.name)
    except InputError as problem:
        if not entry.sha256:  # somebody changed it; what is right is for a person to say
            raise
        tell(f"{problem}")
        return False
    return True


def _agrees(entries: Sequence[WeightFile], folder: Path) -> bool:
    """Whether the person at the terminal wants the download.

    Raises:
        InputError: there is nobody to ask.
    """
    from ...data.errors import InputError
    from ...weights.catalogue import megabytes

    total = megabytes(sum(entry.size or entry.about_size or 0 for entry in entries))
    if not sys.stdin.isatty():
        raise InputError(f"this downloads {total} and nobody is there to ask; add --yes")
    print(f"Download {total} to {folder}? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


class _Bar:
    """Bytes of one file as a bar on standard error."""

    def __init__(self, entry: WeightFile) -> None:
        from tqdm import tqdm

        self._bar = tqdm(
            desc=entry.name,
            total=entry.size,
            unit="B",
            unit_scale=True,
            file=sys.stderr,
            mininterval=0.2 if sys.stderr.isatty() else 10.0,
        )

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def __call__(self, done: int, total: int | None) -> None:
        self._bar.total = total
        self._bar.update(done - self._bar.n)


def _verify(args: argparse.Namespace) -> int:
    from ...data.errors import InputError

    problems = []
    for label, check in _checks(args.name):
        try:
            print(f"{label}: whole, SHA-256 {check()}")
        except InputError as problem:
            print(f"{label}: NOT as it should be")
            problems.append(str(problem))
    if problems:
        raise InputError("; ".join(problems))
    return 0


def _checks(name: str | None) -> Iterator[tuple[str, Callable[[], str]]]:
    """What can be verified under a name, or in all: a label, and what gives its SHA-256 or says
    what is wrong."""
    from ...weights.resources import SHIPPED, models_folder

    store = _store()
    if name is None:
        names = [one for one in store.known.weights if store.is_present(one)]
    else:
        names = [entry.name for entry in store.known.needed(name)]
    if name is None or not names:
        for path in (models_folder() / file for file in SHIPPED):
            yield path.stem, lambda path=path: _verify_shipped(path)
    for one in names:
        yield one, lambda one=one: store.find(one, recheck=True).sha256


def _verify_shipped(path: Path) -> str:
    from ...data.errors import InputError
    from ...weights.resources import recorded_sha256, sha256_of

    if not path.is_file():
        raise InputError(f"{path}: is missing; install FewShotSAM again")
    found, recorded = sha256_of(path), recorded_sha256(path)
    if found != recorded:
        raise InputError(
            f"{path}: SHA-256 is {found}, recorded is {recorded}; "
            "the file is damaged or was replaced, install FewShotSAM again"
        )
    return found


def _remove(args: argparse.Namespace) -> int:
    from ...data.errors import InputError
    from ...weights.catalogue import megabytes

    store = _store()
    entries = store.known.needed(args.name)
    if not entries:
        raise InputError(f"{args.name}: ships with the program and is not removed")
    for entry in entries:
        freed = store.remove(entry.name)
        done = f"removed, {megabytes(freed)} freed" if freed else "was not on this machine"
        print(f"{entry.name}: {done}")
    return 0


def _where(args: argparse.Namespace) -> int:
    from ...weights.folder import WEIGHTS_VARIABLE, weights_place
    from ...weights.resources import models_folder

    store = _store()
    if args.name is None:
        place = weights_place()
        print(place.folder)
        tell(
            f"as {place.reason} says; {WEIGHTS_VARIABLE} or {place.settings} moves it"
            + (f"; mirror {place.mirror}" if place.mirror else "")
        )
        return 0
    for entry in store.known.needed(args.name):
        print(store.path(entry.name))
        if not store.is_present(entry.name):
            tell(f"{entry.file} is not there; fewshotsam models download {entry.name}")
    if not store.known.needed(args.name):
        print(models_folder() / "embedded.safetensors")
    return 0
