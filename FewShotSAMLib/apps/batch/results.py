"""What becomes of each study of a batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...segmentation.results import VolumeResult
from .records import FAILED

EARLIER = "earlier"


@dataclass(frozen=True, eq=False)
class StudyResult:
    """One study of a batch.

    Attributes:
        name: of its outputs, without extension.
        status: "done", "failed", or "earlier" where an earlier start had done it.
        record: what is kept of it: structures, outputs, hashes, versions, seconds; where it
            failed "error" says why.
        outputs: extension -> file.
        result: the segmentation, where this process made it.
        not_sent: why a server that was to have it has it not; "" where it has, or none was named.
    """

    name: str
    status: str
    record: Mapping[str, Any]
    outputs: Mapping[str, Path]
    result: VolumeResult | None = None
    not_sent: str = ""

    @property
    def error(self) -> str:
        """One line, "" where it did not fail."""
        return self.record.get("error", "")

    @classmethod
    def of(
        cls,
        record: Mapping[str, Any],
        folder: Path,
        result: VolumeResult | None = None,
        earlier: bool = False,
    ) -> StudyResult:
        """From a record in a batch's folder."""
        outputs = {k: folder / one["file"] for k, one in record.get("outputs", {}).items()}
        status = EARLIER if earlier and record["status"] != FAILED else record["status"]
        return cls(record["study"], status, record, outputs, result)
