"""The page of a whole batch: every study, what needs a look first, with links to their pages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from ...version import __version__
from ..outputs import write_text
from ..report.report import template
from ..report.review_need import DOUBTFUL, FOUND, NOT_FOUND
from .manifest import by_need, structure_need
from .records import FAILED, Records

NAME = "index.html"


def write_index(records: Records) -> None:
    """Writes index.html, one file that asks for nothing else and opens without a network.

    Raises:
        InputError: it cannot be written.
    """
    write_text(records.folder / NAME, index_html(records))


def index_html(records: Records) -> str:
    """The page."""
    recorded = by_need(records.all())
    studies = [_row(record) for record in recorded]
    counts = Counter(one["state"] for one in studies)
    unsent = sum("not_sent" in record for record in recorded)
    states = [state for state in (FAILED, NOT_FOUND, DOUBTFUL, FOUND) if counts[state]]
    return template("index.html").render(
        title=f"{_studies(len(studies))} in {records.folder.resolve().name}",
        facts=f"FewShotSAM {__version__}; what needs a look comes first",
        warnings=_warnings(counts, unsent),
        counts={state: counts[state] for state in states},
        studies=studies,
    )


def _warnings(counts: Counter[str], unsent: int) -> list[dict[str, Any]]:
    said = {
        FAILED: "{} failed; what failed is tried again when the batch is started again.",
        NOT_FOUND: "In {} a structure was not found.",
        DOUBTFUL: "In {} a structure is doubtful.",
    }
    warnings = [
        {"bad": state != DOUBTFUL, "says": text.format(_studies(counts[state]))}
        for state, text in said.items()
        if counts[state]
    ]
    if unsent:
        text = "Not sent: {}; what was not is sent when the batch is started again."
        warnings.append({"bad": False, "says": text.format(_studies(unsent))})
    return warnings


def _studies(number: int) -> str:
    return f"{number} {'study' if number == 1 else 'studies'}"


def _row(record: Mapping[str, Any]) -> dict[str, Any]:
    structures = sorted(record.get("structures", ()), key=structure_need)
    worst = structures[0]["state"] if structures else NOT_FOUND
    return {
        "name": record["study"],
        "state": FAILED if record["status"] == FAILED else worst,
        "error": record.get("error", ""),
        "not_sent": record.get("not_sent", ""),
        "structures": structures,
        "seconds": record["seconds"],
        "picture": record.get("picture", ""),
        "page": record.get("outputs", {}).get(".html", {}).get("file", ""),
    }
