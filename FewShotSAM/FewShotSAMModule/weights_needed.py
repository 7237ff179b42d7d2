"""The weights that a preset lacks: which, how large, from where, and getting them.

Plain functions and one thread; the questions are asked by `installation`.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from FewShotSAMLib import InputError

if TYPE_CHECKING:
    from FewShotSAMLib.models.weights import WeightStore
    from FewShotSAMLib.models.weights_catalogue import WeightFile


def missing_weights(preset: str, store: WeightStore | None = None) -> tuple[WeightFile, ...]:
    """The weight files of a preset that are not on this machine. Looks at names only.

    Raises:
        InputError: an unknown preset, or settings that cannot be read.
    """
    store = store or _store()
    return tuple(e for e in store.known.needed(preset) if not store.is_present(e.name))


def question(entries: tuple[WeightFile, ...], store: WeightStore | None = None) -> str:
    """What a person has to know before agreeing to a download."""
    from FewShotSAMLib.models.weights_catalogue import megabytes
    from FewShotSAMLib.models.weights_folder import weights_place

    store = store or _store()
    mirror = weights_place().mirror
    total = megabytes(sum(e.size or e.about_size or 0 for e in entries))
    lines = [f"Weights to download once, {total} into {store.folder}:"]
    for entry in entries:
        lines.append(f"{entry.name}: {entry.size_text}, {entry.licence_text}")
        lines.append(f"    {store.address(entry.name, mirror)}")
        lines.append(f"    SHA-256 {entry.sha256 or 'not published'}")
    lines.append("Where a firewall blocks this, use Weights from folder instead.")
    return "\n".join(lines)


def install_from(
    entries: tuple[WeightFile, ...], source: Path, store: WeightStore | None = None
) -> None:
    """Takes weights from a file or folder on this machine, once their SHA-256 is right.

    Raises:
        InputError: one file for several weights, no such file, or another file than expected.
    """
    store = store or _store()
    if len(entries) > 1 and not source.is_dir():
        raise InputError(
            f"{source}: one file, and {len(entries)} are needed; choose the folder that holds "
            + ", ".join(entry.file for entry in entries)
        )
    for entry in entries:
        store.install(entry.name, source)


class Fetching:
    """Gets weights in a thread of its own, which touches neither Qt nor the scene.

    Attributes:
        line: what it is doing, for people.
        problem: one line once it failed, or "".
        over: whether it has ended, well or not.
    """

    def __init__(
        self,
        entries: tuple[WeightFile, ...],
        source: Path | None = None,
        store: WeightStore | None = None,
    ) -> None:
        self.line, self.problem, self.over = "", "", False
        self._entries, self._source, self._store = entries, source, store
        self._cancel = threading.Event()
        self._thread = threading.Thread(target=self._work, name="FewShotSAM weights", daemon=True)
        self._thread.start()

    def cancel(self) -> None:
        """Stops a download; what has come is kept, and the next one goes on from there."""
        self._cancel.set()

    @property
    def cancelled(self) -> bool:
        return self._cancel.is_set()

    def _work(self) -> None:
        try:
            if self._source is not None:
                self.line = f"Checking {self._source}"
                install_from(self._entries, self._source, self._store)
            else:
                self._download()
        except InputError as problem:
            self.problem = str(problem)
        except Exception as problem:
            if not self.cancelled:
                self.problem = f"the weights could not be fetched ({problem}); try again"
        finally:
            self.over = True

    def _download(self) -> None:
        from FewShotSAMLib.models.weights_catalogue import megabytes
        from FewShotSAMLib.models.weights_folder import weights_place

        store, mirror = self._store or _store(), weights_place().mirror
        for entry in self._entries:

            def progress(done: int, total: int | None, name: str = entry.name) -> None:
                of = f" of {megabytes(total)}" if total else ""
                self.line = f"Downloading {name}: {megabytes(done)}{of}"

            if self.cancelled:
                return
            progress(0, entry.size)
            store.download(entry.name, mirror=mirror, progress=progress, cancel=self._cancel)


def _store() -> WeightStore:
    from FewShotSAMLib.models.weights import WeightStore

    return WeightStore()
