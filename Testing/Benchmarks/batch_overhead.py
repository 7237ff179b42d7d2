"""What a batch costs over the bare loop with everything loaded, and whether its memory grows:

    python Testing/Benchmarks/batch_overhead.py [--studies 40] [--data ../shared/data/abdomen_mr]

Without `--data` the studies are generated abdomens. With it they are the folder's patients in other
spacings and orientations, the first one's middle slices as the support, and the last two studies
are broken. The bare loop segments volumes in memory, one after another, and writes nothing. Take
more than ten: the last eight alignments are remembered, and the second loop would find them.

    python Testing/Benchmarks/batch_overhead.py --studies 12 --data ... --workers 1 2

compares the command with one and with two workers instead, each from a cold start.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil
import SimpleITK as sitk

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "Testing" / "Unit")]

from small_studies import batch_command, support_of  # noqa: E402

import FewShotSAMLib as fss  # noqa: E402
from FewShotSAMLib.data.writing import write_volume  # noqa: E402
from FewShotSAMLib.phantom.abdomen import abdomen  # noqa: E402
from FewShotSAMLib.segmentation.segmenter import Segmenter  # noqa: E402


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


def write_variations(data: Path, folder: Path, count: int) -> list[Path]:
    """Real patients in other orientations and spacings, and two files that are cut off; beside the
    folder the support. Returns those that can be read."""
    folder.mkdir()
    patients = sorted(data.glob("image_*.nii.gz"))
    first = fss.read_volume(patients[0], modality="MR")
    labels = fss.read_labels(data / patients[0].name.replace("image", "label"), like=first)
    fss.Support.from_labels(first, labels, axis="axial", slices="middle").save(support_of(folder))
    paths = [folder / f"patient {number:02d}.nii.gz" for number in range(count)]
    for number, path in enumerate(paths):
        image = sitk.ReadImage(str(patients[number % len(patients)]), sitk.sitkFloat32)
        sitk.WriteImage(_varied(image, number // len(patients)), str(path))
    for broken in paths[-2:]:
        broken.write_bytes(broken.read_bytes()[: broken.stat().st_size // 2])
    return paths[:-2]


def _varied(image: sitk.Image, variation: int) -> sitk.Image:
    """The same body, stored along other axes and in slightly other voxels."""
    turned = sitk.DICOMOrient(image, ("LAS", "RPS", "SAL", "PIR", "LSP")[variation % 5])
    factor = 1 + 0.1 * variation
    size = [max(round(n / factor), 8) for n in turned.GetSize()]
    spacing = [
        mm * n / m for mm, n, m in zip(turned.GetSpacing(), turned.GetSize(), size, strict=True)
    ]
    return sitk.Resample(
        turned, size, sitk.Transform(), sitk.sitkLinear, turned.GetOrigin(), spacing,
        turned.GetDirection(), 0.0, sitk.sitkFloat32,
    )


def _loaded(volume: fss.Volume, support: fss.Support) -> Segmenter:
    """Networks that have worked once; new ones each time, so that no encoded volume is kept."""
    segmenter = fss.load_segmenter()
    segmenter.segment(volume, [support])
    return segmenter


def _bare(
    segmenter: Segmenter, volumes: Iterable[fss.Volume], support: fss.Support
) -> Iterator[object]:
    for volume in volumes:
        yield segmenter.segment(volume, [support])


def _timed(results: Iterable[object]) -> tuple[float, float, list[float]]:
    """Seconds, seconds of CPU, and MiB in memory after each."""
    process, memory = psutil.Process(), []
    began, used = time.perf_counter(), sum(process.cpu_times()[:2])
    for _ in results:
        memory.append(process.memory_info().rss / 2**20)
    return time.perf_counter() - began, sum(process.cpu_times()[:2]) - used, memory


def _time_command(inputs: Path, output: Path, workers: int) -> None:
    """Run it with so many workers and print how long it took."""
    command = batch_command(inputs, "--support", support_of(inputs), "-o", output)
    began, used = time.perf_counter(), os.times()
    subprocess.run([*command, "--workers", str(workers)], cwd=ROOT, capture_output=True)
    took, now = time.perf_counter() - began, os.times()
    cpu = now.children_user + now.children_system - used.children_user - used.children_system
    done = len(list(output.glob("*.seg.nrrd")))
    said = f"{workers} worker(s): {took:.1f} s ({cpu:.1f} s of CPU), {done} studies done"
    print(said, flush=True)


def main() -> None:
    """Both ways, each twice and in turns, since other programs may run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=40)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--data", type=Path, help="folder of image_N and label_N, N = 1 ...")
    parser.add_argument("--workers", type=int, nargs="+", help="compare the command with so many")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        inputs = Path(folder) / "in"
        paths = (
            write_variations(args.data, inputs, args.studies) if args.data
            else write_patients(inputs, args.studies)
        )
        if args.workers:
            for turn in range(args.turns):
                for workers in args.workers:
                    _time_command(inputs, Path(folder) / f"out {turn} {workers}", workers)
            return
        support = fss.Support.load(support_of(inputs))
        volumes = [fss.read_volume(path) for path in paths]
        for turn in range(args.turns):
            bare, bare_cpu, _ = _timed(_bare(_loaded(volumes[0], support), volumes, support))
            segmenter, output = _loaded(volumes[0], support), Path(folder) / f"out {turn}"
            whole, whole_cpu, memory = _timed(
                fss.segment_many(inputs, support, output, segmenter=segmenter)
            )
            every = max(len(memory) // 8, 1)
            print(
                f"{args.studies} studies: bare loop {bare:.1f} s ({bare_cpu:.1f} s of CPU), batch "
                f"{whole:.1f} s ({whole_cpu:.1f} s), ratio {whole / bare:.2f} "
                f"({whole_cpu / bare_cpu:.2f}); MiB in memory after every {every} studies: "
                f"{' '.join(f'{one:.0f}' for one in memory[every - 1 :: every])}",
                flush=True,
            )


if __name__ == "__main__":
    main()
