"""`fewshotsam evaluate`: Dice and distances on a folder of images with known labels."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
        "--protocol",
        choices=("given-slices", "whole-volume"),
        default="whole-volume",
        help="whole-volume: every voxel counts; given-slices: the papers' way, three support "
        "slices and only slices that contain the structure (default: whole-volume)",
    )
    parser.add_argument(
        "--support-case",
        metavar="NAME",
        help="the patient whose marked slices segment the others, by the N of its files; 'same' "
        "gives each patient its own middle slice (default: the third, as in the papers)",
    )
    parser.add_argument(
        "--axis", choices=options.AXES[1:], default="axial", help="direction of the slices"
    )
    parser.add_argument(
        "--strategy", choices=options.STRATEGIES, default="propagate",
        help="slices, each on its own as in the papers, or propagate (default)",
    )


def run(args: argparse.Namespace) -> int:
    """Read all cases, segment, print a table for each measure."""
    from ...evaluation.scores_file import scores_csv
    from ...evaluation.tables import build_table
    from ..outputs import check_destination, print_json, write_text
    from ..progress import showing_progress
    from .segment import load_chosen_segmenter

    if args.csv:
        check_destination(args.csv, (".csv",), [])
    pairs = find_pairs(args.dataset)
    support = _support_case(args, [name for name, _, _ in pairs])
    cases = [_read(name, image, labels, args) for name, image, labels in pairs]
    segmenter = load_chosen_segmenter(args)
    with showing_progress() as (bar, cancel):
        segment = _Adapter(segmenter, args, bar, cancel)
        scores = _evaluate(args, cases, support, segment)
    if args.csv:
        write_text(args.csv, scores_csv(scores))
    whole = ["whole", "nsd", "assd", "hd95"] if args.protocol == "whole-volume" else []
    measures = ["given", *whole]
    tables = [build_table(scores, measure) for measure in measures]
    if args.json:
        print_json(_as_json(args, support, segmenter.encoders.model.card, tables))
    else:
        print("\n\n".join(table.to_markdown() for table in tables))
    return 0


def _as_json(
    args: argparse.Namespace, support: str, card: ModelCard, tables: Sequence[Table]
) -> dict[str, Any]:
    return {
        "dataset": args.dataset,
        "protocol": args.protocol,
        "support_case": support,
        "method": args.method,
        "strategy": args.strategy,
        "model": {"name": card.name, "sha256": card.sha256},
        "tables": [table.to_json() for table in tables],
    }


def find_pairs(dataset: Path) -> list[tuple[str, Path, Path]]:
    """(name, image, labels) of every case of a folder, by number.

    Raises:
        InputError: no such folder, no pairs, or an image without its labels.
    """
    from ...data.errors import InputError

    if not dataset.is_dir():
        raise InputError(f"{dataset}: no such folder")
    if (dataset / "images").is_dir() and (dataset / "labels").is_dir():
        images, labels = _named(dataset / "images", ""), _named(dataset / "labels", "")
    else:
        images, labels = _named(dataset, "image_"), _named(dataset, "label_")
    if not images:
        raise InputError(
            f"{dataset}: holds neither image_N and label_N files nor the folders images and labels"
        )
    alone = sorted(set(images) ^ set(labels))
    if alone:
        path = images.get(alone[0]) or labels[alone[0]]
        raise InputError(f"{path}: has no partner; name image and labels alike")
    return [(name, images[name], labels[name]) for name in sorted(images, key=_by_number)]


def _named(folder: Path, prefix: str) -> dict[str, Path]:
    """Readable files of a folder by what stands between the prefix and the extension."""
    from ...data.files import READABLE, extension

    found = {}
    for path in sorted(folder.glob(f"{prefix}*")):
        kind = extension(path)
        if kind in (*READABLE, ".seg.nrrd"):
            found[path.name[len(prefix) : len(path.name) - len(kind)]] = path
    return found


def _by_number(name: str) -> list[tuple[int, str]]:
    """Sorts names by the numbers in them."""
    return [(int(part or 0), text) for text, part in re.findall(r"(\D*)(\d*)", name)]


def _support_case(args: argparse.Namespace, names: Sequence[str]) -> str:
    from ...data.errors import InputError
    from ...evaluation.protocol import PAPERS_SUPPORT_CASE

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
    return Case.of(name, volume, read_labels(labels, like=volume))


def _evaluate(
    args: argparse.Namespace, cases: Sequence[Case], support: str, segment: _Adapter
) -> list[Score]:
    from ...evaluation import protocol

    organs = _organs(cases)
    if support == SAME:
        return protocol.evaluate_same_patient(cases, organs, segment.volume, axis=args.axis)
    source = next(case for case in cases if case.name == support)
    queries = [case for case in cases if case is not source]
    if args.protocol == "given-slices":
        return protocol.evaluate_given_slices(
            source, queries, organs, segment.slices, axis=args.axis
        )
    return protocol.evaluate_whole_volume(source, queries, organs, segment.volume, axis=args.axis)


def _organs(cases: Sequence[Case]) -> dict[int, str]:
    """Every label of any case, with its name where a file gives one."""
    import numpy as np

    organs: dict[int, str] = {}
    for case in cases:
        for label in np.unique(case.labels.voxels):
            segment = case.labels.segments.get(int(label))
            if label:
                organs.setdefault(int(label), segment.name if segment else f"label_{label}")
    return dict(sorted(organs.items()))


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

    def volume(self, case: Case, support: Support) -> np.ndarray:
        """Labels (k, j, i) of the whole case."""
        result = self._segmenter.segment(
            case.image, [support], strategy=self._args.strategy, **self._watched
        )
        return result.labels.voxels

    def slices(
        self, case: Case, label: int, indices: Sequence[int], support: Support
    ) -> np.ndarray:
        """Masks (n, H, W) of the slices `indices`, which are known to hold the structure."""
        from ...data.slicing import extract_slices

        result = self._segmenter.segment(
            case.image,
            [support],
            strategy=self._args.strategy,
            range=(min(indices), max(indices)),
            assume_present=True,
            **self._watched,
        )
        return extract_slices(result.labels.voxels, result.axis)[list(indices)] == label
