"""Time per stage and peak memory of one generated CT, 512 x 512 x 300 by default.

    python Testing/Benchmarks/large_volume.py [--size 512] [--slices 300] [--strategy propagate]

Memory is this process's resident set, sampled every 20 ms, above what it was when the volume and
the networks were loaded. Needs psutil.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import FewShotSAMLib as fss  # noqa: E402

LIMIT_GIB = 4.0


def generated_ct(size: int, slices: int) -> tuple[np.ndarray, np.ndarray]:
    """int16 HU (slices, size, size) of a body with two organs, and their labels."""
    rng = np.random.default_rng(0)
    line = np.linspace(-1, 1, size, dtype=np.float32)
    y, x = line[:, None], line[None]
    voxels = np.empty((slices, size, size), np.int16)
    labels = np.zeros((slices, size, size), np.uint8)
    for k, z in enumerate(np.linspace(-1, 1, slices)):
        plane = np.full((size, size), -1000, np.float32)
        plane[(x / 0.85) ** 2 + (y / 0.65) ** 2 < 1] = -80
        plane[(x / 0.78) ** 2 + (y / 0.57) ** 2 < 1] = 20
        for label, cx, cy, r, hu in ((1, -0.35, 0.0, 0.36, 110), (2, 0.38, 0.22, 0.16, 170)):
            inside = ((x - cx - 0.05 * z) / r) ** 2 + ((y - cy) / r) ** 2 + (z / 0.6) ** 2 < 1
            plane[inside], labels[k][inside] = hu, label
        voxels[k] = plane + rng.normal(0, 12, plane.shape)
    return voxels, labels


class PeakMemory(threading.Thread):
    """Samples this process's resident memory until stopped."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.process = psutil.Process()
        self.start_bytes = self.peak = self.process.memory_info().rss
        self.stopped = threading.Event()

    def run(self) -> None:
        while not self.stopped.wait(0.02):
            self.peak = max(self.peak, self.process.memory_info().rss)

    def above_start(self) -> float:
        """GiB above the start."""
        self.stopped.set()
        self.join()
        return (self.peak - self.start_bytes) / 2**30


def main() -> int:
    """Measure, print, and fail above the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--strategy", default="propagate", choices=("slices", "propagate"))
    chosen = parser.parse_args()
    voxels, labels = generated_ct(chosen.size, chosen.slices)
    volume = fss.Volume(voxels, (0.8, 0.8, 1.5), modality="CT", name="generated CT")
    truth = volume.with_voxels(labels, modality="other")
    segmenter = fss.load_segmenter("embedded", device="cpu")
    memory = PeakMemory()
    memory.start()
    start = time.perf_counter()
    support = fss.Support.from_labels(volume, truth, axis="axial", slices="middle")
    result = segmenter.segment(volume, [support], strategy=chosen.strategy)
    seconds = time.perf_counter() - start
    above = memory.above_start()
    print(f"{chosen.size} x {chosen.size} x {chosen.slices}, {len(result.names)} structures, "
          f"{chosen.strategy}: {seconds:.1f} s, peak {above:.2f} GiB above the volume "
          f"({voxels.nbytes / 2**30:.2f} GiB) and the networks")
    for stage, spent in result.seconds.items():
        print(f"  {stage:12s} {spent:6.2f} s")
    for label in result.names:
        a, b = result.labels.voxels == label, labels == label
        print(f"  Dice of label {label}: {2 * (a & b).sum() / (a.sum() + b.sum()):.3f}")
    if above > LIMIT_GIB:
        print(f"above the limit of {LIMIT_GIB} GiB", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
