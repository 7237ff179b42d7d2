"""What a measurement comes to: the tables of each part and of the whole, as text and as JSON."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from ..evaluation.every_support import overall
from ..evaluation.folds import over_folds
from ..evaluation.protocol import Score
from ..evaluation.tables import build_table, side_by_side
from ..models.card import ModelCard
from .support_cases import EACH, Part


class Outcome:
    """The tables of one support case; of the folds, or of every patient as the support, side by
    side, and of the latter what they come to over all.

    Attributes:
        tables: of each part, one for each measure.
        whole: one for each measure.
        overall: of every patient as the support, else None.
    """

    def __init__(self, args: argparse.Namespace, measured: Mapping[Part, Sequence[Score]]) -> None:
        distances = ["whole", "nsd", "assd", "hd95"] if args.protocol == "whole-volume" else []
        self._args, self.parts = args, list(measured)
        self.tables = [
            [build_table(scores, measure) for measure in ("given", *distances)]
            for scores in measured.values()
        ]
        self.whole, self.overall = self.tables[0], None
        if args.folds:
            self.whole = [over_folds(tables) for tables in zip(*self.tables)]
        elif args.support_case == EACH:
            names = [f"from {part.support}" for part in self.parts]
            self.whole = [side_by_side(tables, names) for tables in zip(*self.tables)]
            every = [one for scores in measured.values() for one in scores]
            self.overall = overall(every, "whole" if distances else "given")

    def __str__(self) -> str:
        said = [str(self.overall)] if self.overall else []
        return "\n\n".join([*(table.to_markdown() for table in self.whole), *said])

    def to_json(self, card: ModelCard) -> dict[str, Any]:
        """Plain data. card: of the promptable model."""
        args, several = self._args, {}
        if args.folds:
            several = {"folds": self._each()}
        elif self.overall:
            several = {"overall": self.overall.to_json(), "supports": self._each()}
        return {
            "dataset": args.dataset,
            "preset": args.preset,
            "protocol": args.protocol,
            "support_case": None if args.folds else args.support_case or self.parts[0].support,
            "method": args.method,
            "strategy": args.strategy,
            "model": {"name": card.name, "sha256": card.sha256},
            "tables": [table.to_json() for table in self.whole],
            **several,
        }

    def _each(self) -> list[dict[str, Any]]:
        return [
            {"support_case": part.support, "tables": [table.to_json() for table in tables]}
            for part, tables in zip(self.parts, self.tables, strict=True)
        ]
