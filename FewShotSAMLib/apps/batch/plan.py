"""What every process that works on a batch has to know; it travels to other machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...data.support import Support
from .fingerprint import run_key, support_hash, weights_hashes
from .records import Records
from .settings import BatchSettings


@dataclass(frozen=True)
class Plan:
    """A batch without its studies.

    Attributes:
        folder: where outputs and records go.
        settings: how studies are segmented.
        supports: files of the batch's supports, kept in its folder.
        run: hash of settings, supports and weights: what all results have in common.
        weights: names and SHA-256.
    """

    folder: Path
    settings: BatchSettings
    supports: tuple[Path, ...]
    run: str
    weights: tuple[tuple[str, str], ...]

    @property
    def records(self) -> Records:
        """What is kept in the folder of what was done."""
        return Records(self.folder)


def make_plan(folder: Path, settings: BatchSettings, supports: Sequence[Support]) -> Plan:
    """The plan of a batch; nothing is written yet.

    Raises:
        InputError: weights are missing.
    """
    weights = weights_hashes(settings)
    kept = folder / "records" / "supports"
    paths = tuple(kept / f"{support_hash(one)[:16]}.nrrd" for one in supports)
    run = run_key(settings, supports, weights)
    return Plan(folder, settings, paths, run, tuple(weights.items()))


def keep_supports(plan: Plan, supports: Sequence[Support]) -> Plan:
    """Write the batch's supports beside its records, so that the folder tells what it was made
    from and other machines find them. Returns the plan with absolute paths."""
    for path, support in zip(plan.supports, supports, strict=True):
        if not path.exists():
            support.save(path)
    absolute = tuple(path.resolve() for path in plan.supports)
    return replace(plan, folder=plan.folder.resolve(), supports=absolute)
