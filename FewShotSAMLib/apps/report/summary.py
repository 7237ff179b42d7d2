"""What a result says in numbers."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from ...segmentation.next_mark import next_to_mark
from ...segmentation.results import DOUBTFUL, FOUND, NOT_FOUND, SliceResult, VolumeResult
from ..option_names import in_options
from .review_need import review_need


def label_volumes(result: VolumeResult) -> list[dict[str, Any]]:
    """Of each label its value, name, voxels, volume in ml, the slices it was found on, the mean of
    their scores (NaN where there are none), how sure it is as a whole, which slices want a
    person's look, and which one is best marked next (None where there is none)."""
    labels = result.labels
    counts = np.bincount(labels.voxels.ravel(), minlength=max(result.names, default=0) + 1)
    millilitres = float(np.prod(labels.spacing)) / 1000.0
    rows = []
    for label, name in sorted(result.names.items()):
        need = review_need(result, label)
        scores = [s.score for s in result.slices if s.label == label and s.present]
        rows.append(
            {
                "label": label,
                "name": name,
                "voxels": int(counts[label]),
                "volume_ml": round(int(counts[label]) * millilitres, 3),
                "slices": len(scores),
                "mean_score": float(np.mean(scores)) if scores else float("nan"),
                "confidence": need.confidence,
                "state": need.state,
                "look_at": list(need.look_at),
                "mark_next": next_to_mark(result.slices, label),
            }
        )
    return rows


def summary(result: VolumeResult) -> dict[str, Any]:
    """Everything but the voxels and the points, as plain values for JSON."""
    return {
        "labels": label_volumes(result),
        "slices": [_plain(one) for one in result.slices],
        "mark_next": next_to_mark(result.slices),
        "axis": result.axis,
        "method": result.method,
        "strategy": result.strategy,
        "model": asdict(result.model),
        "features": asdict(result.features) if result.features else None,
        "fob": asdict(result.fob) if result.fob else None,
        "device": result.device,
        "notes": [in_options(note) for note in result.notes],
        "seconds": {stage: round(float(t), 3) for stage, t in result.seconds.items()},
    }


def doubts(result: VolumeResult) -> list[str]:
    """A line for each structure that was not found or is doubtful, the worst first."""
    unsure = [one for one in result.structures if one.state != FOUND]
    return [
        f"{one.name}: {_DOUBTS[one.state]} (estimated Dice {one.confidence:.2f})"
        for one in sorted(unsure, key=lambda one: one.confidence)
    ]


_DOUBTS = {
    DOUBTFUL: "DOUBTFUL, check it or mark one of its slices here",
    NOT_FOUND: "NOT FOUND, left empty; mark one of its slices here if it is there",
}


def _plain(found: SliceResult) -> dict[str, Any]:
    return {
        "index": found.index,
        "label": found.label,
        "score": float(found.score),
        "present": bool(found.present),
        "area_mm2": float(found.area_mm2),
        "source": found.source,
    }


def print_summary(result: VolumeResult) -> None:
    """A small table on standard output, what is in doubt first."""
    for line in doubts(result):
        print(line)
    print(f"{'label':>5}  {'name':<20} {'volume':>12} {'slices':>7} {'score':>6}")
    rows = label_volumes(result)
    for row in rows:
        score = f"{row['mean_score']:.2f}" if row["slices"] else "-"
        print(
            f"{row['label']:>5}  {row['name']:<20} {row['volume_ml']:>9.1f} ml "
            f"{row['slices']:>7} {score:>6}"
        )
    doubtful = any(row["look_at"] or row["state"] != FOUND for row in rows)
    if doubtful and (place := next_to_mark(result.slices)) is not None:
        print(f"to make it better, mark {result.axis} slice {place} next")
    seconds = sum(result.seconds.values())
    print(
        f"{result.strategy} with {result.method} and model {result.model.name} "
        f"on {result.device}, {seconds:.1f} s"
    )
