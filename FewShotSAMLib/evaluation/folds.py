"""The papers' five folds: who is support and who is query in each.

Neighbouring test folds share a case (20 MR cases: 0-4, 4-8, 8-12, 12-16, 16-19 and 0; 30 CT cases:
0-6, 6-12, and so on): the split that Ouyang et al. began with and all that followed kept. The
support is the third case of a fold, in the order of their numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .tables import Table, side_by_side

FOLDS = 5
PAPERS_SUPPORT_CASE = 2  # "the third case of the test fold"
FEWEST = 2 * FOLDS  # cases, so that every fold has three


@dataclass(frozen=True)
class Fold:
    """One test fold of cases that are counted from 0.

    Attributes:
        number: from 0.
        support: whose slices are marked.
        queries: who is segmented.
    """

    number: int
    support: int
    queries: tuple[int, ...]


def papers_folds(count: int) -> list[Fold]:
    """The folds of `count` cases; where it cannot be divided by five, borders are rounded down.

    Raises:
        ValueError: fewer cases than every fold needs.
    """
    if count < FEWEST:
        raise ValueError(f"five folds need at least {FEWEST} cases, not {count}")
    borders = [count * number // FOLDS for number in range(FOLDS + 1)]
    folds = []
    for number, (first, last) in enumerate(zip(borders, borders[1:], strict=False)):
        cases = sorted(index % count for index in range(first, last + 1))
        support = cases.pop(PAPERS_SUPPORT_CASE)
        folds.append(Fold(number, support, tuple(cases)))
    return folds


def over_folds(tables: Sequence[Table]) -> Table:
    """The organs' means of each fold as columns, and their means: what the papers print."""
    return side_by_side(tables, [f"fold {number}" for number in range(len(tables))])
