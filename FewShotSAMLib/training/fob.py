"""A run of FoB's training: its state, its steps, its log (methods, section 2, training).

Where the episodes come from is the caller's: supervoxels of unlabelled volumes (`fob_volumes`) or
generated pictures (`fob_generated`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..data.errors import InputError
from ..models.embedded import EmbeddedModel
from ..models.fob import pyramid_maps
from ..models.fob_network import FobConfig, FobNetwork
from ..models.precision import autocast, choose_precision
from ..prompting.fob import Fob
from .fob_losses import FobBatch, FobLosses, answers, fob_losses, prompt_error, usable
from .run_file import read_run, save_run
from .run_log import Clock, append_row, keep_rows

LOSSES = ("heat", "fit", "points", "contrast", "coarse", "place")


@dataclass(frozen=True)
class FobSchedule:
    """Steps, learning rate and losses; the defaults are the published code's.

    Attributes:
        steps: of the whole run.
        rate, factor, every: Adam at rate * factor ** (step // every).
        place_weight: of the loss that the paper does not have, see `FobLosses`.
        clip: largest norm of a step's gradient, or None: the maps' losses, a thousandfold, are
            steep at first, and Adam with its long memory then hardly moves for a thousand steps.
        memory: Adam's of squared gradients (beta 2).
    """

    steps: int = 39_000
    rate: float = 1e-4
    factor: float = 0.98
    every: int = 3000
    place_weight: float = 0.0
    clip: float | None = None
    memory: float = 0.999

    def at(self, step: int) -> float:
        """The learning rate of a step."""
        return self.rate * self.factor ** (step // self.every)


def embedded_schedule(steps: int, rate: float = 1.5e-3) -> FobSchedule:
    """For the small network: the rate ends at 1/64 of where it starts."""
    return FobSchedule(
        steps, rate, 0.5, max(1, steps // 7), place_weight=0.3, clip=1.0, memory=0.98
    )


class EpisodeSource(Protocol):
    """Makes the batch of a step; the same step always makes the same batch."""

    def batch(self, step: int) -> FobBatch:
        """To learn from."""
        ...

    def held_out(self) -> list[FobBatch]:
        """To measure by."""
        ...


class FobTraining:
    """Network, optimiser and the steps done so far.

    Args:
        config: sizes and variants.
        device: "cpu", "cuda", ...
        seed: of the initial weights.
        schedule: of the learning rate.
        backbone: the embedded model, for networks that read its features; it is not trained.
    """

    def __init__(
        self,
        config: FobConfig,
        device: str,
        seed: int,
        schedule: FobSchedule,
        backbone: EmbeddedModel | None = None,
    ) -> None:
        torch.manual_seed(seed)
        self.device, self.seed, self.schedule = torch.device(device), seed, schedule
        self.backbone = backbone
        # The published network is trained in float32.
        self.dtype = choose_precision(
            self.device, "fp32" if backbone is None else "auto", training=True
        )
        self.network = FobNetwork(config).to(self.device)
        self.network.encoder.to(memory_format=torch.channels_last)
        self.fob = Fob(self.network)
        self.optimiser = torch.optim.Adam(
            self.network.parameters(), lr=schedule.rate, betas=(0.9, schedule.memory)
        )
        self.step, self.seconds = 0, 0.0
        self.whole = True  # not while a step changes the weights

    def _encoded(self, images: Tensor) -> tuple[Tensor, Tensor]:
        if self.backbone is not None:
            with torch.no_grad(), autocast(self.device, self.dtype):
                grey = images.mean(1, keepdim=True).contiguous(memory_format=torch.channels_last)
                images = pyramid_maps(self.backbone.network.encoder(grey))
        with autocast(self.device, self.dtype):
            return self.network.encoder(images.contiguous(memory_format=torch.channels_last))

    def forward(self, batch: FobBatch) -> tuple:
        """Answers and supports on a batch."""
        pairs = len(batch.support)
        features, threshold = self._encoded(torch.cat([batch.support, batch.query]))
        features = features.float()
        with autocast(self.device, self.dtype):
            return answers(
                self.fob, (features[:pairs], features[pairs:]), threshold[pairs:].float(), batch
            )

    def one_step(self, batch: FobBatch) -> FobLosses | None:
        """Learns from a batch; None where nothing of it is marked on both sides."""
        batch = _only(batch, usable(batch))
        if not len(batch.picture):
            self.step += 1
            return None
        self.network.train()
        for group in self.optimiser.param_groups:
            group["lr"] = self.schedule.at(self.step)
        answer, supports = self.forward(batch)
        parts = fob_losses(self.fob, answer, supports, batch)
        self.optimiser.zero_grad(set_to_none=True)
        parts.total(self.schedule.place_weight).backward()
        if self.schedule.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.schedule.clip)
        self.whole = False
        self.optimiser.step()
        self.step += 1
        self.whole = True
        return parts

    @torch.no_grad()
    def error(self, batches: list[FobBatch]) -> dict[str, float]:
        """Mean `prompt_error` on held-out batches."""
        self.network.eval()
        found: dict[str, list[float]] = {}
        for batch in batches:
            batch = _only(batch, usable(batch))
            if len(batch.picture):
                answer, _ = self.forward(batch)
                for name, value in prompt_error(self.fob, answer, batch).items():
                    found.setdefault(name, []).append(value)
        return {name: float(np.nanmean(values)) for name, values in found.items()}

    def save(self, path: Path) -> None:
        """The whole run, written whole or not at all."""
        save_run({
            "network": self.network.state_dict(), "optimiser": self.optimiser.state_dict(),
            "step": self.step, "seconds": self.seconds, "seed": self.seed,
            "config": json.dumps(asdict(self.network.config)),
        }, path)

    def resume(self, path: Path) -> None:
        """Goes on from a saved run.

        Raises:
            InputError: not such a run, or one with another configuration.
        """
        saved = read_run(
            path, self.device, ("config", "network", "optimiser", "step", "seconds", "seed")
        )
        mine = json.dumps(asdict(self.network.config))
        if saved["config"] != mine:
            raise InputError(
                f"{path}: a run with other settings ({saved['config']}, asked for: {mine}); "
                "choose another folder or the same settings"
            )
        self.network.load_state_dict(saved["network"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.step, self.seconds, self.seed = saved["step"], saved["seconds"], saved["seed"]


def _only(batch: FobBatch, keep: Tensor) -> FobBatch:
    return FobBatch(batch.support, batch.query, batch.picture[keep],
                    batch.support_masks[keep], batch.query_masks[keep])


def train(
    run: FobTraining,
    source: EpisodeSource,
    folder: Path,
    *,
    minutes: float | None = None,
    check_every: float = 120.0,
    tell: Callable[[dict[str, float]], None] | None = None,
) -> dict[str, float]:
    """Trains to the end of the schedule, or for `minutes` in all, logging to `folder`/log.csv.

    A run in the folder is resumed. It is saved at every check, and when it is interrupted between
    two changes of the weights; amidst one, what was saved before stays.

    Args:
        check_every: seconds between checks of the held-out error.
        tell: called with each row of the log.

    Returns:
        The last row of the log.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = folder / "run.pt"
    if state.exists():
        run.resume(state)
    keep_rows(folder / "log.csv", run.step)
    held_out, row = source.held_out(), {}
    try:
        for sums in _losses_between_checks(run, source, minutes, Clock(run, check_every)):
            row = _log(folder / "log.csv", run, sums, run.error(held_out))
            run.save(state)
            if tell is not None:
                tell(row)
    finally:
        if run.whole:
            run.save(state)
    return row


def _losses_between_checks(
    run: FobTraining, source: EpisodeSource, minutes: float | None, clock: Clock
) -> Iterator[list[list[float]]]:
    """Trains to the end; whenever a check is due, the losses of the steps since the last one."""
    sums: list[list[float]] = []
    while not _over(run, minutes):
        parts = run.one_step(source.batch(run.step))
        if parts is not None:
            sums.append([getattr(parts, name).item() for name in LOSSES])
        clock.tick()
        if sums and (clock.due or _over(run, minutes)):
            yield sums
            sums = []
            clock.restart()


def _over(run: FobTraining, minutes: float | None) -> bool:
    late = minutes is not None and run.seconds >= minutes * 60
    return late or run.step >= run.schedule.steps


def _log(
    path: Path, run: FobTraining, sums: list[list[float]], error: dict[str, float]
) -> dict[str, float]:
    """The row of a check: mean losses of the steps since the last one, and the error."""
    means = np.mean(sums, axis=0)
    row = {"step": run.step, "minutes": round(run.seconds / 60, 2)}
    row |= {name: float(f"{value:.4g}") for name, value in zip(LOSSES, means, strict=True)}
    row |= {name: round(value, 4) for name, value in error.items()}
    append_row(path, row)
    return row
