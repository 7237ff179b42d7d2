"""The library's arguments, as its messages name them, and the options of the command line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from ..data.errors import InputError

OPTIONS = {
    "series": "--series",
    "component": "--component",
    "form": "--nifti-form",
    "modality": "--modality",
    "window": "--window",
    "axis": "--axis",
    "slices": "--support-slices",
}


def in_options(text: str) -> str:
    """A message of the library's with its arguments ("axis=") as options ("--axis")."""
    return re.sub(rf"\b({'|'.join(OPTIONS)})=", lambda found: OPTIONS[found[1]], text)


@contextmanager
def naming_options() -> Iterator[None]:
    """Errors name options of the command line instead of the library's arguments."""
    try:
        yield
    except InputError as error:
        raise InputError(in_options(str(error))) from None
