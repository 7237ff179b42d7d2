"""What the header of a support file must be: types and ranges of every entry, and that the entries
fit together. Files travel between people, so nothing in one is taken on trust."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from .overview import SIDE, SLICES
from .slicing import AXES
from .volume import MODALITIES

Check = Callable[[Any, str], None]

_LARGEST = 1e300  # of any number
_MOST_SLICES = 1 << 20
_MOST_LABEL = 65535
_LONGEST_TEXT = 1 << 14
_LONGEST_OVERVIEW = 2 * SIDE * SIDE * SLICES  # letters; its pixels unpack to half of that at most
_VOXELS = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32",
           "float64")  # fmt: skip


def parse_header(text: str) -> dict[str, Any]:
    """The header as JSON.

    Raises:
        ValueError: it is none, or nested too deeply.
    """
    try:
        header = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(header, dict):
        raise ValueError("it is no JSON object")
    whole(1, 2**31)(header.get("version"), "version")
    return header


def check_header(header: Mapping[str, Any]) -> None:
    """Refuse entries that are missing, of another type or out of range.

    Raises:
        ValueError: names the first that is wrong.
    """
    _HEADER(header, "")
    drawn, slices = header["drawn"], header["slices"]
    if slices != sorted(set(slices)) or slices[-1] >= header["count"]:
        raise ValueError("its slices do not rise within the volume")
    if set(slices) != {index for indices in drawn.values() for index in indices}:
        raise ValueError("its slices and what is drawn on them do not fit together")
    if not set(drawn) <= set(header["labels"]["segments"]):
        raise ValueError("its labels have no names")
    if not header["intensity"]["low"] < header["intensity"]["high"]:
        raise ValueError("its intensity range is empty")
    standard = header.get("standard")
    if standard and not standard["low"] <= standard["high"]:
        raise ValueError("its standard range is empty")


def number(low: float = -_LARGEST, high: float = _LARGEST) -> Check:
    """A finite number within bounds, both included."""

    def check(value: Any, where: str) -> None:
        good = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not (good and math.isfinite(value) and low <= value <= high):
            raise ValueError(f"{where} is no number from {low:g} to {high:g}")

    return check


def whole(low: int, high: int) -> Check:
    """A whole number within bounds, both included."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"{where} is no whole number from {low} to {high}")

    return check


def text(*choices: str, longest: int = _LONGEST_TEXT) -> Check:
    """Unicode text, one of some choices where there are any."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, str) or len(value) > longest or (choices and value not in choices):
            raise ValueError(f"{where} is no text" + (" that is known" if choices else ""))
        if any("\ud800" <= letter <= "\udfff" for letter in value):
            raise ValueError(f"{where} is no Unicode text")

    return check


def listed(one: Check, fewest: int, most: int) -> Check:
    """A list of so many of one kind."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, (list, tuple)) or not fewest <= len(value) <= most:
            raise ValueError(f"{where} is no list of {fewest} to {most}")
        for part in value:
            one(part, where)

    return check


def labelled(one: Check) -> Check:
    """An object whose names are label values."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, Mapping) or not 0 < len(value) <= _MOST_LABEL:
            raise ValueError(f"{where} is no object of labels")
        for name, part in value.items():
            if not (name.isascii() and name.isdecimal() and str(int(name[:6])) == name
                    and 0 < int(name) <= _MOST_LABEL):  # fmt: skip
                raise ValueError(f"{where} has a label {name[:20]!r}")
            one(part, f"{where} {name}")

    return check


def record(parts: Mapping[str, Check], *, optional: tuple[str, ...] = ()) -> Check:
    """An object with these entries and no others; optional ones may lack or be null."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, Mapping):
            raise ValueError(f"{where or 'it'} is no object")
        for name in value:
            if name not in parts:
                raise ValueError(f"{where} has an unknown entry {name[:40]!r}")
        for name, one in parts.items():
            if name in optional and value.get(name) is None:
                continue
            if name not in value:
                raise ValueError(f"{where} lacks {name}".strip())
            one(value[name], f"{where} {name}".strip())

    return check


_LENGTH = number(1e-9, 1e7)
_INDEX = whole(0, _MOST_SLICES - 1)
_NOTES = listed(text(), 0, 1000)
_SEGMENT = record(
    {"name": text(), "colour": listed(number(0, 1), 3, 3), "terminology": text()}
)
_HEADER = record(
    {
        "version": whole(1, 2**31),
        "axis": text(*AXES),
        "slices": listed(_INDEX, 1, _MOST_SLICES),
        "drawn": labelled(listed(_INDEX, 1, _MOST_SLICES)),
        "count": whole(1, _MOST_SLICES),
        "intensity": record({"low": number(), "high": number(), "source": text()}),
        "field": record(
            {"centre_mm": listed(number(-1e7, 1e7), 2, 2), "side_mm": _LENGTH}
        ),
        "standard": record(
            {"low": number(), "high": number(), "mean": number(), "deviation": number(1e-30)}
        ),
        "overview": record(
            {
                "size": listed(whole(1, max(SIDE, SLICES)), 3, 3),
                "grey": text(longest=_LONGEST_OVERVIEW),
                "shape": listed(whole(1, _MOST_SLICES), 3, 3),
                "spacing": listed(_LENGTH, 3, 3),
            }
        ),
        "image": record(
            {
                "dtype": text(*_VOXELS),
                "spacing": listed(_LENGTH, 3, 3),
                "origin": listed(number(-1e9, 1e9), 3, 3),
                "direction": listed(listed(number(-1.5, 1.5), 3, 3), 3, 3),
                "modality": text(*MODALITIES),
                "name": text(),
                "notes": _NOTES,
            }
        ),
        "labels": record(
            {
                "dtype": text("uint8", "uint16"),
                "name": text(),
                "notes": _NOTES,
                "segments": labelled(_SEGMENT),
            }
        ),
    },
    optional=("standard", "overview"),
)
