"""What a batch keeps beside its outputs: one small file for each study, which says that it is done
and what from, and the place where a study's files lie until all of them are whole.

    FOLDER/NAME.seg.nrrd ...       outputs
    FOLDER/records/NAME.json       written last: with it a study is done (or has failed)
    FOLDER/records/NAME.partial/   outputs before they are whole; left over by a kill, it is
                                   emptied when the study is begun again
    FOLDER/records/NAME.lock       held while a process works on the study
    FOLDER/earlier/RUN/            results of other settings, moved there when these changed
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

from ...data.errors import InputError
from ...data.files import atomic_path
from ...weights.file_lock import locked
from ..outputs import json_text

FORMAT = 1
LOCK = ".batch.lock"  # beside the records, held while a batch is at work in the folder
DONE, FAILED = "done", "failed"


@dataclass(frozen=True)
class Records:
    """The records of a batch's folder."""

    folder: Path

    @property
    def place(self) -> Path:
        """Where they lie."""
        return self.folder / "records"

    def path(self, name: str) -> Path:
        """The record of a study."""
        return self.place / f"{name}.json"

    def read(self, name: str) -> dict[str, Any] | None:
        """A study's record; None where there is none that can be read."""
        try:
            record = json.loads(self.path(name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        usable = isinstance(record, dict) and record.get("format") == FORMAT
        return record if usable and record.get("status") in (DONE, FAILED) else None

    def all(self) -> list[dict[str, Any]]:
        """All records, by name."""
        names = sorted(path.stem for path in self.place.glob("*.json"))
        return [record for name in names if (record := self.read(name)) is not None]

    def is_done(self, record: Mapping[str, Any] | None, key: str, kinds: Sequence[str]) -> bool:
        """Whether a record says that what `key` stands for is done and its files are there.

        Args:
            kinds: extensions of the files that are wanted.
        """
        if record is None or record["status"] != DONE or record["key"] != key:
            return False
        outputs = record["outputs"]
        return all(kind in outputs and self._is_there(outputs[kind]) for kind in kinds)

    def _is_there(self, output: Mapping[str, Any]) -> bool:
        path = self.folder / output["file"]
        return path.is_file() and path.stat().st_size == output["bytes"]

    def write(self, record: Mapping[str, Any]) -> None:
        """Keep a study's record, whole or not at all."""
        text = json_text({"format": FORMAT, **record})
        with atomic_path(self.path(record["study"])) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def staging(self, name: str) -> Path:
        """Where a study's files lie while they are written."""
        return self.place / f"{name}.partial"

    def was_cut_short(self, name: str) -> bool:
        """Whether a process ended, however, while it worked on the study."""
        return self.staging(name).exists()

    @contextmanager
    def claimed(self, name: str, cancel: Event) -> Iterator[bool]:
        """The study for this process alone, with an empty folder for its files that is gone
        afterwards; False where `cancel` came while another process had it."""
        self.place.mkdir(parents=True, exist_ok=True)
        with locked(self.place / f"{name}.lock", lambda: None, cancel) as free:
            if not free:
                yield False
                return
            staging = self.staging(name)
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir(parents=True, exist_ok=True)
            try:
                yield True
            finally:
                shutil.rmtree(staging, ignore_errors=True)

    def make_place(self) -> None:
        """The folder, where nothing is there yet.

        Raises:
            InputError: it cannot be made or written to.
        """
        try:
            self.place.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.place).close()
        except (FileExistsError, NotADirectoryError):
            raise InputError(
                f"{self.folder}: a file is in the way of this folder; name another"
            ) from None
        except OSError as problem:
            raise InputError(
                f"{self.folder}: cannot be written to ({problem.strerror}); choose another folder"
            ) from None

    @contextmanager
    def opened(self) -> Iterator[None]:
        """The folder for one batch at a time.

        Raises:
            InputError: another is at work in it, or it cannot be written to.
        """
        self.make_place()
        at_once = Event()
        at_once.set()
        with locked(self.place / LOCK, lambda: None, at_once) as free:
            if not free:
                raise InputError(
                    f"{self.folder}: another batch is at work in it; wait for it or choose "
                    "another folder"
                )
            yield

    def set_aside(self, run: str) -> dict[str, list[dict[str, Any]]]:
        """Move the results of other runs than `run` to FOLDER/earlier, each with its record last,
        so that what a kill interrupts is finished the next time.

        Returns:
            Their records by run.
        """
        moved: dict[str, list[dict[str, Any]]] = {}
        for record in self.all():
            if record["run"] != run:
                self.set_one_aside(record)
                moved.setdefault(record["run"], []).append(record)
        return moved

    def set_one_aside(self, record: Mapping[str, Any]) -> None:
        """Move one study's results to FOLDER/earlier."""
        target = self.folder / "earlier" / record["run"][:8]
        for output in record.get("outputs", {}).values():
            _move(self.folder / output["file"], target / output["file"])
        source = self.path(record["study"])
        _move(source, target / "records" / source.name)


def _move(source: Path, target: Path) -> None:
    if source.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)
