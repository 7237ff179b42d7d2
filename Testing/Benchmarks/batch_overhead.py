"""What a batch costs over the bare loop with everything loaded, and whether its memory grows:

    python Testing/Benchmarks/batch_overhead.py --studies 40

The bare loop segments volumes that are in memory, one after another, and writes nothing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "Testing" / "Unit")]

from small_studies import support_of  # noqa: E402

import FewShotSAMLib as fss  # noqa: E402
from FewShotSAMLib.data.writing import write_volume  # noqa: E402
from FewShotSAMLib.phantom.abdomen import abdomen  # noqa: E402


def write_patients(folder: Path, count: int) -> list[Path]:
    """Generated patients of a third of the usual resolution, and beside the folder the support."""
    size = {"shape": (8, 96, 96), "spacing": (3.4, 3.4, 25.0)}
    folder.mkdir()
    first = abdomen(**size)
    drawn = first.marked(first.marked_slice())
    fss.Support.from_labels(first.image, drawn).save(support_of(folder))
    paths = [folder / f"patient {number:02d}.nii.gz" for number in range(count)]
    for number, path in enumerate(paths):
        write_volume(abdomen(**size, seed=number + 1).image, path)
    return paths


def main() -> None:
    """Both ways, each twice and in turns, since other programs may run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=40)
    parser.add_argument("--turns", type=int, default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        inputs = Path(folder) / "in"
        paths = write_patients(inputs, args.studies)
        support = fss.Support.load(support_of(inputs))
        segmenter, process = fss.load_segmenter(), psutil.Process()
        volumes = [fss.read_volume(path) for path in paths]
        segmenter.segment(volumes[0], [support])
        for turn in range(args.turns):
            began, used = time.perf_counter(), sum(process.cpu_times()[:2])
            for volume in volumes:
                segmenter.segment(volume, [support])
            bare, bare_cpu = time.perf_counter() - began, sum(process.cpu_times()[:2]) - used
            began, used, memory = time.perf_counter(), sum(process.cpu_times()[:2]), []
            output = Path(folder) / f"out {turn}"
            for _ in fss.segment_many(inputs, support, output, segmenter=segmenter):
                memory.append(process.memory_info().rss / 2**20)
            whole, whole_cpu = time.perf_counter() - began, sum(process.cpu_times()[:2]) - used
            print(
                f"{args.studies} studies: bare loop {bare:.1f} s ({bare_cpu:.1f} s of CPU), batch "
                f"{whole:.1f} s ({whole_cpu:.1f} s), ratio {whole / bare:.2f} "
                f"({whole_cpu / bare_cpu:.2f}); memory {memory[0]:.0f} MiB after the first, "
                f"{memory[len(memory) // 2]:.0f} in the middle, {memory[-1]:.0f} at the end",
                flush=True,
            )


if __name__ == "__main__":
    main()
