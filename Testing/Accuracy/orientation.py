"""Measure whether the way a file is stored changes its segmentation.

    python Testing/Accuracy/orientation.py [--data ../shared/data/orientation] [--least 0.95]

The files hold one head, stored in different axis orders and directions. Brain and ventricles are
drawn on one slice of the first, by thresholds, and carried to each of the others by physical
space; each file is segmented with its own copy of the drawing. All results are compared on the
first file's grid. Prints Dice between every two (the lower one of the two structures); exits with
1 if any misses the least.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from scipy import ndimage

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from FewShotSAMLib.data.reading import read_labels, read_volume  # noqa: E402
from FewShotSAMLib.data.resampling import resample_labels  # noqa: E402
from FewShotSAMLib.data.support import Support  # noqa: E402
from FewShotSAMLib.data.volume import Segment, Volume  # noqa: E402
from FewShotSAMLib.data.writing import write_labels  # noqa: E402
from FewShotSAMLib.evaluation.metrics import dice  # noqa: E402
from FewShotSAMLib.segmentation.segmenter import Segmenter, load_segmenter  # noqa: E402

DATA = ROOT.parent / "shared" / "data" / "orientation"
STRUCTURES = {1: Segment("brain", (0.9, 0.7, 0.5)), 2: Segment("ventricles", (0.3, 0.6, 0.9))}


@dataclass(frozen=True)
class Agreement:
    """Two files' segmentations of the same head, compared in patient space: the lower Dice of
    brain and ventricles."""

    first: str
    second: str
    dice: float


@dataclass(frozen=True, eq=False)
class Segmented:
    """One file's result."""

    name: str
    axes: str
    labels: Volume
    millilitres: tuple[float, ...]
    seconds: float


def draw(head: Volume, height: float = 0.55) -> Volume:
    """Brain and ventricles, roughly, on one axial slice: what a person might have drawn.

    The brain is the largest bright component, opened and filled; the ventricles are the largest
    dark component deep within it.
    """
    canonical, orientation = head.canonical()
    index = int(height * canonical.shape[0])
    plane = canonical.voxels[index].astype(float)
    bright = np.percentile(plane, 90)
    brain = _largest(ndimage.binary_opening(
        ndimage.binary_fill_holes(plane > 0.3 * bright), iterations=3
    ))  # fmt: skip
    depth = ndimage.distance_transform_edt(brain)
    dark = (plane < 0.6 * np.median(plane[brain])) & (depth > 0.4 * depth.max())
    ventricles = _largest(ndimage.binary_dilation(dark) & (plane < 0.85 * np.median(plane[brain])))
    voxels = np.zeros(canonical.shape, np.uint8)
    voxels[index] = np.where(ventricles, 2, brain)
    return head.with_voxels(
        np.ascontiguousarray(orientation.restore(voxels)),
        modality="other", name="drawing", segments=STRUCTURES,
    )  # fmt: skip


def _largest(mask: np.ndarray) -> np.ndarray:
    parts, _ = ndimage.label(mask)
    return parts == 1 + np.bincount(parts.ravel())[1:].argmax()


def segment_all(
    files: Sequence[Path], segmenter: Segmenter, strategy: str, reach: int | None = None
) -> list[Segmented]:
    """Each file with the first one's drawing, carried over by physical space through a file.

    reach: slices to work on above and below the drawn one; None for the whole head.
    """
    drawing = draw(read_volume(files[0]))
    results = []
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "drawing.seg.nrrd"
        write_labels(drawing, kept)
        for path in files:
            start = time.perf_counter()
            volume = read_volume(path)
            support = Support.from_labels(volume, read_labels(kept, like=volume), axis="axial")
            labels = segmenter.segment(
                volume, [support], strategy=strategy, range=_around(volume, support, reach)
            ).labels
            results.append(Segmented(
                path.name.split(".")[0], volume.axes(), labels,
                tuple(
                    float((labels.voxels == value).sum() * np.prod(labels.spacing) / 1000)
                    for value in STRUCTURES
                ),
                time.perf_counter() - start,
            ))  # fmt: skip
    return results


def _around(volume: Volume, support: Support, reach: int | None) -> tuple[int, int] | None:
    """First and last slice of the range, counted along the file's own axis."""
    if reach is None:
        return None
    _, orientation = volume.canonical()
    ends = [
        orientation.canonical_index(2, min(max(support.slices[0] + step, 0), support.count - 1))
        for step in (-reach, reach)
    ]
    return min(ends), max(ends)


def agreements(results: Sequence[Segmented]) -> list[Agreement]:
    """Every two results, compared on the first one's grid."""
    like = results[0].labels
    grids = [resample_labels(r.labels, like).voxels for r in results]
    return [
        Agreement(
            a.name, b.name, min(dice(one == value, two == value) for value in STRUCTURES)
        )
        for (a, one), (b, two) in combinations(zip(results, grids, strict=True), 2)
    ]


def measure(
    files: Sequence[Path], segmenter: Segmenter, strategy: str = "propagate",
    reach: int | None = None,
) -> list[Agreement]:
    """How well the segmentations of every two files agree; see `segment_all`.

    Raises:
        ValueError: fewer than two files, or nothing was segmented, which would agree too well.
    """
    if len(files) < 2:
        raise ValueError("at least two files are needed")
    results = segment_all(files, segmenter, strategy, reach)
    _check(results)
    return agreements(results)


def _check(results: Sequence[Segmented]) -> None:
    for one in results:
        voxels = one.labels.canonical()[0].voxels
        for value, least in ((1, 7), (2, 2)):
            slices = int((voxels == value).any(axis=(1, 2)).sum())
            if slices < least:
                raise ValueError(
                    f"{one.name}: {STRUCTURES[value].name} on {slices} slices only; "
                    "too little to compare"
                )


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA, help="folder of .nii.gz files")
    parser.add_argument("--least", type=float, default=0.95, help="Dice that any two must reach")
    parser.add_argument("--strategy", choices=("slices", "propagate"), default="propagate")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(arguments)
    files = sorted(options.data.glob("*.nii.gz"))
    if len(files) < 2:
        print(f"{options.data}: holds no two .nii.gz files", file=sys.stderr)
        return 2
    results = segment_all(files, load_segmenter(device=options.device), options.strategy)
    _check(results)
    pairs = agreements(results)
    print("| file | axes | brain, ml | ventricles, ml | s |\n|---|---|---|---|---|")
    for r in results:
        brain, ventricles = r.millilitres
        print(f"| {r.name} | {r.axes} | {brain:.1f} | {ventricles:.1f} | {r.seconds:.1f} |")
    names = [r.name for r in results]
    table = {(p.first, p.second): p.dice for p in pairs}
    print(f"\n| Dice | {' | '.join(names[1:])} |\n|---|{'---|' * (len(names) - 1)}")
    for row, first in enumerate(names[:-1]):
        cells = [
            f"{table[first, second]:.4f}" if column > row else ""
            for column, second in enumerate(names)
        ]
        print(f"| {first} | {' | '.join(cells[1:])} |")
    worst = min(pairs, key=lambda p: p.dice)
    met = worst.dice >= options.least
    print(
        f"\nWorst pair: {worst.first} and {worst.second}, Dice {worst.dice:.4f}; "
        f"at least {options.least} asked for: {'met' if met else 'MISSED'}"
    )
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main())
