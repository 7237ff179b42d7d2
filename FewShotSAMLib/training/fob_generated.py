"""The small FoB on generated pictures: python -m FewShotSAMLib.training.fob_generated --minutes 60.

Its episodes are the embedded model's: half two slices of one generated patient, half two patients.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from ..data.errors import InputError
from ..models.devices import choose_device
from ..models.embedded import load_embedded
from ..models.fob import embedded_config
from .episodes import random_episodes
from .fob import FobTraining, embedded_schedule, train
from .fob_export import export_trained
from .fob_losses import FobBatch
from .fob_start import start_from
from .option_values import positive
from .run_log import print_row

FILE = "fob-embedded.safetensors"
PAIRS, TARGETS, SIDE = 2, 3, 256
LEAST = 12  # pixels of a structure that is asked for


class GeneratedEpisodes:
    """Freshly generated pairs for every step."""

    def __init__(self, seed: int, device: torch.device, pairs: int = PAIRS) -> None:
        self.seed, self.device, self.pairs = seed, device, pairs

    def batch(self, step: int) -> FobBatch:
        """Of a step, to learn from."""
        return self._batch(self.seed * 1_000_003 + step, self.pairs)

    def held_out(self) -> list[FobBatch]:
        """Three that no step makes, to measure by."""
        return [self._batch(900_000_000 + index, 8) for index in range(3)]

    def _batch(self, seed: int, pairs: int) -> FobBatch:
        generator = torch.Generator(self.device).manual_seed(seed)
        e = random_episodes(pairs, TARGETS, SIDE, generator, self.device)
        masks = [m.flatten(0, 1) for m in (e.support_masks, e.query_masks)]
        seen = (masks[0].sum((1, 2)) >= LEAST) & (masks[1].sum((1, 2)) >= LEAST)
        picture = torch.arange(pairs, device=self.device).repeat_interleave(TARGETS)
        return FobBatch(e.support, e.query, picture[seen], masks[0][seen], masks[1][seen])


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    options = _parser().parse_args(arguments)
    try:
        run, row = _train(options)
    except InputError as problem:
        print(f"training: error: {problem}", file=sys.stderr)
        return 2
    command = (
        f"python -m FewShotSAMLib.training.fob_generated --minutes {options.minutes:g} "
        f"--steps {options.steps} --rate {options.rate:g} --device {run.device.type} "
        f"--seed {run.seed}"
        + (f" --start {options.start.name}" if options.start else "")
    )
    export_trained(run, options.folder / FILE, row, {
        "command": command, "commit": options.commit,
        "training_data": "generated images only", "licence": "Apache-2.0",
    }, error="error_on_generated_images")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=positive(float), required=True,
                        help="time to train, in all")
    parser.add_argument("--steps", type=positive(int), default=3000,
                        help="steps of the learning rate's schedule, which ends at 1/64")
    parser.add_argument("--rate", type=positive(float), default=1.5e-3)
    parser.add_argument("--start", type=Path, metavar="FILE",
                        help="a FoB to go on from (default: random weights)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("training-fob-embedded"),
                        help="where the run is kept; an unfinished one there is resumed")
    parser.add_argument("--commit", default="", help="the sources' commit, for the provenance")
    return parser


def _train(options: argparse.Namespace) -> tuple[FobTraining, dict[str, float]]:
    """The run and the last row of its log."""
    device = choose_device(options.device).device
    backbone, _ = load_embedded(device)
    schedule = embedded_schedule(options.steps, options.rate)
    run = FobTraining(
        embedded_config(backbone.network.config), device.type, options.seed, schedule, backbone
    )
    if options.start:
        print(f"{start_from(run.network, options.start)} taken from {options.start}",
              file=sys.stderr)
    source = GeneratedEpisodes(options.seed, device)
    return run, train(run, source, options.folder, minutes=options.minutes, tell=print_row)


if __name__ == "__main__":
    raise SystemExit(main())
