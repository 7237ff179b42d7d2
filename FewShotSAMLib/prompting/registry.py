"""The prompt methods by name. Light: a method's module is imported when it is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from ..data.errors import InputError

if TYPE_CHECKING:
    from .interfaces import MethodBuilder, MethodSettings


@dataclass(frozen=True)
class MethodEntry:
    """One prompt method.

    Attributes:
        module: in `prompting/methods`, with a function `load(MethodSettings) -> MethodBuilder`.
        label: its name in Slicer's list.
        summary: what it does, for the command line's help.
        trained: it reads weights that have to be chosen.
    """

    module: str
    label: str
    summary: str
    trained: bool = False


DEFAULT = "synpo"
METHODS: Mapping[str, MethodEntry] = {
    "synpo": MethodEntry("synpo", "SynPo (needs no training)", "needs no training"),
    "fob": MethodEntry("fob", "FoB (trained background points)",
                       "puts trained points around the structure", trained=True),
    "auto": MethodEntry("fusion", "Both together", "joins both", trained=True),
}


def check_method(name: str, weights: str | None = None) -> None:
    """Whether there is such a method, and weights only for one that reads them.

    Raises:
        InputError: there is not (the known ones are listed), or they would do nothing.
    """
    if name not in METHODS:
        raise InputError(f"method {name!r}: unknown; use one of {', '.join(METHODS)}")
    if weights is not None and not METHODS[name].trained:
        raise InputError(
            f"weights for FoB go with method {' or '.join(trained_methods())}; choose one of them"
        )


def trained_methods() -> tuple[str, ...]:
    """Names of the methods that read weights."""
    return tuple(name for name, entry in METHODS.items() if entry.trained)


def load_method(name: str, settings: MethodSettings) -> MethodBuilder:
    """A method with its networks, to be made ready for the slices of any number of volumes.

    Raises:
        InputError: as `check_method`, or its weights are not usable.
    """
    check_method(name, settings.weights)
    module = import_module(f".methods.{METHODS[name].module}", __package__)
    return module.load(settings)
