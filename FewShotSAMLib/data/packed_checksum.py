"""Packed voxels by the checksum that lies behind them: what a reader made of them is compared with
it, so that most files are unpacked once and not twice.

Formats: RFC 1952 (gzip: CRC-32 and length of what was packed), RFC 1950 (zlib: Adler-32).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .stored_voxels import StoredVoxels, check_claim, check_stored

_AT_ONCE = 1 << 30  # bytes that a reader may make room for on a header's word
_TIGHT = 64  # beyond these, bytes that are told of for one that is there
_GZIP_END, _ZLIB_END = 8, 4  # bytes of the checksums


def read_checked(path: Path, stored: StoredVoxels, read: Callable[[bool], Any]) -> Any:
    """What a reader makes of a file whose voxels are all there and undamaged.

    Readers take damaged voxels for whole ones in silence. So the voxels are unpacked and counted
    before they see the file, or, where its end and its size allow that, compared with its checksum
    afterwards, which takes a tenth of the time.

    Args:
        path: the file.
        stored: where its header says that the voxels lie.
        read: gives the ``SimpleITK.Image``; told whether far more is packed after the voxels, which
            it should not unpack.

    Raises:
        InputError: cut short, damaged, or a header that claims more than there is; what ``read``
            raises.
    """
    check_claim(path, stored)
    if not _may_be_read_first(stored):
        return read(check_stored(path, stored))
    try:
        image = read(False)
    except ValueError:
        check_stored(path, stored)  # which may know better what is wrong
        raise
    if _checksum_of(stored, image) != _told(stored)[0]:
        check_stored(path, stored)  # other bytes than those that were packed: swapped, scaled
    return image


def _may_be_read_first(stored: StoredVoxels) -> bool:
    """Whether the file is one that a reader unpacks as far as it should, and tells a checksum."""
    if stored.packing not in ("gzip", "zlib") or len(stored.files) != 1:
        return False
    packed = stored.files[0].stat().st_size - stored.start
    if stored.length > max(_AT_ONCE, _TIGHT * packed) or packed < _GZIP_END:
        return False
    return stored.packing == "zlib" or _told(stored)[1] == stored.length % (1 << 32)


def _told(stored: StoredVoxels) -> tuple[int, int]:
    """The checksum at the end of the file, and the length there (of gzip)."""
    with stored.files[0].open("rb") as file:
        file.seek(-(_GZIP_END if stored.packing == "gzip" else _ZLIB_END), 2)
        end = file.read()
    if stored.packing == "zlib":
        return int.from_bytes(end, "big"), 0
    return int.from_bytes(end[:4], "little"), int.from_bytes(end[4:], "little")


def _checksum_of(stored: StoredVoxels, image: Any) -> int:
    """Of what is packed, if the voxels are in the image as they are in the file."""
    import SimpleITK as sitk

    voxels = sitk.GetArrayViewFromImage(image)
    if stored.packing == "zlib":
        return zlib.adler32(voxels)
    return zlib.crc32(voxels, zlib.crc32(_before(stored)))


def _before(stored: StoredVoxels) -> bytes:
    """What is packed before the voxels."""
    if not stored.before:
        return b""
    with stored.files[0].open("rb") as file:
        file.seek(stored.start)
        unpacker = zlib.decompressobj(47)
        return unpacker.decompress(file.read(stored.before + (1 << 12)), stored.before)
