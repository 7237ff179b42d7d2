"""The lists of a batch: every study and structure with its numbers, what needs a look first."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

from ..outputs import json_text, write_text
from ..report.review_need import DOUBTFUL, FOUND, NOT_FOUND
from .records import FAILED, Records

CSV, JSON = "manifest.csv", "manifest.json"
COLUMNS = (
    "study", "status", "error", "not_sent", "structure", "label", "state", "confidence",
    "volume_ml", "voxels", "slices", "look_at", "source", "series", "input_sha256",
    "segmentation", "method", "strategy", "model", "weights", "device", "seconds", "finished",
    "FewShotSAM", "PyTorch",
)  # fmt: skip
_UNLISTED = ("format", "traceback", "picture")
_URGENCY = {NOT_FOUND: 1, DOUBTFUL: 2, FOUND: 3}


def write_manifest(records: Records) -> None:
    """Writes manifest.csv, a row for each structure of each study, and manifest.json, everything
    that is recorded. Studies that need a person's look come first: failed ones, then those whose
    least sure structure is least sure; a study's structures stay together.

    Raises:
        InputError: they cannot be written.
    """
    studies = by_need(records.all())
    write_text(records.folder / JSON, json_text([_public(one) for one in studies]))
    rows = [row for one in studies for row in _rows(one)]
    columns = [*COLUMNS, *sorted({key for row in rows for key in row} - set(COLUMNS))]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    # With a mark at the beginning spreadsheets know that it is UTF-8.
    write_text(records.folder / CSV, "\ufeff" + text.getvalue())


def by_need(records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Records in the order in which a person should look at their studies."""
    return sorted(records, key=lambda one: (study_need(one), one["study"]))


def study_need(record: Mapping[str, Any]) -> tuple[int, float]:
    """Sorts records: what needs a look before what does not."""
    if record["status"] == FAILED:
        return 0, 0.0
    return min((structure_need(one) for one in record["structures"]), default=(1, 0.0))


def structure_need(structure: Mapping[str, Any]) -> tuple[int, float]:
    """Sorts the structures of a record likewise."""
    confidence = structure["confidence"]
    return _URGENCY[structure["state"]], 0.0 if confidence is None else confidence


def _public(record: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in _UNLISTED}


def _rows(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    common = {
        **{key: record.get(key, "") for key in COLUMNS},
        **{key: record["settings"][key] for key in ("method", "strategy", "model")},
        **{key: record["versions"][key] for key in ("FewShotSAM", "PyTorch")},
        "weights": " ".join(f"{name}:{sha}" for name, sha in record["weights"].items()),
        "segmentation": next((o["file"] for o in record.get("outputs", {}).values()), ""),
    }
    if record["status"] == FAILED:
        return [common]
    structures = sorted(record["structures"], key=structure_need)
    return [{**common, **_structure(one)} for one in structures] or [common]


def _structure(one: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: one[key] for key in ("label", "state", "volume_ml", "voxels", "slices")}
    confidence = one["confidence"]
    return {
        **kept,
        "structure": one["name"],
        "confidence": "" if confidence is None else f"{confidence:.3f}",
        "look_at": " ".join(map(str, one["look_at"])),
        **one.get("statistics", {}),
    }
