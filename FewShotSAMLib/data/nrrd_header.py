"""What the header of an NRRD file says, read before ITK does.

Format: http://teem.sourceforge.net/nrrd/format.html
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from .errors import InputError
from .stored_voxels import (
    StoredVoxels,
    check_numbers,
    check_size,
    check_steps,
    data_file,
    numbered_files,
)

_LONGEST = 1 << 24  # bytes of a header
_BYTES = {
    1: "char|signed char|int8|int8_t|uchar|unsigned char|uint8|uint8_t",
    2: "short|short int|signed short|signed short int|int16|int16_t|ushort|unsigned short"
    "|unsigned short int|uint16|uint16_t",
    4: "int|signed int|int32|int32_t|uint|unsigned int|uint32|uint32_t|float",
    8: "longlong|long long|long long int|signed long long|signed long long int|int64|int64_t"
    "|ulonglong|unsigned long long|unsigned long long int|uint64|uint64_t|double",
}
_TYPES = {name: size for size, names in _BYTES.items() for name in names.split("|")}
_PACKINGS = {
    "raw": "", "txt": "text", "text": "text", "ascii": "text", "hex": "text",
    "gz": "gzip", "gzip": "gzip", "bz2": "bzip2", "bzip2": "bzip2",
}  # fmt: skip
# As they are written without spaces. ITK's reader ends the program over a long line of another.
_FIELDS = {
    "axismaxs", "axismins", "blocksize", "byteskip", "centerings", "centers", "content",
    "datafile", "dimension", "encoding", "endian", "kinds", "labels", "lineskip", "max",
    "measurementframe", "min", "number", "oldmax", "oldmin", "sampleunits", "sizes", "space",
    "spacedimension", "spacedirections", "spaceorigin", "spaceunits", "spacings", "thicknesses",
    "type", "units",
}  # fmt: skip
_VECTOR = re.compile(r"none|\(([^()]*)\)")


def is_nrrd(start: bytes) -> bool:
    """Whether a file that begins so is one."""
    return start.startswith(b"NRRD000")


def nrrd_voxels(path: Path) -> StoredVoxels:
    """Where the voxels of a file lie.

    Raises:
        InputError: a header that says what no image is, or names files elsewhere.
        KeyError, ValueError, OverflowError: a field is missing or no number.
    """
    with path.open("rb") as file:
        fields, listed = _fields(path, file.readline, file.tell)
    return _stored(path, fields, listed)


def _fields(path: Path, read_line, tell) -> tuple[dict[str, str], list[str]]:  # noqa: ANN001
    """The fields in small letters, "" -> where the header ends, and data files that are listed."""
    fields, listed = {}, []
    while (line := read_line(_LONGEST)) and line.strip(b"\r\n"):
        text = line.decode("utf-8", "surrogateescape").strip("\r\n")
        if tell() > _LONGEST or "\0" in text:
            what = "holds a zero byte" if "\0" in text else "is too long"
            raise InputError(f"{path}: its header {what}; it is damaged")
        if _is_list(fields):
            listed.append(text.strip())
        elif ":=" not in text.split(": ", 1)[0] and not text.startswith(("#", "NRRD000")):
            name, _, value = text.partition(":")
            name = name.strip().lower().replace(" ", "")
            if name not in _FIELDS:
                raise InputError(f"{path}: its header has a line that is no field; it is damaged")
            fields[name] = value.strip()
    fields[""] = str(tell())
    return fields, listed


def _is_list(fields: dict[str, str]) -> bool:
    return fields.get("datafile", "").upper().startswith("LIST")


def _stored(path: Path, fields: dict[str, str], listed: list[str]) -> StoredVoxels:
    size = tuple(int(n) for n in fields["sizes"].split())
    check_size(path, size)
    if int(fields["dimension"]) != len(size):
        raise ValueError
    _check_place(path, fields)
    packing = _PACKINGS.get(fields["encoding"].lower())
    kind = _TYPES.get(fields["type"].lower())
    if packing is None or kind is None:
        what = f"type {fields['type']!r}" if kind is None else f"encoding {fields['encoding']!r}"
        raise InputError(f"{path}: its {what} is not read; save it another way")
    names = fields.get("datafile", "")
    files = _files(path, names, listed) if names else (path,)
    skipped = int(fields.get("byteskip", 0)), int(fields.get("lineskip", 0))
    if not -1 <= skipped[0] <= 2**40 or not 0 <= skipped[1] <= 2**20:
        raise ValueError
    start = 0 if names else int(fields[""])
    length = math.prod(size) * (1 if packing == "text" else kind)
    if packing == "" and skipped[0] > 0:
        start += skipped[0]
    return StoredVoxels(size, length, files, start, packing)


def _files(path: Path, names: str, listed: list[str]) -> tuple[Path, ...]:
    if names.upper().startswith("LIST"):
        return tuple(data_file(path, name) for name in listed)
    pattern, *numbers = names.rsplit(maxsplit=3)
    if "%" in names and len(numbers) == 3:
        first, last, step = (int(n) for n in numbers)
        return numbered_files(path, pattern, range(first, last + (1 if step > 0 else -1), step))
    return (data_file(path, names),)


def _check_place(path: Path, fields: dict[str, str]) -> None:
    vectors = _vectors(fields, "spacedirections")
    for vector in vectors:
        check_numbers(path, vector, "space directions")
        check_steps(path, [math.hypot(*vector)])
    spacings = [float(x) for x in fields.get("spacings", "").split()]
    check_steps(path, [step for step in spacings if not math.isnan(step)])
    for name in ("spaceorigin", "measurementframe"):
        vectors.append([x for vector in _vectors(fields, name) for x in vector])
        check_numbers(path, vectors[-1], name.replace("space", "space "))
    if not 1 <= int(fields.get("spacedimension", 3)) <= 5 or any(len(v) > 25 for v in vectors):
        raise ValueError


def _vectors(fields: dict[str, str], name: str) -> list[list[float]]:
    """A field's vectors, without those that are "none". Over anything else in it, if it is long,
    ITK's reader ends the program."""
    text = fields.get(name, "")
    if _VECTOR.sub("", text).strip():
        raise ValueError
    return [[float(x) for x in inner.split(",")] for inner in _VECTOR.findall(text) if inner]
