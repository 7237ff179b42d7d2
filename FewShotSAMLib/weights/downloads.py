"""One file from an address to a place on disk: resumed where it broke, checked before it counts.

What has arrived lies in `NAME.partial` beside the target, with `NAME.partial.json` telling where
it came from. The target's own name appears when size and SHA-256 are right, and not before.
Proxies are those of the system and of the usual variables (HTTPS_PROXY and so on).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..data.errors import InputError
from ..data.whole_files import atomic_path
from .file_lock import locked
from .http_body import Body, BodyStart, Broken, Refused, open_body
from .resources import sha256_of

_CHUNK = 1 << 18
_GAIN = 1 << 20  # a connection that brought this much before it broke was worth having
_SPARE = 1 << 26  # disk space to leave free

ProgressCallback = Callable[[int, "int | None"], None]  # bytes done, bytes in all where known


class DownloadError(InputError):
    """A file could not be downloaded. Nothing lies under its name."""


class DownloadCancelled(Exception):
    """The caller's event asked to stop; what has arrived is kept for the next time."""


@dataclass(frozen=True)
class Patience:
    """How long to go on trying.

    Attributes:
        attempts: connections in a row that may bring (almost) nothing.
        first_wait: seconds before the second attempt; doubled for each one after it.
        timeout: seconds without a byte after which a connection is given up.
    """

    attempts: int = 5
    first_wait: float = 1.0
    timeout: float = 20.0


@dataclass(frozen=True)
class Wanted:
    """A file to download.

    Attributes:
        url: http or https.
        target: where it shall lie; folders are made.
        size: bytes, or None where not known.
        sha256: lower-case hexadecimal, or "" where not known.
        most: bytes to keep at most where neither the size is known nor the server tells it.
    """

    url: str
    target: Path
    size: int | None = None
    sha256: str = ""
    most: int = 16 << 30


def download(
    wanted: Wanted,
    *,
    progress: ProgressCallback | None = None,
    cancel: threading.Event | None = None,
    tell: Callable[[str], None] = lambda _: None,
    patience: Patience | None = None,
) -> str:
    """Makes sure that the wanted file lies at its target.

    Where a file lies there already and its SHA-256 is the wanted one, or none is wanted, it stays;
    otherwise it is replaced. Several processes may ask for the same file: one downloads, the
    others wait.

    Args:
        wanted: the file.
        progress: called as bytes arrive.
        cancel: stops between two pieces when set.
        tell: called with one sentence when something needs patience.
        patience: how often to try again.

    Returns:
        its SHA-256.

    Raises:
        DownloadError: not there, another file, no space, or no connection for too long.
        DownloadCancelled: `cancel` was set.
    """
    cancel = cancel or threading.Event()
    transfer = _Transfer(wanted, progress, cancel, tell, patience or Patience())
    try:
        return _alone(transfer)
    except OSError as problem:
        raise DownloadError(
            f"{problem.filename or wanted.target}: cannot be written "
            f"({problem.strerror or problem})"
        ) from None


def _alone(transfer: _Transfer) -> str:
    """The SHA-256 of the file, fetched where it is not there yet, by one process at a time."""
    wanted, target = transfer.wanted, transfer.wanted.target

    def waiting() -> None:
        transfer.tell(f"{target.name} is being downloaded by another process; waiting for it")

    target.parent.mkdir(parents=True, exist_ok=True)
    with locked(lock_file(target), waiting, transfer.cancel, keep=False) as held:
        if not held:
            raise DownloadCancelled
        digest = sha256_of(target) if target.is_file() else ""
        if not digest or (wanted.sha256 and digest != wanted.sha256):
            return transfer.run()
        remove_leftovers(target)
    return digest


