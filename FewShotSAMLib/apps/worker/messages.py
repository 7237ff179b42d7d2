"""Messages between two processes: a line of JSON and the bytes of arrays, over a pipe.

A message is four bytes, the length of its header (big endian); the header, JSON in UTF-8, whose
entry "arrays" tells name, type and shape of each array; and the arrays' bytes, one after the other,
in C order. Nothing that is received is ever run.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np

_LENGTH = struct.Struct(">I")
_LONGEST_HEADER = 64 << 20  # bytes; what claims more is no header
_KINDS = "biuf"


@dataclass(frozen=True, eq=False)
class Message:
    """What to do or what happened, with the arrays that belong to it."""

    header: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)


def write_message(stream: BinaryIO, message: Message) -> None:
    """Sends a message, whole.

    Raises:
        OSError: nobody reads any more.
        TypeError, ValueError: something in it is neither JSON nor an array of numbers; then nothing
            was sent.
    """
    write_parts(stream, packed(message))


def packed(message: Message) -> list[bytes | memoryview]:
    """A message ready to be sent: its parts, one behind the other. Arrays are not copied where
    they are in C order.

    Raises:
        TypeError, ValueError: as `write_message`.
    """
    arrays = {name: np.asarray(a, order="C") for name, a in message.arrays.items()}
    for name, array in arrays.items():
        if array.dtype.kind not in _KINDS:
            raise TypeError(f"array {name!r} of type {array.dtype} cannot be sent")
    table = [[name, a.dtype.str, a.shape] for name, a in arrays.items()]
    header = json.dumps({**message.header, "arrays": table}, default=_plain).encode("utf-8")
    content = [a for a in arrays.values() if a.size]
    return [
        _LENGTH.pack(len(header)) + header,
        *(memoryview(array.reshape(-1).view(np.uint8)) for array in content),
    ]


def write_parts(stream: BinaryIO, parts: Sequence[bytes | memoryview]) -> None:
    """Sends what `packed` has made.

    Raises:
        OSError: nobody reads any more.
    """
    for part in parts:
        stream.write(part)
    stream.flush()


def read_message(stream: BinaryIO) -> Message | None:
    """Waits for the next message; None at the end of the stream.

    Raises:
        EOFError: the stream ended within a message.
        ValueError: what came is no message.
    """
    start = stream.read(_LENGTH.size)
    if not start:
        return None
    if len(start) < _LENGTH.size:
        raise EOFError("the stream ended within a message")
    header = _read_header(stream, start)
    arrays = {}
    for name, code, shape in _table(header.pop("arrays")):
        arrays[name] = _read_array(stream, name, code, shape)
    return Message(header, arrays)


def _table(listed: object) -> list[tuple[str, np.dtype, list[int]]]:
    """Name, type and shape of each array that a header tells of.

    Raises:
        ValueError: it tells of something else.
    """
    try:
        table = [(name, np.dtype(str(code)), list(shape)) for name, code, shape in listed]
    except (TypeError, ValueError):
        raise ValueError("what came is no message: its arrays are not described") from None
    for name, _, shape in table:
        if not isinstance(name, str) or not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError("what came is no message: an array has no name or no shape")
    return table


def _read_header(stream: BinaryIO, start: bytes) -> dict[str, Any]:
    (length,) = _LENGTH.unpack(start)
    if length > _LONGEST_HEADER:
        raise ValueError(f"what came is no message: it starts with {start!r}")
    text = bytearray(length)
    _fill(stream, memoryview(text))
    try:
        header = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as problem:
        raise ValueError(f"what came is no message: its header is no JSON ({problem})") from None
    if not isinstance(header, dict) or "arrays" not in header:
        raise ValueError("what came is no message: its header names no arrays")
    return header


def _read_array(
    stream: BinaryIO, name: str, dtype: np.dtype, shape: Sequence[int]
) -> np.ndarray:
    if dtype.kind not in _KINDS:
        raise ValueError(f"array {name!r} of type {dtype} is not taken")
    try:
        array = np.empty(math.prod(shape), dtype)
    except (MemoryError, ValueError, OverflowError):
        raise ValueError(f"array {name!r} of {shape} is too large") from None
    if array.size:
        _fill(stream, memoryview(array.view(np.uint8)))
    return array.reshape(shape)


def _plain(value: Any) -> Any:
    """A number of numpy's as Python's own."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be sent")


def _fill(stream: BinaryIO, room: memoryview) -> None:
    """Reads exactly as many bytes as there is room for."""
    done = 0
    while done < len(room):
        count = stream.readinto(room[done:])
        if not count:
            raise EOFError("the stream ended within a message")
        done += count
