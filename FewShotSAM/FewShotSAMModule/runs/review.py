"""Looking through a result: which slices are in doubt, and what a person decided about them.

Plain data without Qt and without the scene. Slices are counted along the volume's own axis from 0,
as in the library's results.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

ACCEPTED, REJECTED, UNDECIDED = "accepted", "rejected", ""
# The library's source of what a person marked.
DRAWN = "support"

# Below this score a slice is worth a look. On generated abdomens slices of a Dice above 0.9 score
# 0.8 to 0.95, and where the structure is lost the score falls through 0.7.
DOUBTFUL_BELOW = 0.8


@dataclass(frozen=True)
class Judged:
    """What the library says of one structure in one slice; see its `SliceResult`."""

    index: int
    label: int
    score: float
    present: bool
    source: str
    area_mm2: float = 0.0


@dataclass(frozen=True)
class Cell:
    """One cell of the strip: some neighbouring slices.

    Attributes:
        first, last: its slices, both included.
        target: where a click goes, the least certain of them.
        kind: "empty", "drawn", "sure", "doubtful", "accepted" or "rejected", of the target.
        score: the target's, or None where no structure was found.
        text: what a tooltip says.
    """

    first: int
    last: int
    target: int
    kind: str
    score: float | None
    text: str


class Review:
    """A result under review.

    Args:
        entries: one per slice and structure.
        names: label -> name.
        array_axis: axis of the volume's array (k, j, i = 0, 1, 2) that the slices lie along.
        doubtful_below: scores below it are in doubt.
    """

    def __init__(
        self,
        entries: Iterable[Judged],
        names: Mapping[int, str],
        array_axis: int,
        doubtful_below: float = DOUBTFUL_BELOW,
    ) -> None:
        self.names = dict(names)
        self.array_axis = array_axis
        self.doubtful_below = doubtful_below
        self._by_slice: dict[int, dict[int, Judged]] = {}
        self._decisions: dict[int, str] = {}
        self.update(entries)

    @classmethod
    def of(
        cls,
        results: Iterable[Any],
        names: Mapping[int, str],
        array_axis: int,
        doubtful_below: float = DOUBTFUL_BELOW,
    ) -> Review:
        """From the library's `SliceResult` objects."""
        return cls(judged(results), names, array_axis, doubtful_below)

    def update(self, entries: Iterable[Judged]) -> None:
        """Takes newer entries, of one slice that was segmented again; they are undecided."""
        for entry in entries:
            self._by_slice.setdefault(entry.index, {})[entry.label] = entry
            self._decisions.pop(entry.index, None)

    @property
    def slices(self) -> tuple[int, ...]:
        """All slices that were worked on, rising."""
        return tuple(sorted(self._by_slice))

    @property
    def doubtful(self) -> tuple[int, ...]:
        """Slices in doubt about which nothing was decided, rising."""
        return tuple(index for index in self.slices if self.is_doubtful(index))

    def entries(self, index: int) -> tuple[Judged, ...]:
        """What is known of a slice, by label."""
        return tuple(entry for _, entry in sorted(self._by_slice.get(index, {}).items()))

    def score(self, index: int) -> float | None:
        """The lowest score of the structures found in a slice; None where there are none."""
        return min((e.score for e in self.entries(index) if e.present), default=None)

    def is_doubtful(self, index: int) -> bool:
        """Whether a slice is worth a look: undecided, and a structure in it scores low or is
        missing there though the slices before and behind show it."""
        if self.decision(index) != UNDECIDED:
            return False
        return any(
            entry.score < self.doubtful_below if entry.present else self._is_gap(entry)
            for entry in self.entries(index)
            if entry.source != DRAWN
        )

    def decision(self, index: int) -> str:
        """`ACCEPTED`, `REJECTED` or `UNDECIDED`."""
        return self._decisions.get(index, UNDECIDED)

    def decide(self, index: int, decision: str) -> None:
        """Keeps what a person decided about a slice.

        Raises:
            ValueError: there is no such slice or no such decision.
        """
        if decision not in (ACCEPTED, REJECTED, UNDECIDED):
            raise ValueError(f"{decision!r} is no decision")
        if index not in self._by_slice:
            raise ValueError(f"slice {index} was not worked on")
        self._decisions.pop(index, None)
        if decision:
            self._decisions[index] = decision

    def next_doubtful(self, current: int | None, step: int = 1) -> int | None:
        """The doubtful slice behind (step 1) or before (step -1) a slice, around the ends; None
        when no slice is in doubt. Without a current slice: the least certain of all."""
        doubtful = self.doubtful
        if not doubtful:
            return None
        if current is None:
            return min(doubtful, key=self._certainty)
        if step > 0:
            return next((index for index in doubtful if index > current), doubtful[0])
        return next((index for index in reversed(doubtful) if index < current), doubtful[-1])

    @property
    def next_to_mark(self) -> int | None:
        """The slice whose marking promises most; None where nothing was found."""
        from FewShotSAMLib.segmentation.next_mark import next_to_mark

        entries = [entry for index in self.slices for entry in self.entries(index)]
        return next_to_mark(entries)

    def text(self, index: int) -> str:
        """What is known of a slice in one line."""
        entries = self.entries(index)
        if not entries:
            return f"Slice {index}: was not worked on."
        found = [f"{self._name(e)} {_judgement(e)}" for e in entries if e.present]
        gaps = [f"{self._name(e)} missing" for e in entries if not e.present and self._is_gap(e)]
        said = ", ".join(found + gaps) or "nothing found"
        decision = self.decision(index)
        ending = decision or ("in doubt" if self.is_doubtful(index) else "")
        return f"Slice {index}: {said}{f' ({ending})' if ending else ''}"

    def strip(self, most_cells: int = 100) -> tuple[Cell, ...]:
        """The slices as at most ``most_cells`` cells in their order; each cell shows the least
        certain of its slices, so that no doubt hides."""
        slices = self.slices
        if not slices:
            return ()
        cells = min(most_cells, len(slices))
        edges = [round(n * len(slices) / cells) for n in range(cells + 1)]
        return tuple(
            self._cell(slices[start:end])
            for start, end in zip(edges[:-1], edges[1:], strict=True)
        )

    def cell_of(self, index: int, most_cells: int = 100) -> int | None:
        """Number of the strip's cell that holds a slice, or None."""
        for number, cell in enumerate(self.strip(most_cells)):
            if cell.first <= index <= cell.last:
                return number
        return None

    def to_json(self) -> str:
        """Everything but pictures, to be kept in the scene."""
        return json.dumps(
            {
                "version": 1,
                "array_axis": self.array_axis,
                "doubtful_below": self.doubtful_below,
                "names": {str(label): name for label, name in self.names.items()},
                "slices": [
                    [e.index, e.label, round(float(e.score), 4), bool(e.present), e.source,
                     round(float(e.area_mm2), 2)]
                    for index in self.slices
                    for e in self.entries(index)
                ],
                "decisions": {str(index): said for index, said in self._decisions.items()},
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Review:
        """The inverse of `to_json`.

        Raises:
            ValueError: the text is not from `to_json`.
        """
        try:
            content = json.loads(text)
            review = cls(
                (Judged(*entry) for entry in content["slices"]),
                {int(label): name for label, name in content["names"].items()},
                int(content["array_axis"]),
                float(content["doubtful_below"]),
            )
            for index, decision in content["decisions"].items():
                review.decide(int(index), decision)
        except (KeyError, TypeError, AttributeError) as problem:
            raise ValueError(f"not a review: {problem}") from None
        return review

    def _cell(self, slices: tuple[int, ...]) -> Cell:
        target = min(slices, key=self._certainty)
        span = "" if len(slices) == 1 else f"Slices {slices[0]} to {slices[-1]}. "
        return Cell(
            slices[0], slices[-1], target, self._kind(target), self.score(target),
            span + self.text(target),
        )  # fmt: skip

    def _kind(self, index: int) -> str:
        if self.decision(index):
            return self.decision(index)
        if self.is_doubtful(index):
            return "doubtful"
        present = [entry for entry in self.entries(index) if entry.present]
        if not present:
            return "empty"
        return "drawn" if all(entry.source == DRAWN for entry in present) else "sure"

    def _certainty(self, index: int) -> tuple[int, float]:
        """Rises from what to look at first to what needs no look: doubtful, found, empty."""
        score = self.score(index)
        if self.is_doubtful(index):
            return 0, -1.0 if score is None else score
        return (2, 0.0) if score is None else (1, score)

    def _is_gap(self, entry: Judged) -> bool:
        """Whether a structure is missing in a slice between two that show it."""
        before = self._by_slice.get(entry.index - 1, {}).get(entry.label)
        behind = self._by_slice.get(entry.index + 1, {}).get(entry.label)
        return bool(before and behind and before.present and behind.present)

    def _name(self, entry: Judged) -> str:
        return self.names.get(entry.label, f"label {entry.label}")


def judged(results: Iterable[Any]) -> list[Judged]:
    """The library's `SliceResult` objects as plain values."""
    return [
        Judged(
            int(r.index), int(r.label), float(r.score), bool(r.present), str(r.source),
            float(r.area_mm2),
        )
        for r in results
    ]


def _judgement(entry: Judged) -> str:
    return "as drawn" if entry.source == DRAWN else f"{entry.score:.2f}"
