"""`fewshotsam evaluate`: Dice and distances on a folder of images with known labels."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...evaluation.presets import PRESETS
from .. import options

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    import numpy as np

    from ...data.support import Support
    from ...evaluation.protocol import Case, Score
    from ...evaluation.tables import Table
    from ...models.card import ModelCard
    from ...segmentation.results import ProgressCallback
    from ...segmentation.segmenter import Segmenter

SAME = "same"
_FOLD = "{fold}"  # in the name of a file of weights


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options and the shared ones."""
    parser.add_argument(
        "dataset",
        type=Path,
        metavar="DATASET",
        help="a folder with image_N and label_N files, or with the folders images and labels "
        "that hold files of the same names",
    )
    _add_protocol(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--csv", type=Path, metavar="OUT.csv",
        help="write every patient's and organ's scores, and means with bootstrap intervals",
    )  # fmt: skip
    options.add_model_options(parser)
    options.add_reading_options(parser)


def _add_protocol(parser: argparse.ArgumentParser) -> None:
    """What counts, and from whose slices which way."""
    parser.add_argument(
        "--preset",
        choices=tuple(PRESETS),
        action=_Preset,
        help="all options of a paper's table: method, model, protocol, folds and organs; options "
        "that follow it change one of them",
    )
    parser.add_argument(
        "--protocol",
        choices=("given-slices", "whole-volume"),
        default="whole-volume",
        help="whole-volume: every voxel counts; given-slices: the papers' way, three support "
        "slices and only slices that contain the structure (default: whole-volume)",
    )
    _add_cases(parser)
    parser.add_argument(
        "--axis", choices=options.AXES[1:], default="axial", help="direction of the slices"
    )
    parser.add_argument(
        "--strategy", choices=options.STRATEGIES, default="propagate",
        help=options.STRATEGY_HELP,
    )


def _add_cases(parser: argparse.ArgumentParser) -> None:
    """Which patients and organs."""
    parser.add_argument(
        "--support-case",
        metavar="NAME",
        help="the patient whose marked slices segment the others, by the N of its files; 'same' "
        "gives each patient its own middle slice (default: the third)",
    )
    parser.add_argument(
        "--folds",
        action="store_true",
        help="the papers' five overlapping folds instead of one support case: in each the third "
        "case is the support; --fob may then name a file for each, with {fold} for 0 to 4",
    )
    parser.add_argument(
        "--label", type=int, nargs="+", action="extend", metavar="N",
        help="only these organs (default: all)",
    )
    parser.add_argument(
        "--no-plan", dest="plan", action="store_false",
        help="find structures by their looks alone, as in the papers: bodies are not aligned",
    )
    parser.set_defaults(papers_organs=False)


