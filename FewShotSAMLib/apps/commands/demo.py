"""`fewshotsam demo`: a generated abdomen, one marked slice, the segmentation and its pictures."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ...data.volume import Volume
    from ...phantom.abdomen import Phantom
    from ...segmentation.results import VolumeResult

IMAGE, MASK, RESULT = "abdomen.nii.gz", "marked slice.seg.nrrd", "segmentation.seg.nrrd"
TRUTH, PICTURE, REPORT = "truth.seg.nrrd", "slices.png", "report.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to, and what is generated."""
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="a folder, made if needed (default: a temporary one)",
    )
    parser.add_argument(
        "--device", default="auto", metavar="auto|cpu|cuda|mps", help="where to compute"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="another abdomen")


def run(args: argparse.Namespace) -> int:
    """Generate, segment as `fewshotsam segment` does, measure, show where everything is."""
    from ...data.reading import read_labels
    from ...evaluation.metrics import dice_per_label
    from ...phantom import abdomen as phantom
    from ..outputs import write_text
    from ..report.report import report_html, sheet

    started = time.perf_counter()
    folder = _folder(args.out)
    generated = phantom.abdomen(seed=args.seed)
    marked = generated.marked_slice()
    _write(generated, marked, folder)
    image, mask, output = (str(folder / name) for name in (IMAGE, MASK, RESULT))
    print(f"A generated abdomen of {generated.image.shape[0]} slices; slice {marked} is marked.")
    query, result = _segment(image, mask, output, args.device)
    truth = read_labels(folder / TRUTH, like=query)
    overlap = dice_per_label(result.labels.voxels, truth.voxels, sorted(result.names))
    sheet(query, result, truth).save(folder / PICTURE, optimize=True)
    write_text(folder / REPORT, report_html(query, result, truth, overlap))
    _print_overlap({result.names[label]: value for label, value in overlap.items()})
    print(f"{time.perf_counter() - started:.0f} s on {result.device}. Look at")
    print(f"  {folder / REPORT}")
    print(f"  {folder / PICTURE}")
    print("The same with files of your own:")
    print(f'  fewshotsam segment "{image}" --support-mask "{mask}" -o "{output}"')
    return 0


def _segment(image: str, mask: str, output: str, device: str) -> tuple[Volume, VolumeResult]:
    from . import segment

    parser = argparse.ArgumentParser()
    segment.add_arguments(parser)
    command = [image, "--support-mask", mask, "-o", output, "--device", device]
    return segment.segment_files(parser.parse_args(command))


def _print_overlap(overlap: Mapping[str, float]) -> None:
    for name, value in overlap.items():
        print(f"  {name:<14} Dice {value:.3f}")
    print(f"  {'mean':<14} Dice {sum(overlap.values()) / len(overlap):.3f}")


def _folder(wanted: Path | None) -> Path:
    if wanted is None:
        return Path(tempfile.mkdtemp(prefix="fewshotsam demo "))
    wanted.mkdir(parents=True, exist_ok=True)
    return wanted.resolve()


def _write(generated: Phantom, marked: int, folder: Path) -> None:
    from ...data.writing import write_labels, write_volume

    write_volume(generated.image, folder / IMAGE)
    write_labels(generated.marked(marked), folder / MASK)
    write_labels(generated.truth, folder / TRUTH)
