"""Weight files on this machine: found, checked, fetched, taken from elsewhere, removed.

Beside each file lies `FILE.json`, the record of its SHA-256 with the size and time of change that
it was computed at, so that gigabytes are read once and not at every start. Where nobody published
a hash, the record keeps the one of the first use, and the file must stay that.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..data.errors import InputError
from ..data.files import atomic_path
from .catalogue import Catalogue, WeightFile, catalogue
from .downloads import (
    DownloadError,
    Patience,
    ProgressCallback,
    Wanted,
    download,
    lock_file,
    partial_files,
    remove_leftovers,
)
from .folder import weights_place
from .resources import sha256_of

Tell = Callable[[str], None]

_LARGEST = 8 << 30  # bytes of a file of which nothing is known


@dataclass(frozen=True)
class LocalWeights:
    """A weight file that lies on this machine and was checked.

    Attributes:
        entry: what the catalogue says of it.
        path: where it lies.
        sha256: its own.
    """

    entry: WeightFile
    path: Path
    sha256: str


class WeightStore:
    """The weight files of one folder.

    Args:
        folder: where they lie; the user's folder by default.
        known: what there is; the catalogue that ships with the program by default.
        tell: called with one sentence when a person should know something.
    """

    def __init__(
        self,
        folder: Path | None = None,
        known: Catalogue | None = None,
        tell: Tell = lambda _: None,
    ) -> None:
        self.folder = folder or weights_place().folder
        self.known = known or catalogue()
        self.tell = tell

    def path(self, name: str) -> Path:
        """Where a file lies, or would.

        Raises:
            InputError: the name is not known; the known ones are listed.
        """
        return self.folder / self.known.weight_file(name).file

    def is_present(self, name: str) -> bool:
        """Whether the file is there. It is not looked into."""
        return self.path(name).is_file()

    def is_checked(self, name: str) -> bool:
        """Whether the file is there, was once found to be what it should be and has not changed
        since. It is not looked into."""
        entry, path = self.known.weight_file(name), self.path(name)
        if not path.is_file():
            return False
        record = self._record(path)
        expected = entry.sha256 or record.get("sha256", "")
        unchanged = _state(path).items() <= record.items()
        return unchanged and bool(expected) and record.get("sha256") == expected

    def disk_used(self) -> int:
        """Bytes of the files in the folder: weights, records and unfinished downloads."""
        if not self.folder.is_dir():
            return 0
        return sum(path.stat().st_size for path in self.folder.iterdir() if path.is_file())

    def address(self, name: str, mirror: str = "") -> str:
        """Where a file can be downloaded.

        Raises:
            InputError: unknown name, or there is no such place.
        """
        entry = self.known.weight_file(name)
        if not entry.address(mirror):
            raise InputError(
                f"{name}: has no public address; get {entry.file} from {entry.source} and run: "
                f"fewshotsam models download {name}{_only_file(entry)}"
            )
        return entry.address(mirror)

    def find(self, name: str, *, recheck: bool = False) -> LocalWeights:
        """A file that is there and is what it should be.

        Args:
            name: as in the catalogue.
            recheck: read it even if the record says that it was checked and has not changed.

        Raises:
            InputError: unknown name; missing (the line says how to get it); changed or damaged.
        """
        entry, path = self.known.weight_file(name), self.path(name)
        if not path.is_file():
            raise InputError(
                f"{path}: the weights of {name} are missing; get them ({entry.size_text}, "
                f"{entry.licence_text}) with: fewshotsam models download {name}{_only_file(entry)}"
            )
        expected = entry.sha256 or self._record(path).get("sha256", "")
        if not recheck and self.is_checked(name):
            return LocalWeights(entry, path, expected)
        digest = sha256_of(path)
        if expected and digest != expected:
            raise InputError(
                f"{path}: SHA-256 is {digest}, expected is {expected}; it is damaged or another "
                f"file: fewshotsam models remove {name}, then download it again"
            )
        return self._accept(entry, path, digest, known=bool(expected))

    def download(
        self,
        name: str,
        *,
        mirror: str = "",
        progress: ProgressCallback | None = None,
        cancel: threading.Event | None = None,
        patience: Patience | None = None,
    ) -> LocalWeights:
        """Makes sure that a file is there, from its address or from a mirror's. A file that is
        there and damaged is replaced.

        Raises:
            InputError: unknown name; the download failed (the line gives address, SHA-256 and
                the way by hand).
            DownloadCancelled: `cancel` was set; what has arrived is kept.
        """
        entry, path = self.known.weight_file(name), self.path(name)
        url = self.address(name, mirror)
        expected = entry.sha256
        if not expected and path.is_file():
            expected = self._record(path).get("sha256", "")
        most = entry.size or 2 * (entry.about_size or _LARGEST)
        wanted = Wanted(url, path, entry.size, expected, most)
        try:
            digest = download(
                wanted, progress=progress, cancel=cancel, tell=self.tell, patience=patience
            )
        except DownloadError as problem:
            raise DownloadError(
                f"{problem}; URL {url}, SHA-256 {expected or 'not published'}; with a copy from "
                f"elsewhere: fewshotsam models download {name} --from-file FILE"
            ) from None
        return self._accept(entry, path, digest, known=bool(expected))

    def install(self, name: str, source: Path) -> LocalWeights:
        """Copies a file that the user has got otherwise, once it is known to be the right one.

        Args:
            name: as in the catalogue.
            source: the file, or a folder in which it lies under its own name.

        Raises:
            InputError: unknown name, no such file, or another file than expected.
        """
        entry, path = self.known.weight_file(name), self.path(name)
        if source.is_dir():
            source = source / entry.file
        if not source.is_file():
            raise InputError(f"{source}: no such file")
        if path.is_file() and path.samefile(source):
            return self.find(name, recheck=True)
        digest = _copy(source, path, entry)
        return self._accept(entry, path, digest, known=bool(entry.sha256))

    def remove(self, name: str) -> int:
        """Deletes a file and what belongs to it, also an unfinished download.

        Returns:
            bytes that were freed; 0 where there was nothing.

        Raises:
            InputError: unknown name, or it cannot be deleted.
        """
        path = self.path(name)
        files = (path, *partial_files(path), record_file(path), lock_file(path))
        return sum(map(_delete, files))

    def _accept(self, entry: WeightFile, path: Path, digest: str, *, known: bool) -> LocalWeights:
        """Keeps the hash of a file that has just been read, and says so where it is the first."""
        if not known:
            self.tell(
                f"{entry.file}: its SHA-256 was never published, so it could not be compared; "
                f"from now on it must stay {digest}"
            )
        try:
            with atomic_path(record_file(path)) as temporary:
                record = {"sha256": digest, **_state(path)}
                temporary.write_text(json.dumps(record), encoding="utf-8")
        except InputError as problem:
            self.tell(f"{problem}; the file will be checked again at the next start")
        remove_leftovers(path)
        return LocalWeights(entry, path, digest)

    def _record(self, path: Path) -> dict:
        try:
            content = json.loads(record_file(path).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return content if isinstance(content, dict) else {}


def record_file(path: Path) -> Path:
    """Where the record of a weight file lies."""
    return path.with_name(path.name + ".json")


def _delete(path: Path) -> int:
    """Deletes a file; the bytes that were freed, 0 where it was not there."""
    try:
        size = path.stat().st_size
        path.unlink()
    except FileNotFoundError:
        return 0
    except OSError as problem:
        raise InputError(
            f"{path}: cannot be deleted ({problem.strerror}); close the programs that use it and "
            "try again"
        ) from None
    return size


def _state(path: Path) -> dict[str, int]:
    """What changes when a file does."""
    stat = path.stat()
    return {"bytes": stat.st_size, "changed_ns": stat.st_mtime_ns}


def _copy(source: Path, path: Path, entry: WeightFile) -> str:
    """Copies a file if it is the one of that entry; its SHA-256."""
    size = source.stat().st_size
    if entry.size not in (None, size):
        raise InputError(
            f"{source}: is not {entry.file}: it has {size} bytes, expected are {entry.size}"
        )
    with atomic_path(path) as temporary:
        shutil.copyfile(source, temporary)
        digest = sha256_of(temporary)  # of the copy, so that copying is checked as well
        if entry.sha256 not in ("", digest):
            raise InputError(
                f"{source}: is not {entry.file}: SHA-256 is {digest}, expected is {entry.sha256}"
            )
    return digest


def weights_file(name: str) -> Path:
    """A weight file of the user's folder, checked. Nothing is downloaded.

    Raises:
        InputError: unknown name, missing (the line says how to get it), changed or damaged.
    """
    return WeightStore().find(name).path


def _only_file(entry: WeightFile) -> str:
    return "" if entry.url else " --from-file FILE"
