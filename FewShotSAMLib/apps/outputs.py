"""Where results go: checked before the work begins, written whole or not at all."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..data.errors import InputError
from ..data.links import real_path


def check_destination(path: Path, kinds: Sequence[str], inputs: Iterable[Path]) -> Path:
    """An output path that can be written.

    Args:
        path: the file to write; it may exist.
        kinds: extensions allowed, ".nii.gz" and the like.
        inputs: files and folders that must stay as they are.

    Raises:
        InputError: unknown extension, no such folder, not writable, or one of the inputs.
    """
    _check_kind(path, kinds)
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name a file")
    if not path.parent.is_dir():
        raise InputError(f"{path}: the folder {path.parent} is not there; make it first")
    for source in inputs:
        same = real_path(path) == real_path(source)
        if same or (path.exists() and source.exists() and path.samefile(source)):
            raise InputError(f"{path}: is an input and is not overwritten; name another file")
    _check_writable(path)
    return path


def _check_kind(path: Path, kinds: Sequence[str]) -> None:
    from ..data.files import extension

    if extension(path) not in kinds:
        raise InputError(
            f"{path}: cannot write {extension(path) or 'a file without extension'}; "
            f"end the name in {' '.join(kinds)}"
        )


def _check_writable(path: Path) -> None:
    from ..data.files import written_path

    try:
        tempfile.TemporaryFile(dir=written_path(path).parent).close()
    except OSError as error:
        raise InputError(
            f"{path}: its folder cannot be written to ({error.strerror}); choose another"
        ) from None


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    from ..data.files import atomic_path

    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def tell(sentence: str) -> None:
    """One line on standard error, above the progress bars that stand there."""
    from tqdm import tqdm

    tqdm.write(f"fewshotsam: note: {' '.join(sentence.split())}", file=sys.stderr)


def print_json(content: Any) -> None:
    """One object on standard output. Numbers that are none become null."""
    print(json_text(content))


def json_text(content: Any) -> str:
    """JSON for people to read. Numbers that are none become null."""
    return json.dumps(_plain(content), indent=2, ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and value != value:
        return None
    return value
