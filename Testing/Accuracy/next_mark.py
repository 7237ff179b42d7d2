"""Dice of whole volumes against the number of marked slices: chosen by the tool one after the
other, at equal distances, and at random.

    python Testing/Accuracy/next_mark.py [--cases 1 2 3 5] [--most 5]

Each structure of each patient is marked by itself, in the patient who is segmented. The first mark
is the middle slice; the tool then names the slice that it wants marked next
(`segmentation.next_mark`), which is marked as the truth has it, and so on. Equal distances are
those of the papers' protocol over the slices that hold the structure in truth, which the tool does
not know.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from FewShotSAMLib.data.label_reading import read_labels  # noqa: E402
from FewShotSAMLib.data.reading import read_volume  # noqa: E402
from FewShotSAMLib.data.support import Support  # noqa: E402
from FewShotSAMLib.data.volume import Volume  # noqa: E402
from FewShotSAMLib.evaluation.dataset import find_pairs  # noqa: E402
from FewShotSAMLib.evaluation.metrics import dice  # noqa: E402
from FewShotSAMLib.segmentation.next_mark import next_to_mark  # noqa: E402
from FewShotSAMLib.segmentation.results import VolumeResult  # noqa: E402
from FewShotSAMLib.segmentation.segmenter import Segmenter, load_segmenter  # noqa: E402

WAYS = ("chosen", "equal", "random")


def places(way: str, count: int, there: list[int], rng: np.random.Generator) -> list[int]:
    """Slices of those that hold the structure, at equal distances or at random."""
    if way == "equal":
        return sorted({there[len(there) * (2 * n + 1) // (2 * count)] for n in range(count)})
    return sorted(rng.choice(there, min(count, len(there)), replace=False).tolist())


class Patient:
    """One patient, whose structures are marked more and more."""

    def __init__(self, segmenter: Segmenter, image: Volume, truth: Volume) -> None:
        self.segmenter, self.image, self.drawn = segmenter, image, truth
        truth = truth.voxels
        self.labels = [int(value) for value in np.unique(truth) if value]
        self.there = {
            value: np.flatnonzero((truth == value).any((1, 2))).tolist() for value in self.labels
        }

    def result(self, marked: dict[int, list[int]]) -> VolumeResult:
        """Of all structures together, each from its own marked slices."""
        supports = [
            Support.from_labels(
                self.image, self.drawn, axis="axial", slices=slices,
                keep_labels=[value], overview=False,
            )
            for value, slices in marked.items()
        ]
        return self.segmenter.segment(self.image, supports)

    def scores(self, result: VolumeResult) -> list[float]:
        truth, found = self.drawn.voxels, result.labels.voxels
        return [dice(found == value, truth == value) for value in self.labels]

    def chosen(self, most: int) -> dict[int, list[float]]:
        """Dice of each structure by the number of marks, which the tool chose but for the first."""
        marked = {value: [slices[len(slices) // 2]] for value, slices in self.there.items()}
        found = {}
        for count in range(1, most + 1):
            result = self.result(marked)
            found[count] = self.scores(result)
            for value, slices in marked.items():
                place = next_to_mark(result.slices, value)
                if place in self.there[value]:  # else the mark is spent, and shows nothing
                    marked[value] = sorted({*slices, place})
        return found

    def placed(self, way: str, count: int, rng: np.random.Generator) -> list[float]:
        marked = {v: places(way, count, slices, rng) for v, slices in self.there.items()}
        return self.scores(self.result(marked))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "abdomen_mr")
    parser.add_argument("--cases", type=int, nargs="+", help="only these")
    parser.add_argument("--most", type=int, default=5, help="marks of each structure")
    args = parser.parse_args()
    segmenter = load_segmenter(device="cpu")
    rng = np.random.default_rng(0)
    found: dict[tuple[str, int], list[float]] = {}
    for name, image_path, labels_path in find_pairs(args.data):
        if args.cases and int(name) not in args.cases:
            continue
        image = read_volume(image_path, modality="MR")
        patient = Patient(segmenter, image, read_labels(labels_path, like=image))
        for count, scores in patient.chosen(args.most).items():
            found.setdefault(("chosen", count), []).extend(scores)
        for way in ("equal", "random"):
            for count in range(2, args.most + 1):
                found.setdefault((way, count), []).extend(patient.placed(way, count, rng))
        print(f"{name} done", file=sys.stderr)
    print("| marks | " + " | ".join(WAYS) + " |\n|---|" + "---|" * len(WAYS))
    for count in range(1, args.most + 1):
        cells = [
            f"{np.mean(v):.3f} (worst {min(v):.2f})" if (v := found.get((way, count))) else ""
            for way in WAYS
        ]
        print(f"| {count} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
