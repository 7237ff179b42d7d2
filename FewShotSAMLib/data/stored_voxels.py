"""The voxels that a header tells of: whether so many bytes lie where it says, before any reader
makes room for them."""

from __future__ import annotations

import bz2
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import InputError

PACKINGS = ("", "text", "gzip", "zlib", "bzip2")
_PIECE = 1 << 20
_DEFLATE = 1032  # bytes that deflate makes of one at most (zlib's technical details)
_AFTER = 1 << 22  # bytes that may follow the voxels
_LARGEST_MM = 1e7  # ten kilometres
_SMALLEST_MM = 1e-9
_LONGEST_SIDE = 2**31 - 1


@dataclass(frozen=True)
class StoredVoxels:
    """Where a header says that the voxels lie.

    Attributes:
        size: voxels along each axis of the file.
        length: bytes of all voxels; of "text", their number.
        files: what they lie in, one after the other.
        start: where they begin in each file, bytes.
        packing: one of `PACKINGS`; "" as they are.
        before: bytes of `length` that are packed before the voxels: NIfTI's header.
    """

    size: tuple[int, ...]
    length: int
    files: tuple[Path, ...]
    start: int = 0
    packing: str = ""
    before: int = 0


def check_stored(path: Path, stored: StoredVoxels) -> bool:
    """Refuse a file whose voxels are not all there, or would not fit into memory.

    Returns:
        whether far more is packed after them, which no reader should unpack.

    Raises:
        InputError: cut short, damaged, or a header that claims more than there is.
    """
    there = check_claim(path, stored)
    if stored.packing in ("gzip", "zlib", "bzip2"):
        there = _unpacked(stored)
    if there < stored.length:
        raise _cut_short(path, stored)
    return there >= stored.length + _AFTER


def check_claim(path: Path, stored: StoredVoxels) -> int:
    """Refuse voxels that do not fit into memory, or could not be made of the bytes that are there,
    without unpacking any.

    Returns:
        these bytes.

    Raises:
        InputError: the header claims more than can be.
    """
    _check_memory(path, stored.length)
    there = sum(max(0, check_part(path, file) - stored.start) for file in stored.files)
    if stored.packing in ("gzip", "zlib") and stored.length > _DEFLATE * there:
        raise _cut_short(path, stored)
    return there


def _cut_short(path: Path, stored: StoredVoxels) -> InputError:
    return InputError(
        f"{path}: the file is cut short or its header is wrong (it tells of "
        f"{' x '.join(map(str, stored.size))} voxels); copy or export it again"
    )


def check_part(path: Path, file: Path) -> int:
    """The length in bytes of a file that belongs to ``path``.

    Raises:
        InputError: it is not there, or no file that ends.
    """
    if not file.exists():
        raise InputError(f"{path}: its data file {file.name} is not there; put it beside the file")
    if not file.is_file():
        raise InputError(f"{path}: its data file {file.name} is no file; export it again")
    return file.stat().st_size


def data_file(path: Path, name: str) -> Path:
    """The file that a header names.

    Raises:
        InputError: it would lie anywhere but beside the header.
    """
    if not name or name in (".", "..") or any(mark in name for mark in "/\\:\0"):
        raise InputError(
            f"{path}: its data file {name!r} does not lie beside it; put both into one folder and "
            "name it without a folder"
        )
    return path.with_name(name)


def numbered_files(path: Path, pattern: str, numbers: range) -> tuple[Path, ...]:
    """The files of a C format such as "slice%03d.raw".

    Raises:
        InputError: it is another pattern, too many files, or not beside the header.
    """
    before, mark, after = pattern.partition("%")
    width, _, rest = after.partition("d")
    if not mark or (width and not width.isdecimal()) or "%" in rest or "d" not in after:
        raise InputError(f"{path}: the data files {pattern!r} are not understood; export it again")
    if len(numbers) > 65536 or len(width) > 2:
        raise InputError(f"{path}: tells of too many data files; its header is damaged")
    filled = width.startswith("0")
    fill = "0" if filled else " "
    return tuple(
        data_file(path, before + str(n).rjust(int(width or 0), fill) + rest) for n in numbers
    )


