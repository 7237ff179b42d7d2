"""Numbers that the trainings' command lines take."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable


def positive(kind: type[int] | type[float]) -> Callable[[str], float]:
    """Reads an option's number, which must be above 0 and finite."""

    def number(text: str) -> float:
        value = kind(text)
        if not 0 < value < math.inf:
            raise argparse.ArgumentTypeError(f"{text}: must be above 0")
        return value

    number.__name__ = "number"  # what argparse calls it where it is none
    return number
