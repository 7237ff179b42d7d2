"""What the header of a MetaImage file (.mha, .mhd) says, read before ITK does.

Format: https://itk.org/Wiki/ITK/MetaIO/Documentation
"""

from __future__ import annotations

import math
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
_LONGEST_LINE = 1 << 15  # what the library below ITK keeps
_BYTES = {
    "CHAR": 1, "UCHAR": 1, "SHORT": 2, "USHORT": 2, "INT": 4, "UINT": 4, "LONG": 4, "ULONG": 4,
    "LONG_LONG": 8, "ULONG_LONG": 8, "FLOAT": 4, "DOUBLE": 8,
}  # fmt: skip
_MATRICES = ("TransformMatrix", "Rotation", "Orientation")
_POINTS = ("Offset", "Position", "Origin", "CenterOfRotation")
_STEPS = ("ElementSpacing", "ElementSize")


def meta_voxels(path: Path) -> StoredVoxels:
    """Where the voxels of a file lie.

    Raises:
        InputError: it is no such file, says what no image is, or names files elsewhere.
        KeyError, ValueError, OverflowError: a field is missing or no number.
    """
    with path.open("rb") as file:
        fields, listed = _fields(path, file)
    return _stored(path, fields, listed)


def _fields(path: Path, file) -> tuple[dict[str, str], list[str]]:  # noqa: ANN001
    """The fields, "" -> where the header ends, and the data files that are listed."""
    fields: dict[str, str] = {}
    while "ElementDataFile" not in fields:
        line = file.readline(_LONGEST_LINE)
        text = line.decode("utf-8", "surrogateescape")
        name, mark, value = text.partition("=")
        if not mark and (not line.strip(b"\r\n\0 ") and line):
            continue
        if not mark or file.tell() > _LONGEST or not line.endswith(b"\n"):
            raise InputError(
                f"{path}: cannot be read (its content is of another kind than its name, or its "
                "header is damaged); export it again"
            )
        fields[name.strip()] = value.strip()
    fields[""] = str(file.tell())
    listed: list[str] = []
    if fields["ElementDataFile"].upper().startswith("LIST"):
        rest = file.read(_LONGEST).decode("utf-8", "surrogateescape")
        listed = [line.strip() for line in rest.splitlines() if line.strip()]
    return fields, listed


def _stored(path: Path, fields: dict[str, str], listed: list[str]) -> StoredVoxels:
    dimensions = int(fields["NDims"])
    if not 1 <= dimensions <= 5:
        raise InputError(f"{path}: its header tells of {dimensions} axes; export it again")
    size = tuple(int(n) for n in fields["DimSize"].split())
    check_size(path, size)
    channels = int(fields.get("ElementNumberOfChannels", 1))
    if len(size) != dimensions or not 1 <= channels <= 65536:
        raise ValueError
    _check_place(path, fields, dimensions)
    kind = fields["ElementType"].removeprefix("MET_").removesuffix("_ARRAY")
    if kind not in _BYTES:
        raise InputError(f"{path}: its type {kind!r} is not read; save it another way")
    text = _is_true(fields, "BinaryData", "True") is False
    packed = _is_true(fields, "CompressedData", "False")
    packing = "zlib" if packed else "text" if text else ""
    length = math.prod(size) * channels * (1 if text else _BYTES[kind])
    files = _files(path, fields["ElementDataFile"], listed, size)
    skipped = int(fields.get("HeaderSize", 0))
    start = skipped if skipped > 0 else int(fields[""]) if files == (path,) else 0
    # Packed voxels whose length is not told are read past their end.
    length_packed = int(fields["CompressedDataSize"]) if packed else 1
    if skipped < -1 or length_packed <= 0:
        raise ValueError
    if packed and length_packed > _there(files):
        raise InputError(f"{path}: cut short, voxels are missing at its end; copy it again")
    return StoredVoxels(size, length, files, start, packing)


def _is_true(fields: dict[str, str], name: str, default: str) -> bool:
    return fields.get(name, default)[:1].upper() in ("T", "1")


def _there(files: tuple[Path, ...]) -> int:
    return sum(file.stat().st_size for file in files if file.is_file())


def _files(path: Path, named: str, listed: list[str], size: tuple[int, ...]) -> tuple[Path, ...]:
    if named.upper() == "LOCAL":
        return (path,)
    if listed:
        return tuple(data_file(path, name) for name in listed)
    if "%" in named:
        pattern, *numbers = named.split()
        first, last, step = (int(n) for n in (*numbers, *("1", str(size[-1]), "1")[len(numbers):]))
        return numbered_files(path, pattern, range(first, last + 1, step))
    return (data_file(path, named),)


def _check_place(path: Path, fields: dict[str, str], dimensions: int) -> None:
    for names, count, what in (
        (_MATRICES, dimensions**2, "matrix"), (_POINTS, dimensions, "place")
    ):  # fmt: skip
        for name in names:
            values = [float(x) for x in fields.get(name, "").split()]
            if values and len(values) != count:
                raise ValueError
            check_numbers(path, values, what)
    for name in _STEPS:
        values = [float(x) for x in fields.get(name, "").split()]
        if values and len(values) != dimensions:
            raise ValueError
        check_steps(path, values)