def check_size(path: Path, size: Sequence[int], dimensions: range = range(1, 6)) -> None:
    """Refuse sizes that no image has.

    Raises:
        InputError: too many axes, or one without voxels.
    """
    if len(size) not in dimensions:
        raise InputError(f"{path}: its header tells of {len(size)} axes; export it again")
    if 0 in size:
        raise InputError(f"{path}: holds no voxels; export it again")
    if any(not 0 < n <= _LONGEST_SIDE for n in size):
        raise InputError(
            f"{path}: its header tells of {' x '.join(map(str, size))} voxels; export it again"
        )


def check_steps(path: Path, steps: Sequence[float]) -> None:
    """Refuse distances between voxels that are none.

    Raises:
        InputError: not finite, 0, or beyond everything that is scanned.
    """
    for step in steps:
        if not _SMALLEST_MM <= abs(step) <= _LARGEST_MM:
            raise InputError(
                f"{path}: its header tells of a spacing of {step:g} mm; repair its header or "
                "export it again"
            )


def check_numbers(path: Path, values: Sequence[float], what: str) -> None:
    """Refuse a matrix or a point that is none.

    Raises:
        InputError: not finite, or beyond everything that is scanned.
    """
    if not all(math.isfinite(value) and abs(value) <= _LARGEST_MM for value in values):
        raise InputError(
            f"{path}: the {what} in its header is not finite or far too large; repair its header "
            "or export it again"
        )


def _check_memory(path: Path, length: int) -> None:
    import psutil

    if length > (most := psutil.virtual_memory().total):
        raise InputError(
            f"{path}: its header tells of {length / 1e9:.1f} GB of voxels and this computer has "
            f"{most / 1e9:.1f} GB of memory; export it again or crop it"
        )


def _unpacked(stored: StoredVoxels) -> int:
    """Bytes that come out of all files, counted not much further than is needed."""
    length, most = 0, stored.length + _AFTER
    for file in stored.files:
        length += unpacked_length(file, stored.packing, stored.start, most - length)
    return length


def unpacked_length(file: Path, packing: str, start: int, most: int | None) -> int:
    """Bytes that come out of a packed file from ``start`` on, counted up to ``most``.

    Args:
        file: it may be longer than what is packed.
        packing: "gzip", "zlib" or "bzip2".
        start: where the first packed byte lies.
        most: None counts all.

    Returns:
        their number; -1 where damage or the end of the file comes before the checksum.
    """
    try:
        return _count(file, packing, start, most)
    except (zlib.error, OSError, EOFError):
        return -1


def _count(file: Path, packing: str, start: int, most: int | None) -> int:
    length, unpacker, waiting = 0, _unpacker(packing), b""
    with file.open("rb") as packed:
        packed.seek(start)
        while most is None or length < most:
            if unpacker.eof:
                waiting = unpacker.unused_data or packed.read(_PIECE)
                if not waiting.startswith((b"\x1f\x8b", b"BZh")):
                    return length  # what follows is not packed
                unpacker = _unpacker(packing)
            elif (
                not waiting
                and getattr(unpacker, "needs_input", True)
                and not (waiting := packed.read(_PIECE))
            ):
                rest = unpacker.flush() if packing != "bzip2" else b""
                return length + len(rest) if unpacker.eof else -1
            length += len(unpacker.decompress(waiting, _PIECE))
            waiting = getattr(unpacker, "unconsumed_tail", b"")
    return length


def _unpacker(packing: str) -> Any:
    if packing == "bzip2":
        return bz2.BZ2Decompressor()
    return zlib.decompressobj(47)  # both gzip's and zlib's frame, as the readers take it
