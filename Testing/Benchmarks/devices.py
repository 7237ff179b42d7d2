"""Whether a card draws what the CPU draws, and how long its first and second call take.

    python Testing/Benchmarks/devices.py [--devices cpu cuda] [--turns 2]

Two generated patients of 36 slices with four organs, one middle slice of each organ marked in the
first: the same patient, the other one, FoB, and slices on their own. One line for each device: Dice
with the truth, seconds of each call (the first one prepares kernels), and from the second device on
the least Dice of its labels with the first device's. Exits with 1 where that is below 0.95 for what
was drawn in the same patient: other patients may be decided by the last digits.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from FewShotSAMLib.data.errors import InputError  # noqa: E402
from FewShotSAMLib.data.support import Support  # noqa: E402
from FewShotSAMLib.evaluation.metrics import dice  # noqa: E402
from FewShotSAMLib.phantom.abdomen import Phantom, abdomen  # noqa: E402
from FewShotSAMLib.segmentation.segmenter import load_segmenter  # noqa: E402

SIZE = {"shape": (36, 256, 256), "spacing": (1.5, 1.5, 5.5)}
ALIKE = 0.95
RUNS = {  # the method and the strategy of each
    "same patient": ("synpo", "propagate"),
    "other patient": ("synpo", "propagate"),
    "same patient, fob": ("fob", "propagate"),
    "same patient, slices": ("synpo", "slices"),
}


def measured(
    device: str, query: Phantom, support: Support, turns: int, method: str, strategy: str
) -> tuple[np.ndarray, list[float]]:
    """Labels (k, j, i) of the last call, and the seconds of each."""
    segmenter, seconds = load_segmenter(device=device, method=method), []
    for _ in range(turns):
        begun = time.perf_counter()
        result = segmenter.segment(query.image, [support], strategy=strategy)
        seconds.append(time.perf_counter() - begun)
    return result.labels.voxels, seconds


def agreement(one: np.ndarray, other: np.ndarray, labels: list[int]) -> float:
    """The least Dice of two devices' labels; 1 where both are empty."""
    return min(
        dice(one == label, other == label) if ((one == label) | (other == label)).any() else 1.0
        for label in labels
    )


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--devices", nargs="+", default=["cpu", "cuda"])
    parser.add_argument("--turns", type=int, default=2, help="calls of each run (default: 2)")
    parser.add_argument("--size", type=int, nargs=3, default=SIZE["shape"], metavar=("K", "J", "I"))
    chosen = parser.parse_args()
    extent = np.multiply(SIZE["shape"], SIZE["spacing"][::-1])
    size = {
        "shape": tuple(chosen.size), "spacing": tuple((extent / chosen.size)[::-1].tolist()),
    }
    marked, other = abdomen(**size), abdomen(**size, seed=5)
    support = Support.from_labels(marked.image, marked.truth, axis="axial", slices="middle")
    apart = False
    for name, (method, strategy) in RUNS.items():
        query, first = other if name == "other patient" else marked, None
        for device in chosen.devices:
            try:
                found, seconds = measured(
                    device, query, support, max(chosen.turns, 1), method, strategy
                )
            except InputError as problem:
                print(f"devices: error: {problem}", file=sys.stderr)
                return 2
            truth = np.mean([
                dice(found == label, query.truth.voxels == label) for label in support.names
            ])
            line = f"{name}, {device}: Dice {truth:.3f}, seconds " + " ".join(
                f"{one:.2f}" for one in seconds
            )
            if first is None:
                first = found
            else:
                alike = agreement(first, found, list(support.names))
                line += f", {alike:.3f} alike with {chosen.devices[0]}"
                apart |= alike < ALIKE and query is marked
            print(line, flush=True)
    return int(apart)


if __name__ == "__main__":
    sys.exit(main())
