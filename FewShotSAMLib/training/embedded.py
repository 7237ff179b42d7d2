"""Training the embedded model: python -m FewShotSAMLib.training.embedded --minutes 60.

Everything is generated on the training device. The schedule goes by the clock, or by steps:
pictures of 128 pixels first, then 192, then 256 (sooner where it goes on from weights that have
learnt already), one cosine of the learning rate over the whole run. A run can be stopped and
resumed; what is shipped is the moving average of the weights.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from ..data.errors import InputError
from ..models.devices import choose_device
from ..models.embedded import WEIGHTS, read_network, save_network
from ..models.embedded_network import EmbeddedConfig, EmbeddedNetwork
from ..models.precision import autocast, choose_precision
from .episodes import random_episodes
from .losses import Losses, losses
from .option_values import positive
from .run_file import read_run, save_run
from .run_log import Clock, append_row, keep_rows, print_row
from .trained_file import write_trained
from .validation import CHECKED, TARGETS, validate


@dataclass(frozen=True)
class Stage:
    """A part of the schedule: up to `until` of the run, pictures of `size`, `pairs` a step."""

    until: float
    size: int
    pairs: int


STAGES = (Stage(0.4, 128, 12), Stage(0.7, 192, 6), Stage(1.0, 256, 4))
FROM_WEIGHTS = (Stage(0.25, 128, 12), Stage(0.4, 192, 6), Stage(1.0, 256, 4))


PEAK_RATE = 1.5e-3


class Training:
    """A run: network, its moving average, optimiser, and the time spent so far.

    Args:
        device: where it computes.
        seed: of first weights and generated images.
        config: widths of a network that starts with random weights.
        start: a network that has learnt already, in place of that.
        peak_rate: largest learning rate.
        times: so many times the schedule's pairs make a step; what keeps a card busy.
    """

    def __init__(
        self, device: str, seed: int, config: EmbeddedConfig | None = None, *,
        start: EmbeddedNetwork | None = None, peak_rate: float = PEAK_RATE, times: int = 1,
    ) -> None:
        torch.manual_seed(seed)
        self.device, self.seed, self.peak_rate, self.times = device, seed, peak_rate, times
        self.stages = FROM_WEIGHTS if start else STAGES
        self.dtype = choose_precision(torch.device(device), training=True)
        network = start or EmbeddedNetwork(config)
        self.network = network.to(device, memory_format=torch.channels_last)
        self.average = EmbeddedNetwork(self.network.config).to(device).requires_grad_(False)
        self.average.load_state_dict(self.network.state_dict())
        decay = [p for p in self.network.parameters() if p.dim() > 1]
        plain = [p for p in self.network.parameters() if p.dim() <= 1]
        self.optimiser = torch.optim.AdamW(
            [{"params": decay, "weight_decay": 0.02}, {"params": plain, "weight_decay": 0.0}],
            lr=PEAK_RATE, betas=(0.9, 0.98),
        )
        self.step, self.seconds = 0, 0.0
        self.whole = True  # not while a step changes the weights

    def one_step(self, stage: Stage, rate: float) -> Losses:
        """Generates, learns, and moves the average."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        generator = torch.Generator(self.device).manual_seed(self.seed * 1_000_003 + self.step)
        e = random_episodes(stage.pairs * self.times, TARGETS, stage.size, generator, self.device)
        with autocast(torch.device(self.device), self.dtype):
            parts = losses(self.network, e, generator)
        self.optimiser.zero_grad(set_to_none=True)
        parts.total.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.whole = False
        self.optimiser.step()
        self.step += 1
        keep = min(0.998, self.step / (self.step + 50))
        with torch.no_grad():
            get_ema_multi_avg_fn(keep)(
                list(self.average.parameters()), list(self.network.parameters()), self.step
            )
        self.whole = True
        return parts

    def save(self, path: Path) -> None:
        """The whole run, written whole or not at all."""
        save_run({
            "network": self.network.state_dict(), "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(), "step": self.step,
            "seconds": self.seconds, "seed": self.seed, "config": asdict(self.network.config),
        }, path)

    def resume(self, path: Path) -> None:
        """Goes on from a saved run.

        Raises:
            InputError: not such a run, or one of another network.
        """
        saved = read_run(
            path, self.device, ("network", "average", "optimiser", "step", "seconds", "seed")
        )
        try:
            self.network.load_state_dict(saved["network"])
        except RuntimeError as problem:
            reason = str(problem).strip().splitlines()[0]
            raise InputError(
                f"{path}: not a run that can be resumed ({reason}); choose another --folder"
            ) from None
        self.average.load_state_dict(saved["average"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.step, self.seconds, self.seed = saved["step"], saved["seconds"], saved["seed"]


def schedule(
    share: float, step: int, stages: Sequence[Stage] = STAGES
) -> tuple[Stage, float]:
    """The stage, and the learning rate as a part of the largest, at this share of the run."""
    stage = next(s for s in stages if share <= s.until or s is stages[-1])
    warm = min(1.0, (step + 1) / 200)
    cosine = 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))
    return stage, warm * max(cosine, 0.01)


