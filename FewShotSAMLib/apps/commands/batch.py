"""`fewshotsam batch`: many studies from the same marked slices, taken up again after a stop."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .. import options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...data.support import Support
    from ..batch.many import Batch
    from ..batch.results import StudyResult

SOME_FAILED, CANCELLED = 3, 130
STATISTICS = ("none", "first-order", "radiomics")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options and the shared ones."""
    parser.add_argument(
        "inputs", type=Path, nargs="+", metavar="INPUT",
        help="images; folders, looked through to the bottom, DICOM by series; CSV or JSON lists "
        "with the columns image, support, mask, series, output (only image must be there)",
    )  # fmt: skip
    _add_outputs(parser)
    options.add_support_options(parser)
    options.add_model_options(parser)
    parser.add_argument(
        "--strategy", choices=options.STRATEGIES, default="propagate",
        help=options.STRATEGY_HELP,
    )  # fmt: skip
    options.add_reading_options(parser)
    _add_machines(parser)


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FOLDER",
        help="where to write, made if needed; what lies there and is done is not done again",
    )  # fmt: skip
    parser.add_argument(
        "--formats", type=_ending, nargs="+", default=[".seg.nrrd"], metavar="EXT",
        help="of the segmentations: .seg.nrrd, .nii.gz, .nrrd, .mha, .dcm (DICOM SEG, for DICOM "
        "series) (default: .seg.nrrd)",
    )  # fmt: skip
    options.add_seg_type(parser)
    options.add_dicom_web(parser)
    parser.add_argument("--report", action="store_true", help="write a page with pictures of each")
    parser.add_argument(
        "--statistics", choices=STATISTICS, default="none",
        help="of each structure's voxels: first-order (mean, percentiles, extents) or radiomics "
        "(where pyradiomics is installed) (default: none)",
    )  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="say what would be done")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")


def _add_machines(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("more than one process (needs pip install fewshotsam[batch])")
    group.add_argument(
        "--workers", type=options.positive_int, default=1, metavar="N",
        help="processes on this machine, each with a GPU or a share of the CPU (default: 1)",
    )  # fmt: skip
    group.add_argument(
        "--scheduler", metavar="tcp://HOST:PORT",
        help="a Dask scheduler whose workers see the same files",
    )  # fmt: skip


def _ending(text: str) -> str:
    """A file's ending. Inputs after it are told apart from it, where a person forgot the order."""
    if text.startswith("."):
        return text.lower()
    raise argparse.ArgumentTypeError(
        f"{text} does not begin with a dot as .nii.gz does; inputs go in front of --formats"
    )


def run(args: argparse.Namespace) -> int:
    """Find the studies, do what is not done, write the lists."""
    from ..outputs import tell

    batch = _batch(args)
    if args.dry_run:
        return _dry_run(batch)
    from ...data.errors import InputError
    from ..batch.outputs_of_study import DiskFull

    try:
        found = _run(batch, args)
        _write_lists(batch)
    except KeyboardInterrupt:
        _write_lists(batch)
        tell(f"cancelled; what is done stays in {args.output}; the same command goes on with it")
        return CANCELLED
    except DiskFull as full:
        raise InputError(str(full)) from None
    return _conclude(args, found)


def _write_lists(batch: Batch) -> None:
    from ..batch.index_page import write_index
    from ..batch.manifest import write_manifest

    if batch.plan.folder.is_dir():
        write_manifest(batch.plan.records)
        if batch.plan.settings.report:
            write_index(batch.plan.records)


def _conclude(args: argparse.Namespace, found: Sequence[StudyResult]) -> int:
    """Say how it went; the exit status."""
    from ..batch.manifest import CSV
    from ..outputs import print_json

    count = Counter(one.status for one in found)
    unsent = sum(bool(one.not_sent) for one in found)
    if args.json:
        print_json({
            "output": args.output, **_counts(count), "not_sent": unsent,
            "studies": [_plain(one) for one in found],
        })  # fmt: skip
    else:
        said = [f"{number} {status}" for status, number in _counts(count).items()]
        said += [f"{unsent} not sent to {args.dicom_web}"] * bool(args.dicom_web)
        print(", ".join(said))
        print(f"wrote {args.output / CSV}, what most needs a look first")
    return SOME_FAILED if count["failed"] or unsent else 0


def _plain(one: StudyResult) -> dict[str, str]:
    return {
        "study": one.name, "status": one.status, "error": one.error, "not_sent": one.not_sent,
    }  # fmt: skip


def _counts(count: Counter[str]) -> dict[str, int]:
    return {status: count[status] for status in ("done", "earlier", "failed")}


def _batch(args: argparse.Namespace) -> Batch:
    from ..batch.many import Batch
    from ..batch.settings import settings_from
    from ..outputs import tell

    return Batch.of(
        args.inputs, _supports(args), args.output, settings_from(args), series=args.series,
        leave_out=[*args.support, *args.support_image, *args.support_mask], tell=tell,
    )  # fmt: skip


def _supports(args: argparse.Namespace) -> list[Support]:
    from ...data.errors import InputError
    from ..inputs import draw_support, kept_support, read_image

    if len(args.support_image) != len(args.support_mask):
        raise InputError(
            f"{len(args.support_image)} support images and {len(args.support_mask)} masks: give "
            "one mask for each image"
        )
    drawn = [
        draw_support(read_image(image, args), mask, args)
        for image, mask in zip(args.support_image, args.support_mask, strict=True)
    ]
    return [*(kept_support(path) for path in args.support), *drawn]


def _dry_run(batch: Batch) -> int:
    done, unsent = batch.done(), batch.unsent()
    for line in batch.other_settings():
        print(line)
    for study in batch.studies:
        state = "done already" if study.name in done else "to do"
        if study.name in done & unsent:
            state = "to send"
        print(f"{state:<12}  {study.name}  {study.path}  {study.series}".rstrip())
    sends = f", {len(done & unsent)} to send" if batch.plan.settings.dicom_web else ""
    print(f"{len(batch.studies)} studies, {len(batch.studies) - len(done)} to do{sends}")
    return 0


def _run(batch: Batch, args: argparse.Namespace) -> list[StudyResult]:
    """All studies, with one bar over them.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed.
    """
    from ..batch.log import batch_log
    from ..progress import showing_progress

    found = []
    with batch_log(args.output) as log, showing_progress() as (_, cancel), _Bar(batch) as bar:
        for one in batch.run(workers=args.workers, scheduler=args.scheduler, cancel=cancel):
            log.study(one)
            bar.show(one)
            found.append(replace(one, result=None))  # voxels of every study would pile up
    return found


class _Bar:
    """One bar over the studies, with the time left, and a line for each that failed."""

    def __init__(self, batch: Batch) -> None:
        from tqdm import tqdm

        self._server = batch.plan.settings.dicom_web
        quiet = 0.1 if sys.stderr.isatty() else 5.0
        self._bar = tqdm(
            total=len(batch.studies), desc="studies", unit="study", smoothing=0, file=sys.stderr,
            mininterval=quiet,
        )  # fmt: skip

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_problem: object) -> None:
        self._bar.close()

    def show(self, one: StudyResult) -> None:
        """A study is done, was done earlier, or failed."""
        from ..outputs import tell

        if one.status == "earlier":
            self._bar.initial += 1  # took no time, so it says nothing of the time left
        if one.error:
            tell(f"failed: {one.name}: {one.error}")
        if one.not_sent:
            tell(f"done, but not sent: {one.name}: {self._server} {one.not_sent}")
        self._bar.update()
