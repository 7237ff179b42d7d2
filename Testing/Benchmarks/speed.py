"""How long things take, as ratios of one run: what a change made slower shows on any machine.

    python Testing/Benchmarks/speed.py [--save FILE.json] [--compare Testing/Benchmarks/speed.json]

A generated abdomen (36 slices of 256 x 256, 4 structures), the embedded model, one marked slice of
each structure. One table:

  run / networks        strategy "propagate" over the encoder's bare forwards on the same slices
  stage ... / networks  each stage of that run; what is below a hundredth is left out
  slices / networks     strategy "slices", as `pipeline_overhead.py` measures it, 1 and 4 organs
  cost                  runs with more slices, structures, pixels, over the first run
  memory                highest of a process that segments, over what it had with all loaded

Everything is measured in turns, one beside the other. On a CPU the processor's seconds count, which
other programs disturb least; every picture is encoded anew. `--compare` says what is slower than
the file's, beyond the noise of both, and exits with 1 then. About 5 minutes on 2 cores.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from large_volume import PeakMemory
from overhead import Forward, Measured, bare, fresh, measure, turns
from scipy import ndimage
from speed_table import Ratio, Rows, lines, read, save, slower

from FewShotSAMLib.data.support import Support
from FewShotSAMLib.data.volume import Volume
from FewShotSAMLib.phantom.abdomen import SEGMENTS, abdomen
from FewShotSAMLib.segmentation.encoding import Encoders
from FewShotSAMLib.segmentation.results import VolumeResult
from FewShotSAMLib.segmentation.segmenter import load_segmenter

EXTENT_MM = (200.0, 320.0)  # of the abdomen, along the slices and across
ALONE = 8  # slices of the runs with "slices"


@dataclass(frozen=True)
class Case:
    """A volume: its slices, their pixels a side, and how many structures are marked."""

    slices: int
    structures: int
    size: int


Volumes = dict[Case, tuple[Volume, Volume]]  # image and truth, the usual case first


def volumes(cases: Sequence[Case]) -> Volumes:
    """One abdomen, drawn at the first case's size and resampled to the others'."""
    first, (depth, side) = cases[0], EXTENT_MM
    shape = (first.slices, first.size, first.size)
    spacing = (side / first.size, side / first.size, depth / first.slices)
    drawn = abdomen(shape, spacing)
    made = {}
    for case in cases:
        wanted = np.array([case.slices, case.size, case.size])
        same = {"zoom": wanted / shape, "grid_mode": True, "mode": "nearest"}
        grid = {"spacing": tuple(np.array(spacing) * shape[::-1] / wanted[::-1])}
        image = ndimage.zoom(drawn.image.voxels, order=1, **same)
        truth = divided(ndimage.zoom(drawn.truth.voxels, order=0, **same), case.structures)
        made[case] = (
            replace(drawn.image, voxels=image, **grid),
            replace(drawn.truth, voxels=truth, segments={}, **grid),
        )
    return made


def divided(organs: np.ndarray, structures: int) -> np.ndarray:
    """Labels (k, j, i) of so many structures: some of the organs, or each cut into sectors."""
    if structures <= len(SEGMENTS):
        return np.where(organs <= structures, organs, 0)
    parts = structures // len(SEGMENTS)
    labels = np.zeros_like(organs)
    for n, organ in enumerate(SEGMENTS):
        places = np.nonzero(organs == organ)
        _, y, x = (each - each.mean() for each in places)
        sector = ((np.arctan2(y, x) / (2 * np.pi) + 0.5) * parts).astype(int) % parts
        labels[places] = n * parts + sector + 1
    return labels


def run(encoders: Encoders, image: Volume, truth: Volume) -> VolumeResult:
    """The whole volume from the middle slice of each structure, nothing known from before."""
    support = Support.from_labels(image, truth, axis="axial", slices="middle")
    return fresh(encoders).segment(image, [support])


@dataclass(frozen=True)
class Bench:
    """Networks on a device, and the clock that counts there."""

    encoders: Encoders

    @property
    def device(self) -> torch.device:
        return self.encoders.device

    def forwards(self, slices: int) -> list[Forward]:
        """The encoder and as many random pictures."""
        model = self.encoders.model
        pixels = torch.rand(slices, 1, model.input_size, model.input_size, device=self.device)
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        return [(model.network.encoder, pixels, model)]

    def clock(self, measured: Measured) -> float:
        """Seconds."""
        return measured.processor if self.device.type == "cpu" else measured.seconds

    def timed(self, image: Volume, truth: Volume) -> tuple[float, dict[str, float]]:
        """Seconds of a run, and of its stages."""
        results: list[VolumeResult] = []
        one = measure(lambda: results.append(run(self.encoders, image, truth)), self.device)
        share = self.clock(one) / one.seconds
        return self.clock(one), {name: s * share for name, s in results[0].seconds.items()}

    def costs(self, made: Volumes, repeats: int) -> Rows:
        """The first case over the networks, stage by stage, and the others over the first."""
        first, *others = made
        run(self.encoders, *made[first])  # what happens once in a program
        forwards = self.forwards(first.slices)
        networks: list[float] = []
        seconds: dict[Case, list[float]] = {case: [] for case in made}
        stages: list[dict[str, float]] = []
        for _ in range(repeats):
            alone = measure(lambda: bare(forwards, self.device), self.device)
            networks.append(self.clock(alone))
            for case, both in made.items():
                whole, parts = self.timed(*both)
                seconds[case].append(whole)
                if case == first:
                    stages.append(parts)
        rows = {"run / networks": Ratio.of(seconds[first], networks)}
        for stage in stages[0]:
            row = Ratio.of([one[stage] for one in stages], networks)
            if row.value >= 0.01:
                rows[f"stage {stage} / networks"] = row
        return rows | {
            f"cost of {difference(case, first)}": Ratio.of(seconds[case], seconds[first])
            for case in others
        }

    def alone(self, slices: int, organs: int, repeats: int) -> Ratio:
        """The pipeline over its networks, slice by slice (see `overhead.turns`)."""
        both = turns(self.encoders, self.forwards(slices), slices, organs, repeats)
        networks, pipeline = ([self.clock(one) for one in each] for each in zip(*both, strict=True))
        return Ratio.of(pipeline, networks)


def difference(case: Case, first: Case) -> str:
    """What sets a case apart from the first, such as "slices 300 / 36"."""
    usual = asdict(first)
    return ", ".join(
        f"{name} {value} / {usual[name]}" for name, value in asdict(case).items()
        if value != usual[name]
    )


def memory(made: Volumes, device: str) -> Rows:
    """Of processes for the first case, and for the largest of each kind."""
    first, *others = made
    largest = {difference(case, first).split()[0]: case for case in others}
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for case in (first, *largest.values()):
            image, truth = made[case]
            path = Path(folder, "case.npz")
            np.savez(path, image=image.voxels, truth=truth.voxels, spacing=image.spacing)
            peaks = in_children(path, device)
            name = difference(case, first) or "of the run"
            rows[f"memory, {name}"] = Ratio.of(peaks, [1.0] * len(peaks))
    return rows


def in_children(path: Path, device: str) -> list[float]:
    """Highest memory of two processes that segment a case, over what they have before."""
    command = [sys.executable, __file__, "--child", str(path), "--device", device,
               "--threads", str(torch.get_num_threads())]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8") for _ in range(2)]
    said = [process.communicate()[0] for process in both]
    if any(process.returncode for process in both):
        raise RuntimeError(f"{' '.join(command)}: failed")
    return [float(one) for one in said]


def child(path: Path, device: str) -> float:
    """The same, in that process."""
    with np.load(path) as kept:
        spacing = tuple(kept["spacing"].tolist())
        image = Volume(kept["image"], spacing, modality="MR", name="generated abdomen")
        truth = Volume(kept["truth"], spacing, name="truth")
    encoders = load_segmenter(device=device).encoders
    watched = PeakMemory()
    watched.start()
    run(encoders, image, truth)
    watched.above_start()
    return watched.peak / watched.start_bytes


def chosen_cases(options: argparse.Namespace) -> list[Case]:
    """The usual case first, then each that differs from it in one thing, small to large."""
    kinds = options.slices, options.structures, options.sizes
    usual = [options.slices[0], options.structures[0], options.sizes[0]]
    others = [
        Case(*(value if n == kind else usual[n] for n in range(3)))
        for kind in range(3) for value in sorted(kinds[kind][1:])
    ]
    return [Case(*usual), *others]


def measured(options: argparse.Namespace) -> Rows:
    """All rows."""
    bench = Bench(load_segmenter(device=options.device).encoders)
    made = volumes(chosen_cases(options))
    slices = min(ALONE, options.slices[0])
    alone = {
        f"slices / networks, {organs} organs": bench.alone(slices, organs, options.turns)
        for organs in (1, 4)
    }
    costs = bench.costs(made, options.turns)
    return {**costs, **alone, **memory(made, options.device)}


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """The first of several sizes is the usual one."""
    parser = argparse.ArgumentParser(description="Ratios of times and memory, kept and compared.")
    parser.add_argument("--slices", type=int, nargs="+", default=[36, 100, 300])
    parser.add_argument("--structures", type=int, nargs="+", default=[4, 1, 16])
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--turns", type=int, default=2, help="of everything; the least counts")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--save", type=Path, metavar="FILE.json")
    parser.add_argument("--compare", type=Path, metavar="FILE.json")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(given)


def setting_of(options: argparse.Namespace) -> dict[str, object]:
    """What ratios have to have in common to be compared."""
    return {key: getattr(options, key) for key in ("slices", "structures", "sizes", "threads")}


def main(given: Sequence[str] | None = None) -> int:
    """Measure, print, keep; 1 where something became slower, 2 where nothing can be compared."""
    options = arguments(given)
    torch.set_num_threads(options.threads)
    if options.child:
        print(child(options.child, options.device))
        return 0
    setting = setting_of(options)
    try:
        before = read(options.compare, setting) if options.compare else None
    except (OSError, ValueError, KeyError, TypeError) as problem:
        print(f"nothing to compare with: {problem}", file=sys.stderr)
        return 2
    rows = measured(options)
    print("\n".join(lines(rows, before)))
    if options.save:
        save(options.save, setting, rows)
    worse = slower(rows, before) if before else []
    if worse:
        print(f"slower than {options.compare}: {'; '.join(worse)}", file=sys.stderr)
    return 1 if worse else 0


if __name__ == "__main__":
    raise SystemExit(main())
