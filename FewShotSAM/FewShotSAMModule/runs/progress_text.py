"""How far a run has come, in words: slices left and time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

# A guess from less than this is shown to nobody: it jumps.
_SHORTEST_S = 1.0

# The library's stages in a person's words, and whether their steps are slices.
_STAGES = {
    "load": ("Loading the networks", False),
    "size": ("Trying how large the structures are", True),
    "find": ("Looking where the structures lie", True),
    "look": ("Looking for the structures", True),
    "slices": ("Segmenting", True),
    "propagate": ("Following the structures", True),
    "again": ("Following doubtful ones from elsewhere", True),
    "return": ("Following them back", True),
    "memory": ("Following the structures", True),
}


class Pace:
    """Guesses the time that is left from the steps of the stage at hand.

    Args:
        clock: seconds, rising; for tests.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._stage = ""
        self._began = self._first = 0.0
        self._first_done = 0
        self._left: float | None = None
        self._started = clock()

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return self._clock() - self._started

    def seen(self, stage: str, done: int, total: int) -> float | None:
        """Seconds left in the stage after this step, or None while nobody can tell."""
        now = self._clock()
        if stage != self._stage:
            self._stage, self._first, self._first_done, self._left = stage, now, done, None
        steps, spent = done - self._first_done, now - self._first
        if steps > 0 and spent >= _SHORTEST_S:
            self._left = max(total - done, 0) * spent / steps
        return self._left


def progress_line(
    stage: str, done: int, total: int, left_s: float | None, message: str = ""
) -> str:
    """One line for a person: the stage, its steps left, and the time left where it is known.

    Args:
        stage: the library's name of the stage.
        done, total: steps; total 0 or 1 where there is nothing to count.
        left_s: seconds left in the stage, or None.
        message: the library's own line, which takes the stage's place.
    """
    known, counts_slices = _STAGES.get(stage, (stage[:1].upper() + stage[1:], False))
    line = message.strip() or known
    if total > 1:
        left = max(total - done, 0)
        slices = f" slice{'s' if left != 1 else ''}" if counts_slices else ""
        line += f": {done} of {total} done, {left}{slices} left"
    if left_s is not None:
        line += f", {duration(left_s)} to go"
    return line


def duration(seconds: float) -> str:
    """ "3 s", "2 min 5 s", "1 h 4 min": as long as a person needs to read it."""
    whole = max(int(round(seconds)), 0)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 10:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def done_line(
    names: dict[int, str] | None, seconds: float, device: str, doubtful: int
) -> str:
    """What a finished run says.

    Args:
        names: label -> name of what was found; None or empty where nothing was.
        seconds: the run took.
        device: where it ran.
        doubtful: slices to look at first.
    """
    if not names:
        return (
            f"Nothing was found in {duration(seconds)} on {device}: mark another slice, or widen "
            "the range."
        )
    line = f"Done: {', '.join(names.values())}, in {duration(seconds)} on {device}."
    if doubtful:
        line += f" Look at {doubtful} doubtful slice{'s' if doubtful != 1 else ''} below."
    return line


def doubts_line(structures: Iterable[Any]) -> str:
    """What comes before everything else that a run says: which structures were not found, and which
    may be wrong as a whole; empty where there are none.

    Args:
        structures: the library's `StructureResult` objects.
    """
    of_state: dict[str, list[str]] = {"not found": [], "doubtful": []}
    for one in structures:
        if one.state == "doubtful":
            of_state["doubtful"].append(f"{one.name} (estimated Dice {one.confidence:.2f})")
        elif one.state == "not found":
            of_state["not found"].append(one.name)
    lines = []
    if names := of_state["not found"]:
        lines.append(
            f"NOT FOUND, left empty: {', '.join(names)}; mark a slice here if it is in the image."
        )
    if names := of_state["doubtful"]:
        lines.append(f"DOUBTFUL, check it or mark a slice here: {', '.join(names)}.")
    return " ".join(lines)