@dataclass(frozen=True)
class Length:
    """How long a run is in all, earlier parts counted: whichever ends it first."""

    minutes: float = math.inf
    steps: float = math.inf

    def share(self, run: Training) -> float:
        """How much of it is done; 1 or more at its end."""
        return max(run.seconds / (self.minutes * 60), run.step / self.steps)


def train(
    length: Length,
    device: str,
    seed: int,
    folder: Path,
    *,
    validate_every: float = 300.0,
    checked: int = CHECKED,
    start: Path | None = None,
    peak_rate: float = PEAK_RATE,
    times: int = 1,
) -> Training:
    """Trains for `length` (earlier runs in `folder` counted), logging to CSV.

    The run is saved at every validation, and when it is interrupted between two changes of the
    weights; amidst one, what was saved before stays.

    Args:
        validate_every: seconds between validations; there is one at the end.
        checked: generated pairs of a validation.
        start: weights to go on from, in a run that begins.
        peak_rate: largest learning rate.
        times: so many times the schedule's pairs make a step.

    Raises:
        InputError: a file to go on from cannot be used.
    """
    folder.mkdir(parents=True, exist_ok=True)
    network = read_network(start) if start else None
    run = Training(device, seed, start=network, peak_rate=peak_rate, times=times)
    state = folder / "run.pt"
    if state.exists():
        run.resume(state)
        print(f"going on from step {run.step}, {run.seconds / 60:.1f} min", file=sys.stderr)
    keep_rows(folder / "log.csv", run.step)
    try:
        for stage, means in _means_between_checks(run, length, Clock(run, validate_every)):
            dice = validate(run.average, stage.size, device, checked)
            _log(folder / "log.csv", run, stage, means, dice)
            run.save(state)
    finally:
        if run.whole:
            run.save(state)
    return run


def _means_between_checks(
    run: Training, length: Length, clock: Clock
) -> Iterator[tuple[Stage, list[float]]]:
    """Trains to the end; whenever a check is due, the stage and the mean losses since the last
    one."""
    sums: list[Tensor] = []
    while (share := length.share(run)) < 1:
        stage, rate = schedule(share, run.step, run.stages)
        parts = run.one_step(stage, rate * run.peak_rate)
        sums.append(torch.stack([
            x.detach() for x in (parts.contrast, parts.synergy, parts.mask, parts.quality)
        ]))
        clock.tick()
        if clock.due or length.share(run) >= 1:
            yield stage, torch.stack(sums).mean(0).tolist()
            sums = []
            clock.restart()