class _Preset(argparse.Action):
    """Sets what a preset says; whatever the command line says after it wins."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:  # noqa: ANN001
        for name, value in PRESETS[values].items():
            setattr(namespace, name, value)
        setattr(namespace, self.dest, values)


def run(args: argparse.Namespace) -> int:
    """Read all cases, segment, print a table for each measure."""
    from ...evaluation.dataset import find_pairs
    from ...evaluation.folds import over_folds
    from ...evaluation.scores_file import scores_csv
    from ...evaluation.tables import build_table
    from ..outputs import check_destination, print_json, write_text
    from ..progress import showing_progress

    if args.csv:
        check_destination(args.csv, (".csv",), [])
    pairs = find_pairs(args.dataset)
    parts = _parts(args, [name for name, _, _ in pairs])
    cases = [_read(name, image, labels, args) for name, image, labels in pairs]
    organs, segmenters = _organs(args, cases), _Segmenters(args)
    distances = ["whole", "nsd", "assd", "hd95"] if args.protocol == "whole-volume" else []
    measures = ["given", *distances]
    _tell_of_seen_cases(args)
    tables, every = [], []
    with showing_progress() as (bar, cancel):
        for part in parts:
            segment = _Adapter(segmenters.of(part.fold), args, bar, cancel)
            scores = _evaluate(args, cases, part, organs, segment)
            tables.append([build_table(scores, measure) for measure in measures])
            every += scores
    if args.csv:
        write_text(args.csv, scores_csv(every))
    whole = [over_folds(each) for each in zip(*tables)] if args.folds else tables[0]
    if args.json:
        print_json(_as_json(args, parts, segmenters.card, whole, tables))
    else:
        print("\n\n".join(table.to_markdown() for table in whole))
    return 0


def _as_json(
    args: argparse.Namespace, parts: Sequence[_Part], card: ModelCard, whole: Sequence[Table],
    tables: Sequence[Sequence[Table]],
) -> dict[str, Any]:
    folds = [
        {"support_case": part.support, "tables": [table.to_json() for table in each]}
        for part, each in zip(parts, tables, strict=True)
    ]
    return {
        "dataset": args.dataset,
        "preset": args.preset,
        "protocol": args.protocol,
        "support_case": None if args.folds else parts[0].support,
        "method": args.method,
        "strategy": args.strategy,
        "model": {"name": card.name, "sha256": card.sha256},
        "tables": [table.to_json() for table in whole],
        **({"folds": folds} if args.folds else {}),
    }


@dataclass(frozen=True)
class _Part:
    """One support case and its queries, by name; `fold` is None where there are no folds."""

    fold: int | None
    support: str
    queries: tuple[str, ...]


def _parts(args: argparse.Namespace, names: Sequence[str]) -> list[_Part]:
    """Who is support and who is query, once or in each fold.

    Raises:
        InputError: too few cases, options that contradict each other, or an unknown case.
    """
    from ...data.errors import InputError
    from ...evaluation.folds import papers_folds

    if args.folds:
        if args.support_case:
            raise InputError("--folds chooses the support cases; leave --support-case out")
        try:
            folds = papers_folds(len(names))
        except ValueError as problem:
            raise InputError(f"{args.dataset}: {problem}; name one with --support-case") from None
        return [
            _Part(f.number, names[f.support], tuple(names[q] for q in f.queries)) for f in folds
        ]
    if args.fob and _FOLD in args.fob:
        raise InputError(f"--fob {args.fob}: {_FOLD} goes with --folds")
    support = _support_case(args, names)
    return [_Part(None, support, tuple(name for name in names if name != support))]


def _tell_of_seen_cases(args: argparse.Namespace) -> None:
    """Published weights of one fold do for no other."""
    published = (args.fob or args.model) in ("fob", "fob-ct", "fob-mr")
    if args.folds and args.method != "synpo" and published:
        print(
            "fewshotsam: note: every fold takes FoB's weights of fold 0, which saw most of these "
            f"images in training; give --fob a file for each, with {_FOLD} in its name",
            file=sys.stderr,
        )


def _support_case(args: argparse.Namespace, names: Sequence[str]) -> str:
    from ...data.errors import InputError
    from ...evaluation.folds import PAPERS_SUPPORT_CASE

    wanted = args.support_case or names[min(PAPERS_SUPPORT_CASE, len(names) - 1)]
    if wanted == SAME and args.protocol == "given-slices":
        raise InputError("--support-case same is for --protocol whole-volume; name a patient")
    if wanted not in (SAME, *names):
        raise InputError(f"--support-case {wanted}: there is none; use {', '.join(names)}")
    if wanted != SAME and len(names) < 2:
        raise InputError(
            f"{args.dataset}: holds one case only; use --support-case same --protocol whole-volume"
        )
    return wanted


def _read(name: str, image: Path, labels: Path, args: argparse.Namespace) -> Case:
    from ...data.reading import read_labels
    from ...evaluation.protocol import Case
    from ..inputs import read_image

    volume = read_image(image, args)
    return Case.of(name, volume, read_labels(labels, like=volume, form=args.nifti_form))


def _evaluate(
    args: argparse.Namespace, cases: Sequence[Case], part: _Part, organs: dict[int, str],
    segment: _Adapter,
) -> list[Score]:
    from ...evaluation import protocol

    if part.support == SAME:
        return protocol.evaluate_same_patient(cases, organs, segment.volume, axis=args.axis)
    known = {case.name: case for case in cases}
    source, queries = known[part.support], [known[name] for name in part.queries]
    if args.protocol == "given-slices":
        return protocol.evaluate_given_slices(
            source, queries, organs, segment.slices, axis=args.axis
        )
    return protocol.evaluate_whole_volume(source, queries, organs, segment.volume, axis=args.axis)


def _organs(args: argparse.Namespace, cases: Sequence[Case]) -> dict[int, str]:
    """The labels that count, with their names where a file or the papers give one.

    Raises:
        InputError: no case has one of them.
    """
    import numpy as np

    from ...data.errors import InputError
    from ...evaluation.presets import PAPERS_ORGANS

    found: dict[int, str] = {}
    for case in cases:
        for label in np.unique(case.labels.voxels):
            segment = case.labels.segments.get(int(label))
            if label:
                found.setdefault(int(label), segment.name if segment else f"label_{label}")
    papers = PAPERS_ORGANS["CT" if cases[0].image.modality == "CT" else "MR"]
    if args.papers_organs:
        found |= {label: name for label, name in papers.items() if label in found}
    wanted = args.label or (list(papers) if args.papers_organs else sorted(found))
    missing = [label for label in wanted if label not in found]
    if missing:
        raise InputError(
            f"{args.dataset}: no case has label {missing[0]}; use {', '.join(map(str, found))}"
        )
    return {label: found[label] for label in wanted}


class _Segmenters:
    """The segmenter of each fold: one for all, but where every fold has FoB's weights of its own.

    The published weights of a fold were trained without its cases.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self._args, self._loaded, self._weights = args, None, None

    def of(self, fold: int | None) -> Segmenter:
        """The one for a fold. Raises InputError where weights are missing."""
        from .segment import load_chosen_segmenter

        weights = self._args.fob and self._args.fob.replace(_FOLD, str(fold))
        if self._loaded is None or weights != self._weights:
            own = argparse.Namespace(**(vars(self._args) | {"fob": weights}))
            self._loaded, self._weights = load_chosen_segmenter(own), weights
        return self._loaded

    @property
    def card(self) -> ModelCard:
        """Of the promptable model, once it is loaded."""
        return self._loaded.encoders.model.card


