"""`segment_many`: one set of supports, many studies; what was done before is not done again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...data.errors import InputError
from ...data.support import Support
from ...segmentation.results import ProgressCallback
from .fingerprint import input_hash, study_key
from .outputs_of_study import explained
from .plan import Plan, keep_supports, make_plan
from .records import FAILED
from .results import StudyResult
from .sending import sent_on, to_send
from .settings import BatchSettings
from .studies import find_studies
from .study import Study

if TYPE_CHECKING:
    from ...segmentation.segmenter import Segmenter

Tell = Callable[[str], None]


def segment_many(
    inputs: str | Path | Sequence[str | Path],
    supports: Support | str | Path | Sequence[Support | str | Path],
    folder: str | Path,
    *,
    workers: int = 1,
    scheduler: str | None = None,
    segmenter: Segmenter | None = None,
    series: str | None = None,
    progress: ProgressCallback | None = None,
    cancel: threading.Event | None = None,
    tell: Tell | None = None,
    **settings: Any,
) -> Iterator[StudyResult]:
    """Segments every study and writes its segmentation; yields each as it is done.

    A study is done when its outputs and its record lie in `folder`. Start again after a crash, a
    cancel or a failure, and only what is not done is done; a study counts as done for the same
    content of its files, supports, settings and weights. Results of other settings are moved to
    `folder`/earlier. A study that cannot be segmented is recorded as failed and passed over.

    Args:
        inputs: image files, folders (looked through to the bottom, DICOM by series), and lists
            in CSV or JSON with the columns image, support, mask, series and output.
        supports: supports or files of kept ones, for all studies that a list gives none of their
            own.
        folder: for outputs; made if needed.
        workers: processes on this machine; with more than one, or a `scheduler`, Dask is needed.
        scheduler: address of a Dask scheduler, such as "tcp://10.0.0.1:8786"; its workers must see
            inputs and `folder` under the same paths.
        segmenter: already loaded with the same settings, for one worker.
        series: only DICOM series of this UID or description (`*` stands for anything).
        progress: called after every step of every study, from this thread; with one worker.
        cancel: set it from anywhere to stop; what is done stays.
        tell: called with one sentence on what a person should know.
        settings: of `BatchSettings`, such as model="fast" or formats=(".nii.gz", ".seg.nrrd").

    Raises:
        InputError: an input or a support is unusable, no study is found, weights are missing, or
            another batch is at work in the folder.
        Cancelled: `cancel` was set.
        DiskFull: there is no room for outputs; what is done stays.
    """
    batch = Batch.of(
        _paths(inputs), _supports(supports), Path(folder), BatchSettings(**settings),
        series=series, tell=tell or (lambda _: None),
    )  # fmt: skip
    yield from batch.run(
        workers=workers, scheduler=scheduler, segmenter=segmenter, progress=progress, cancel=cancel
    )


@dataclass(frozen=True, eq=False)
class Batch:
    """Studies, and the plan for them; nothing has been written yet.

    Attributes:
        plan: what all studies have in common; supports: the plan's, in memory.
        studies: those that were cut short or failed before come last, so that one that ends the
            process does not keep others from being done.
        tell: called with one sentence on what a person should know.
    """

    plan: Plan
    supports: tuple[Support, ...]
    studies: tuple[Study, ...]
    tell: Tell

    @classmethod
    def of(
        cls,
        inputs: Sequence[Path],
        supports: Sequence[Support],
        folder: Path,
        settings: BatchSettings,
        *,
        series: str | None = None,
        leave_out: Iterable[Path] = (),
        tell: Tell,
    ) -> Batch:
        """Find the studies and make the plan.

        Raises:
            InputError: see `segment_many`.
        """
        studies = find_studies(inputs, tell, series=series, leave_out=[folder, *leave_out])
        if not supports and not all(study.has_own_supports for study in studies):
            without = next(study for study in studies if not study.has_own_supports)
            raise InputError(f"{without.path}: has no support; give --support, or one in a list")
        plan = make_plan(folder, settings, supports)
        return cls(plan, tuple(supports), _in_order(plan, studies), tell)

    def done(self) -> set[str]:
        """Names of the studies that are done already; reads the files of those with a record."""
        records, kinds = self.plan.records, self.plan.settings.kinds
        names = set()
        for study in self.studies:
            record = records.read(study.name)
            if record is None or record["status"] == FAILED:
                continue
            key = study_key(self.plan.run, study, input_hash(study.files))
            if records.is_done(record, key, kinds):
                names.add(study.name)
        return names

    def unsent(self) -> set[str]:
        """Names of those whose record has a DICOM SEG that the settings' server does not have."""
        url, records = self.plan.settings.dicom_web, self.plan.records
        return {s.name for s in self.studies if url and to_send(records.read(s.name), url)}

    def other_settings(self) -> list[str]:
        """One line for each run of other settings whose results lie in the folder."""
        others: dict[str, list[Mapping[str, Any]]] = {}
        for record in self.plan.records.all():
            if record["run"] != self.plan.run:
                others.setdefault(record["run"], []).append(record)
        return [self._differs(run, records) for run, records in others.items()]

    def _differs(self, run: str, records: Sequence[Mapping[str, Any]]) -> str:
        what = differences(records[0], self.plan)
        return (
            f"{len(records)} result(s) come from other settings ({what}); they go to "
            f"{self.plan.folder / 'earlier' / run[:8]} and this is a new run"
        )

    def run(
        self,
        *,
        workers: int = 1,
        scheduler: str | None = None,
        segmenter: Segmenter | None = None,
        progress: ProgressCallback | None = None,
        cancel: threading.Event | None = None,
    ) -> Iterator[StudyResult]:
        """Do what is not done. See `segment_many`."""
        records = self.plan.records
        with records.opened():
            for line in self.other_settings():
                self.tell(line)
            records.set_aside(self.plan.run)
            try:
                plan = keep_supports(self.plan, self.supports)
            except (InputError, OSError) as problem:
                raise explained(problem, self.plan.folder) from None
            if workers > 1 or scheduler:
                from .cluster import run_on_cluster

                found = run_on_cluster(
                    plan, self.studies, workers=workers, scheduler=scheduler, cancel=cancel,
                    tell=self.tell,
                )  # fmt: skip
            else:
                from .pipeline import run_here
                from .study_worker import StudyWorker

                worker = StudyWorker(plan, self.tell, segmenter, self.supports)
                found = run_here(worker, self.studies, progress, cancel)
            url = plan.settings.dicom_web
            with closing(found):
                yield from sent_on(found, records, url) if url else found


def differences(record: Mapping[str, Any], plan: Plan) -> str:
    """How the settings of a record differ from a plan's: "strategy slices, now propagate"."""
    now, before = plan.settings.of_result(), record["settings"]
    parts = [f"{k} {before.get(k)}, now {v}" for k, v in now.items() if before.get(k) != v]
    if record["weights"] != dict(plan.weights):
        parts.append("other weights")
    return "; ".join(parts) or "other supports"


def _in_order(plan: Plan, studies: Sequence[Study]) -> tuple[Study, ...]:
    def trouble(study: Study) -> tuple[bool, int]:
        record = plan.records.read(study.name) or {}
        return plan.records.was_cut_short(study.name), record.get("tries", 0)

    return tuple(sorted(studies, key=trouble))


def _paths(inputs: str | Path | Sequence[str | Path]) -> list[Path]:
    return [Path(one) for one in ([inputs] if isinstance(inputs, (str, Path)) else inputs)]


def _supports(given: Support | str | Path | Sequence[Support | str | Path]) -> list[Support]:
    several = [given] if isinstance(given, (Support, str, Path)) else given
    return [one if isinstance(one, Support) else Support.load(one) for one in several]