def _log(
    path: Path, run: Training, stage: Stage, means: list[float], dice: dict[str, float]
) -> None:
    row = {"step": run.step, "minutes": round(run.seconds / 60, 2), "size": stage.size}
    row |= dict(zip(("contrast", "synergy", "mask", "quality"),
                    (round(m, 4) for m in means), strict=True))
    row |= {f"dice_{k}": round(v, 4) for k, v in dice.items()}
    append_row(path, row)
    print_row(row)


def export(run: Training, path: Path, *, checked: int = CHECKED, **known: str) -> None:
    """The averaged weights of a run, with what they were made from."""
    write_measured(run.average, path, run.device, known | _provenance(run), checked=checked)


def write_measured(
    network: EmbeddedNetwork, path: Path, device: str, known: Mapping[str, object], *,
    checked: int = CHECKED,
) -> None:
    """Weights as safetensors, and their provenance as JSON beside them: what is known, and their
    Dice on generated pictures."""
    dice = validate(network, STAGES[-1].size, device, checked)
    provenance = {
        **known,
        "dice_on_generated_images": {name: round(value, 3) for name, value in dice.items()},
        "licence": "Apache-2.0",
    }
    said = {"provenance": json.dumps(provenance)}
    write_trained(path, lambda file: save_network(network, file, said), provenance)


def _provenance(run: Training) -> dict[str, object]:
    hardware = platform.processor() or platform.machine()
    if run.device == "cuda":
        hardware = torch.cuda.get_device_name()
    return {
        "training_data": "generated images only",
        "seed": run.seed,
        "steps": run.step,
        "hours": round(run.seconds / 3600, 2),
        "hardware": f"{hardware}, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "precision": str(run.dtype).removeprefix("torch."),
    }


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = _parser()
    options = parser.parse_args(arguments)
    asked = {n: getattr(options, n) for n in ("minutes", "steps") if getattr(options, n)}
    if not asked:
        parser.error("how long? give --minutes, --steps or both")
    try:
        device = choose_device(options.device).device.type
        run = train(
            Length(**asked), device, options.seed, options.folder, checked=options.checked,
            validate_every=options.check_every, start=options.start, peak_rate=options.rate,
            times=options.times,
        )
    except InputError as problem:
        print(f"training: error: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"training: cancelled; the run is kept in {options.folder} and the same command goes "
              "on with it", file=sys.stderr)
        return 130
    command = _command(asked, run, options.start)
    export(run, options.folder / WEIGHTS, checked=options.checked, command=command,
           commit=options.commit)
    return 0


def _command(asked: dict[str, float], run: Training, start: Path | None) -> str:
    return " ".join([
        "python -m FewShotSAMLib.training.embedded",
        *(f"--{name} {value:g}" for name, value in asked.items()),
        f"--device {run.device} --seed {run.seed}",
        *([f"--start {start.name} --rate {run.peak_rate:g}"] if start else []),
        *([f"--times {run.times}"] if run.times > 1 else []),
    ])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=positive(float), help="time to train, in all")
    parser.add_argument("--steps", type=positive(int),
                        help="end after so many, in all, if that comes first")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, metavar="FILE",
                        help="weights to go on from (default: random ones)")
    parser.add_argument("--rate", type=positive(float), default=PEAK_RATE,
                        help=f"largest learning rate (default: {PEAK_RATE:g})")
    parser.add_argument("--times", type=positive(int), default=1,
                        help="so many times the schedule's pairs make a step, as a card can take "
                             "(default: 1)")
    parser.add_argument("--folder", type=Path, default=Path("training-embedded"),
                        help="where the run is kept; an unfinished one there is resumed")
    parser.add_argument("--checked", type=positive(int), default=CHECKED,
                        help=f"generated pairs that a validation measures by (default: {CHECKED})")
    parser.add_argument("--check-every", type=positive(float), default=300.0, metavar="SECONDS",
                        help="how often it is validated, logged and saved (default: 300)")
    parser.add_argument("--commit", default="", help="the sources' commit, for the provenance")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