class _Adapter:
    """A segmenter as the two functions that the protocol asks for. Cases are canonical, so a
    slice's index along the axis is its index in the volume."""

    def __init__(
        self,
        segmenter: Segmenter,
        args: argparse.Namespace,
        progress: ProgressCallback,
        cancel: threading.Event,
    ) -> None:
        self._segmenter, self._args = segmenter, args
        self._watched = {"progress": progress, "cancel": cancel, "window": args.window}

    def _used(self, support: Support) -> Support:
        return support if self._args.plan else replace(support, overview=None)

    def volume(self, case: Case, support: Support) -> np.ndarray:
        """Labels (k, j, i) of the whole case."""
        result = self._segmenter.segment(
            case.image, [self._used(support)], strategy=self._args.strategy, **self._watched
        )
        return result.labels.voxels

    def slices(
        self, case: Case, label: int, indices: Sequence[int], support: Support
    ) -> np.ndarray:
        """Masks (n, H, W) of the slices `indices`, which are known to hold the structure."""
        from ...data.slicing import extract_slices

        result = self._segmenter.segment(
            case.image,
            [self._used(support)],
            strategy=self._args.strategy,
            range=(min(indices), max(indices)),
            assume_present=True,
            **self._watched,
        )
        return extract_slices(result.labels.voxels, result.axis)[list(indices)] == label
