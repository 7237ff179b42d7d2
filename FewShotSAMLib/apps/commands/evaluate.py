"""`fewshotsam evaluate`: Dice and distances on a folder of images with known labels."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ...evaluation.presets import PRESETS
from .. import options

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    import numpy as np

    from ...data.support import Support
    from ...evaluation.protocol import Case, Score
    from ...models.card import ModelCard
    from ...segmentation.results import ProgressCallback
    from ...segmentation.segmenter import Segmenter
    from ..progress import PatientsBar
    from ..support_cases import Part


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
        "gives each patient its own middle slice, 'each' takes every patient in turn (default: the "
        "third)",
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
    from ...evaluation.scores_file import scores_csv
    from ..outcome import Outcome
    from ..outputs import check_destination, print_json, write_text
    from ..support_cases import parts_of

    if args.csv:
        check_destination(args.csv, (".csv",), [])
    pairs = find_pairs(args.dataset)
    parts = parts_of(args, [name for name, _, _ in pairs])
    cases = [_read(name, image, labels, args) for name, image, labels in pairs]
    organs, segmenters = _organs(args, cases), _Segmenters(args)
    _tell_of_seen_cases(args)
    measured = _measure(args, cases, parts, organs, segmenters)
    if args.csv:
        write_text(args.csv, scores_csv([one for scores in measured.values() for one in scores]))
    outcome = Outcome(args, measured)
    print_json(outcome.to_json(segmenters.card)) if args.json else print(outcome)
    return 0


def _measure(
    args: argparse.Namespace, cases: Sequence[Case], parts: Sequence[Part], organs: dict[int, str],
    segmenters: _Segmenters,
) -> dict[Part, list[Score]]:
    """The scores of each part that has any, under one bar for all.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed.
        InputError: no two cases share an organ.
    """
    from ...data.errors import InputError
    from ..progress import PatientsBar, showing_progress

    total, measured = sum(len(part.queries) for part in parts), {}
    with showing_progress() as (_, cancel), PatientsBar(total) as bar:
        for part in parts:
            segment = _Adapter(segmenters.of(part.fold), args, bar, cancel)
            measured[part] = _evaluate(args, cases, part, organs, segment, bar)
    measured = {part: scores for part, scores in measured.items() if scores}
    if not measured:
        raise InputError(f"{args.dataset}: support and other cases have no organ in common")
    return measured


def _tell_of_seen_cases(args: argparse.Namespace) -> None:
    """Published weights of one fold do for no other."""
    from ..support_cases import FOLD

    published = (args.fob or args.model) in ("fob", "fob-ct", "fob-mr")
    if args.folds and args.method != "synpo" and published:
        print(
            "fewshotsam: note: every fold takes FoB's weights of fold 0, which saw most of these "
            f"images in training; give --fob a file for each, with {FOLD} in its name",
            file=sys.stderr,
        )


def _read(name: str, image: Path, labels: Path, args: argparse.Namespace) -> Case:
    from ...data.reading import read_labels
    from ...evaluation.protocol import Case
    from ..inputs import read_image

    volume = read_image(image, args)
    return Case.of(name, volume, read_labels(labels, like=volume, form=args.nifti_form))


def _evaluate(
    args: argparse.Namespace, cases: Sequence[Case], part: Part, organs: dict[int, str],
    segment: _Adapter, bar: PatientsBar,
) -> list[Score]:
    """The scores of a part; none where its support has none of the organs."""
    from ...evaluation import protocol
    from ..support_cases import SAME

    if part.support == SAME:
        return protocol.evaluate_same_patient(
            bar.over(cases), organs, segment.volume, axis=args.axis
        )
    known = {case.name: case for case in cases}
    source, queries = known[part.support], bar.over(known[name] for name in part.queries)
    if not protocol.marked_organs(source, organs):
        return []
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
        from ..support_cases import FOLD
        from .segment import load_chosen_segmenter

        weights = self._args.fob and self._args.fob.replace(FOLD, str(fold))
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
