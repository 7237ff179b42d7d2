"""One process's work: networks and supports are loaded once, then study after study is read,
segmented and written."""

from __future__ import annotations

import platform
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ...data.errors import InputError
from ...data.support import Support
from ...data.volume import Volume
from ...segmentation.results import ProgressCallback, VolumeResult
from ...version import __version__
from ..report.summary import label_volumes
from .fingerprint import input_hash, study_key
from .outputs_of_study import check_formats, write_outputs, write_record
from .plan import Plan
from .records import DONE, FAILED
from .statistics import statistics
from .study import Study

if TYPE_CHECKING:
    from pathlib import Path

    from ...segmentation.segmenter import Segmenter


@dataclass(frozen=True, eq=False)
class ReadStudy:
    """A study whose image is in memory.

    Attributes:
        content: hash of its files; key: what its result is to come from.
        record: where it is done already, what was recorded; then there is no volume.
    """

    study: Study
    content: str
    key: str
    volume: Volume | None
    supports: tuple[Support, ...]
    record: dict[str, Any] | None = None


class StudyWorker:
    """Works on studies of one batch.

    Args:
        plan: the batch's.
        tell: called with one sentence when the device or batches change.
        segmenter: already loaded, where there is one.
        supports: the plan's, where they are in memory already.
    """

    def __init__(
        self,
        plan: Plan,
        tell: Callable[[str], None] | None = None,
        segmenter: Segmenter | None = None,
        supports: Sequence[Support] | None = None,
    ) -> None:
        self.plan, self.records, self._tell = plan, plan.records, tell
        if segmenter is not None:
            self.segmenter = segmenter
        self._kept: dict[Path, Support] = dict(zip(plan.supports, supports or ()))

    @cached_property
    def segmenter(self) -> Segmenter:
        """Loaded when it is first needed: a batch that is done already needs none."""
        return self.plan.settings.load_segmenter(self._tell)

    def read(self, study: Study) -> ReadStudy:
        """The study's image and supports; only its record, where it is done already.

        Raises:
            InputError, OSError: they cannot be read, or not written as the settings ask.
        """
        content = input_hash(study.files)
        key = study_key(self.plan.run, study, content)
        record = self.records.read(study.name)
        if self.records.is_done(record, key, self.plan.settings.kinds) and self._counted(record):
            return ReadStudy(study, content, key, None, (), record)
        volume = study.read(self.plan.settings)
        check_formats(study, volume, self.plan.settings)
        supports = [self._support(path) for path in study.supports or self.plan.supports]
        supports += study.drawn_support(volume)
        return ReadStudy(study, content, key, volume, tuple(supports))

    def _counted(self, record: dict[str, Any]) -> bool:
        return record.get("statistics", "none") == self.plan.settings.statistics

    def _support(self, path: Path) -> Support:
        if path not in self._kept:
            self._kept[path] = Support.load(path)
        return self._kept[path]

    def segment(
        self,
        read: ReadStudy,
        progress: ProgressCallback | None = None,
        cancel: threading.Event | None = None,
    ) -> VolumeResult:
        """The segmentation.

        Raises:
            InputError: it cannot be segmented.
            Cancelled: `cancel` was set.
        """
        settings = self.plan.settings
        return self.segmenter.segment(
            read.volume, read.supports, strategy=settings.strategy, window=settings.window,
            progress=progress, cancel=cancel,
        )  # fmt: skip

    def write(self, read: ReadStudy, result: VolumeResult, started: float) -> dict[str, Any]:
        """Outputs and record of a study; returns the record.

        Args:
            started: `time.time()` when the work on it began.

        Raises:
            InputError: they cannot be written.
            DiskFull: there is no room.
        """
        self.records.path(read.study.name).unlink(missing_ok=True)  # else it vouched for others
        outputs = write_outputs(
            self.records, read.study, read.volume, result, self.plan.settings
        )
        record = {
            **self._about(read.study, DONE, started),
            "key": read.key,
            "input_sha256": read.content,
            "outputs": outputs,
            "device": result.device,
            "stages": {stage: round(float(s), 3) for stage, s in result.seconds.items()},
            "axis": result.axis,
            "structures": self._structures(read.volume, result),
            "notes": list(read.volume.notes),
        }
        if self.plan.settings.report:
            record["picture"] = _picture(read.volume, result)
        write_record(self.records, record)
        return record

    def _structures(self, volume: Volume, result: VolumeResult) -> list[dict[str, Any]]:
        numbers = statistics(volume, result.labels, self.plan.settings.statistics)
        rows = label_volumes(result)
        return [{**row, "statistics": numbers.get(row["label"], {})} for row in rows]

    def fail(self, study: Study, problem: BaseException, started: float) -> dict[str, Any]:
        """The record of a study that cannot be done; it is tried again at the next start."""
        before = self.records.read(study.name) or {}
        if before.get("status") == DONE:  # of what the image was before
            self.records.set_one_aside(before)
        text = str(problem) if isinstance(problem, (InputError, OSError)) else _named(problem)
        record = {
            **self._about(study, FAILED, started),
            "key": "",
            "error": " ".join(text.split()),
            "traceback": "".join(traceback.format_exception(problem)),
            "tries": before.get("tries", 0) + 1,
        }
        write_record(self.records, record)
        return record

    def _about(self, study: Study, status: str, started: float) -> dict[str, Any]:
        return {
            "study": study.name,
            "status": status,
            "source": str(study.path),
            "series": study.series,
            "run": self.plan.run,
            "settings": self.plan.settings.of_result(),
            "statistics": self.plan.settings.statistics,
            "weights": dict(self.plan.weights),
            "supports": [str(path) for path in study.supports or self.plan.supports],
            "mask": str(study.mask or ""),
            "versions": _versions(),
            "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "seconds": round(time.time() - started, 3),
        }


def _picture(volume: Volume, result: VolumeResult) -> str:
    from ..report.report import thumbnail

    return thumbnail(volume, result)


def _named(problem: BaseException) -> str:
    return f"{type(problem).__name__}: {problem}"


def _versions() -> dict[str, str]:
    import SimpleITK as sitk
    import torch

    return {
        "FewShotSAM": __version__,
        "Python": platform.python_version(),
        "PyTorch": torch.__version__,
        "SimpleITK": sitk.Version.VersionString(),
    }
