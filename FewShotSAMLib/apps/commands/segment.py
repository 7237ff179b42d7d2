"""`fewshotsam segment`: one marked slice in, the segmentation of the volume out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from .. import options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...data.support import Support
    from ...data.volume import Volume
    from ...segmentation.results import VolumeResult
    from ...segmentation.segmenter import Segmenter

REPORTS = (".html", ".htm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options and the shared ones."""
    parser.add_argument(
        "query",
        type=Path,
        metavar="QUERY",
        help="the volume: NIfTI, NRRD, MHA, a DICOM folder, or PNG/JPG as one slice",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="OUT",
        help="where to write the labels: .seg.nrrd (names and colours, for 3D Slicer), .nii.gz, "
        ".nii, .nrrd, .mha, .dcm (DICOM SEG, for a DICOM series), or .png for a single slice",
    )
    options.add_seg_type(parser)
    options.add_dicom_web(parser)
    options.add_support_options(parser)
    options.add_model_options(parser)
    _add_extent(parser)
    options.add_reading_options(parser)
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object with volumes and scores"
    )
    parser.add_argument(
        "--report", type=Path, metavar="OUT.html", help="write a report with pictures"
    )


def _add_extent(parser: argparse.ArgumentParser) -> None:
    """How far the segmentation goes, and on which way."""
    parser.add_argument(
        "--strategy",
        choices=options.STRATEGIES,
        default="propagate",
        help=options.STRATEGY_HELP,
    )
    parser.add_argument(
        "--range",
        type=options.slice_range,
        metavar="FIRST:LAST",
        help="only these slices of QUERY, from 0, both included (default: all)",
    )
    parser.add_argument(
        "--exclude",
        type=Path,
        metavar="MASK",
        help="what belongs to other structures, nonzero on QUERY's grid: none of it is in OUT, and "
        "structures end there",
    )
    parser.add_argument(
        "--doubtful",
        choices=("keep", "drop"),
        default="keep",
        help="structures that are probably wrong: keep them and say so (default), or leave them "
        "empty",
    )


def run(args: argparse.Namespace) -> int:
    """Read, segment, write, print."""
    from ..outputs import print_json
    from ..report.summary import print_summary, summary

    _check_server(args)
    _, result = segment_files(args)
    if args.dicom_web:
        from ...data.dicom_web import store

        store(args.output, args.dicom_web)
    if args.json:
        files = {"query": args.query, "output": args.output, "report": args.report}
        print_json({**files, **summary(result), "seed": args.seed})
    else:
        print_summary(result)
        for path in filter(None, (args.output, args.report)):
            print(f"wrote {path}")
        if args.dicom_web:
            print(f"sent {args.output} to {args.dicom_web}")
    return 0


def _check_server(args: argparse.Namespace) -> None:
    """Better said before the work than after it."""
    from ...data.dicom_web import check_server
    from ...data.errors import InputError
    from ...data.files import extension

    if args.dicom_web:
        check_server(args.dicom_web)
        if extension(args.output) != ".dcm":
            raise InputError(f"{args.output}: --dicom-web sends a DICOM SEG; end the name in .dcm")


def segment_files(args: argparse.Namespace) -> tuple[Volume, VolumeResult]:
    """From the files that the options name to the files that they ask for.

    Raises:
        InputError: something is unusable; nothing was written, or the labels alone where it is
            the report that failed.
        KeyboardInterrupt: Ctrl-C was pressed; nothing was written.
    """
    from ...data.reading_notes import reading_notes
    from ...data.writing import check_grid, write_labels
    from ..inputs import excluded_voxels, read_image, read_supports
    from ..option_names import in_options
    from ..outputs import tell

    _check_outputs(args)
    query = read_image(args.query, args)
    check_grid(query, args.output)
    _check_sources(args.output, args.query, query)
    supports = read_supports(args, query)
    result = _segment(query, supports, args, excluded_voxels(args, query))
    told = reading_notes(query, supports)
    for note in result.notes:
        if note not in told:
            tell(in_options(note))
    write_labels(result, args.output, sources=[args.query], seg_type=args.seg_type)
    if args.report:
        _write_report(query, result, args)
    return query, result


def _check_outputs(args: argparse.Namespace) -> None:
    from ...data.writing import WRITABLE
    from ..outputs import check_destination

    inputs = [args.query, *args.support_image, *args.support_mask, *args.support]
    check_destination(args.output, WRITABLE, inputs)
    if args.report:
        check_destination(args.report, REPORTS, [*inputs, args.output])


def _check_sources(output: Path, query: Path, volume: Volume) -> None:
    """A DICOM SEG belongs to a DICOM series: better said before the work than after it."""
    from ...data.dicom_sources import find_sources
    from ...data.errors import InputError
    from ...data.files import extension

    if extension(output) == ".dcm" and not find_sources([query], volume):
        raise InputError(
            f"{output}: a DICOM SEG belongs to a DICOM series, and {query} is none; use .seg.nrrd"
        )


def load_chosen_segmenter(args: argparse.Namespace) -> Segmenter:
    """The segmenter that the model options name."""
    from ...segmentation.segmenter import load_segmenter
    from ..outputs import tell

    return load_segmenter(
        model=args.model,
        method=args.method,
        device=args.device,
        features=args.features,
        seed=args.seed,
        precision=args.precision,
        allow_cpu=args.allow_cpu,
        fob=args.fob,
        tell=tell,
    )


def _segment(
    query: Volume, supports: Sequence[Support], args: argparse.Namespace, excluded: Volume | None
) -> VolumeResult:
    from ..progress import showing_progress

    segmenter = load_chosen_segmenter(args)
    with showing_progress() as (bar, cancel):
        return segmenter.segment(
            query,
            supports,
            strategy=args.strategy,
            range=args.range,
            progress=bar,
            cancel=cancel,
            window=args.window,
            doubtful=getattr(args, "doubtful", "keep"),
            excluded=excluded,
        )


def _write_report(query: Volume, result: VolumeResult, args: argparse.Namespace) -> None:
    """The labels are written already, and no failure here costs them."""
    from ...data.errors import InputError
    from ...data.files import written_path
    from ..outputs import write_text
    from ..report.report import report_html

    try:
        written_path(args.report).unlink(missing_ok=True)  # one of other labels, by now
        write_text(args.report, report_html(query, result))
    except Exception as error:
        if args.debug:
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{args.output} was written; the report could not be made: {reason}"
        ) from None
