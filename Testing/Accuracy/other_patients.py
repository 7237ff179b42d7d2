"""Every patient as support for all others, whole volume: mean, lost, worst, and what was said.

    python Testing/Accuracy/other_patients.py [--data ../shared/data] [--set abdomen_mr|hippocampus]
        [--cases N ...] [--slices middle|thirds] [--axis axial] [--from-ct]

With --from-ct the marked patient is the CT, as support 0, and the others are the MR.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from FewShotSAMLib.data.label_reading import read_labels  # noqa: E402
from FewShotSAMLib.data.reading import read_volume  # noqa: E402
from FewShotSAMLib.data.support import Support  # noqa: E402
from FewShotSAMLib.evaluation.metrics import dice  # noqa: E402
from FewShotSAMLib.segmentation.segmenter import load_segmenter  # noqa: E402

LOST = 0.3


@dataclass(frozen=True)
class Outcome:
    """One structure of one pair."""

    support: int  # the first one of several
    query: int
    label: int
    dice: float
    confidence: float
    state: str


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--set", choices=("abdomen_mr", "hippocampus"), default="abdomen_mr")
    parser.add_argument("--cases", type=int, nargs="+")
    parser.add_argument("--slices", default="middle")
    parser.add_argument("--axis", default="axial")
    parser.add_argument("--from-ct", action="store_true")
    parser.add_argument("--together", type=int, default=1, metavar="N",
                        help="each patient once, with the N that follow as supports")
    chosen = parser.parse_args()
    folder = chosen.data / chosen.set
    numbers = chosen.cases or sorted(
        int(p.name.split("_")[1].split(".")[0]) for p in folder.glob("image_*.nii.gz")
    )
    images = {n: read_volume(folder / f"image_{n}.nii.gz", modality="MR") for n in numbers}
    truths = {n: read_labels(folder / f"label_{n}.nii.gz", like=images[n]) for n in numbers}
    supports = {
        n: Support.from_labels(images[n], truths[n], axis=chosen.axis, slices=chosen.slices)
        for n in numbers
    }
    pairs = list(permutations(numbers, 2))
    if chosen.from_ct:
        ct = read_volume(chosen.data / "abdomen_ct" / "ct.nii.gz", modality="CT")
        drawn = read_labels(chosen.data / "abdomen_ct" / "label.nii.gz", like=ct)
        supports[0] = Support.from_labels(
            ct, drawn, axis=chosen.axis, slices=chosen.slices, keep_labels=(1, 2, 3, 4)
        )
        pairs = [(0, number) for number in numbers]
    given = {one: [supports[one]] for one, _ in pairs}
    if chosen.together > 1:
        around = numbers * 2
        follow = {n: around[k + 1 : k + 1 + chosen.together] for k, n in enumerate(numbers)}
        pairs = [(follow[n][0], n) for n in numbers]
        given = {follow[n][0]: [supports[one] for one in follow[n]] for n in numbers}
    segmenter, outcomes, seconds = load_segmenter(device="cpu"), [], []
    for one, other in pairs:
        start = time.perf_counter()
        result = segmenter.segment(images[other], given[one])
        seconds.append(time.perf_counter() - start)
        for judged in result.structures:
            label, truth = judged.label, truths[other].voxels
            overlap = dice(result.labels.voxels == label, truth == label)
            outcomes.append(Outcome(one, other, label, overlap, judged.confidence, judged.state))
        here = [o for o in outcomes if (o.support, o.query) == (one, other)]
        print(one, other, " ".join(f"{o.dice:.2f}{o.state[0]}" for o in here), flush=True)
    _print_table(outcomes, seconds)


def _print_table(outcomes: list[Outcome], seconds: list[float]) -> None:
    values = np.array([o.dice for o in outcomes])
    lost = [o for o in outcomes if o.dice < LOST]
    said = [o for o in lost if o.state != "found"]
    good = [o for o in outcomes if o.dice >= LOST]
    unsure = sum(o.state != "found" for o in good)
    for label in sorted({o.label for o in outcomes}):
        own = [o.dice for o in outcomes if o.label == label]
        print(f"label {label}: mean {np.mean(own):.3f}, worst {min(own):.2f}")
    for support in sorted({o.support for o in outcomes}):
        own = [o.dice for o in outcomes if o.support == support]
        print(f"support {support}: mean {np.mean(own):.3f}")
    print(
        f"mean {values.mean():.3f}; below {LOST}: {len(lost)} of {len(values)}, of these said "
        f"to be doubtful or not found {len(said)}; of the others said so {unsure}; "
        f"{np.mean(seconds):.1f} s a volume"
    )


if __name__ == "__main__":
    main()
