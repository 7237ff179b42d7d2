"""A trained FoB as a file of weights, and beside it what it was made from."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from pathlib import Path

import torch

from ..models.fob import save_fob
from .fob import FobTraining
from .trained_file import write_trained

_ERRORS = ("distance", "negatives_inside", "positives_inside")


def export_trained(
    run: FobTraining,
    path: Path,
    row: Mapping[str, float],
    known: Mapping[str, object],
    *,
    error: str = "held_out_error",
) -> None:
    """Writes `path` (.safetensors) and its provenance (.json), as `write_trained` does.

    Args:
        row: the last row of the log, with the held-out error.
        known: what else is to be recorded: data, command, licence.
        error: the name that the error is recorded under.
    """
    error_there = {name: round(row[name], 4) for name in _ERRORS if name in row}
    provenance = dict(known) | _provenance(run) | {error: error_there}
    if run.backbone is not None:
        provenance["backbone_sha256"] = run.backbone.card.sha256
    said = {name: str(provenance[name]) for name in ("backbone_sha256", "licence")
            if name in provenance}
    said["provenance"] = json.dumps(provenance)
    write_trained(path, lambda file: save_fob(run.network, file, said), provenance)


def _provenance(run: FobTraining) -> dict[str, object]:
    return {
        "refinement": run.network.config.refinement,
        "framing": run.network.config.framing,
        "rows": run.network.config.rows,
        "seed": run.seed,
        "steps": run.step,
        "hours": round(run.seconds / 3600, 3),
        "hardware": _hardware(run),
        "torch": torch.__version__,
        "precision": str(run.dtype).removeprefix("torch."),
    }


def _hardware(run: FobTraining) -> str:
    if run.device.type == "cuda":
        return torch.cuda.get_device_name(run.device)
    return f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"