class _Transfer:
    """The partial file of one download and what happens to it."""

    def __init__(
        self,
        wanted: Wanted,
        progress: ProgressCallback | None,
        cancel: threading.Event,
        tell: Callable[[str], None],
        patience: Patience,
    ) -> None:
        self.wanted, self.cancel, self.tell, self.patience = wanted, cancel, tell, patience
        self.progress = progress or (lambda done, total: None)
        self.partial, self.origin = partial_files(wanted.target)
        self._reached = False  # the server has answered at least once

    def run(self) -> str:
        """Fetches until whole, checks, gives the file its name."""
        failures = 0
        while not self._whole():
            before = self._arrived()
            try:
                self._fetch()
            except Refused as problem:
                raise self._error(str(problem)) from None
            except Broken as problem:
                if problem.restart:
                    self._discard()
                failures = 1 if self._arrived() - before >= _GAIN else failures + 1
                self._pause(problem, failures)
        return self._finish()

    def _pause(self, problem: Broken, failures: int) -> None:
        """Waits for the next attempt, if there is to be one."""
        hopeless = problem.unreachable and not self._reached
        if hopeless or failures >= self.patience.attempts:
            tries = "" if hopeless else f" (tried {failures} times)"
            raise self._error(f"{problem}{tries}") from None
        wait = max(problem.wait, self.patience.first_wait * 2 ** (failures - 1))
        self.tell(f"{self.wanted.target.name}: {problem}; trying again in {wait:.0f} s")
        if self.cancel.wait(wait):
            raise DownloadCancelled

    def _arrived(self) -> int:
        return self.partial.stat().st_size if self.partial.is_file() else 0

    def _origin(self) -> dict:
        """Where the partial file came from; nothing where that is not known."""
        try:
            content = json.loads(self.origin.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        same = isinstance(content, dict) and content.get("url") == self.wanted.url
        return content if same else {}

    def _whole(self) -> bool:
        origin = self._origin()
        if not origin and not self.wanted.sha256:
            return False  # whatever lies there may be something else
        total = self.wanted.size or origin.get("total")
        return total is not None and self._arrived() == total

    def _fetch(self) -> None:
        """One connection: from where the partial file ends to the end of the file."""
        if self.cancel.is_set():
            raise DownloadCancelled
        origin = self._origin()
        validator = origin.get("validator", "")
        # Pieces of two versions must not be joined: either the server confirms that its file is
        # the same one, or the known hash will find out.
        resumable = bool(validator or (origin and self.wanted.sha256))
        start = self._arrived() if resumable else 0
        with open_body(self.wanted.url, start, validator, self.patience.timeout) as body:
            self._reached = True
            first, total = body.start.first, body.start.total or self.wanted.size
            self._check_offer(body.start)
            if first and origin.get("total", total) != total:
                raise Broken("the file on the server has changed", restart=True)
            self._check_space((total or 0) - first)
            if not first:  # or a kill between here and there would join an old half to a new one
                self.partial.unlink(missing_ok=True)
            self._note(total, body.start.validator)
            self._check_size(self._keep(body, first, total), total, body.start.validator)

    def _check_size(self, arrived: int, total: int | None, validator: str) -> None:
        if total is None and arrived > self.wanted.most:
            self._discard()
            raise self._error(f"the server sent more than {self.wanted.most} bytes; it was deleted")
        if total is None:  # sent in pieces of which the last has come; the hash is known
            self._note(arrived, validator)
        elif arrived < total:
            raise Broken(f"the connection ended after {arrived} of {total} bytes")
        elif arrived > total:
            self._discard()
            raise self._error(f"the server sent more than the {total} bytes expected")

    def _keep(self, body: Body, first: int, total: int | None) -> int:
        """Writes what arrives to the partial file, from `first` on; its size after that."""
        with self.partial.open("r+b" if first else "wb") as file:
            file.truncate(first)
            file.seek(first)
            self.progress(first, total)
            most = self.wanted.most if total is None else total
            while file.tell() <= most and (chunk := body.read(_CHUNK)):
                file.write(chunk)
                self.progress(file.tell(), total)
                if self.cancel.is_set():
                    raise DownloadCancelled
            return file.tell()

    def _note(self, total: int | None, validator: str) -> None:
        note = {"url": self.wanted.url, "validator": validator, "total": total}
        with atomic_path(self.origin) as temporary:  # else a kill costs what has arrived
            temporary.write_text(json.dumps(note), encoding="utf-8")

    def _check_offer(self, start: BodyStart) -> None:
        """What the server is about to send must be able to be the file."""
        size = self.wanted.size
        if start.total is not None and size not in (None, start.total):
            self._discard()
            raise self._error(f"the server offers {start.total} bytes, expected are {size}")
        if start.total is None and size is None and not self.wanted.sha256:
            raise self._error("the server does not tell its size, so nothing can be checked")
        if start.is_page:
            raise self._error(
                "the server answers with a web page instead of the file; a proxy may ask for a "
                "login, or the address has changed"
            )

    def _check_space(self, missing: int) -> None:
        free = shutil.disk_usage(self.partial.parent).free
        if free < missing + _SPARE:
            raise self._error(
                f"{missing / 1e6:.0f} MB are missing and {self.partial.parent} has "
                f"{free / 1e6:.0f} MB free; make space or choose another folder"
            )

    def _finish(self) -> str:
        digest = sha256_of(self.partial)
        if self.wanted.sha256 and digest != self.wanted.sha256:
            self._discard()
            raise self._error(
                f"another file came than expected: SHA-256 is {digest}, expected is "
                f"{self.wanted.sha256}; it was deleted"
            )
        with self.partial.open("r+b") as file:
            os.fsync(file.fileno())
        os.replace(self.partial, self.wanted.target)
        self._discard()
        return digest

    def _discard(self) -> None:
        self.partial.unlink(missing_ok=True)
        self.origin.unlink(missing_ok=True)

    def _error(self, reason: str) -> DownloadError:
        return DownloadError(f"{self.wanted.target.name}: {reason}")


def partial_files(target: Path) -> tuple[Path, Path]:
    """Where an unfinished download of a file lies, and the note of where it came from."""
    return target.with_name(target.name + ".partial"), target.with_name(
        target.name + ".partial.json"
    )


def lock_file(target: Path) -> Path:
    """What is held while a file is downloaded."""
    return target.with_name(target.name + ".lock")


def remove_leftovers(target: Path) -> None:
    """Removes what a kill left of a download whose file has its name already."""
    for left in (*partial_files(target), lock_file(target)):
        with contextlib.suppress(OSError):  # where nothing may be removed, nothing need be
            left.unlink()
