"""Training the embedded model: python -m FewShotSAMLib.training.embedded --minutes 60.

Everything is generated on the training device. The schedule goes by the clock: pictures of 128
pixels first, then 192, then 256, one cosine of the learning rate over the whole time. A run can be
stopped and resumed; what is shipped is the moving average of the weights.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import pickle
import platform
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.errors import InputError
from ..models.devices import choose_device
from ..models.embedded import WEIGHTS, save_network
from ..models.embedded_network import EmbeddedConfig, EmbeddedNetwork, Pyramid, draw_prompts
from ..models.resources import sha256_of
from .episodes import DrawnPrompts, Episodes, random_episodes, training_prompts


@dataclass(frozen=True)
class Stage:
    """A part of the schedule: up to `until` of the time, pictures of `size`, `pairs` a step."""

    until: float
    size: int
    pairs: int


STAGES = (Stage(0.4, 128, 12), Stage(0.7, 192, 6), Stage(1.0, 256, 4))
TARGETS = 4


@dataclass(frozen=True)
class Losses:
    """The parts of one step's loss."""

    contrast: Tensor
    synergy: Tensor
    mask: Tensor
    quality: Tensor

    @property
    def total(self) -> Tensor:
        return 0.4 * self.contrast + 0.5 * self.synergy + self.mask + 0.3 * self.quality


def unit_features(pyramid: Pyramid) -> tuple[Tensor, Tensor]:
    """Both similarity features with unit length, (N, C, h, w)."""
    return (F.normalize(pyramid.position.float(), dim=1),
            F.normalize(pyramid.matching.float(), dim=1))


def contrast_loss(
    query: Tensor, support: Tensor, episodes: Episodes, scale: Tensor
) -> Tensor:
    """Every place of the query told apart by the support's mean unit features, all structures.

    Args:
        query, support: (B, C, h, w) unit features.
        scale: the softmax scale.
    """
    b, _, h, _ = query.shape
    step = episodes.query.shape[-1] // h
    offset = step // 2
    of_support = episodes.support_groups[:, offset::step, offset::step].flatten(1)
    of_query = episodes.query_groups[:, offset::step, offset::step].flatten(1)
    classes = int(max(of_support.max(), of_query.max())) + 1
    member = F.one_hot(of_support, classes).float()
    count = member.sum(1)
    means = torch.einsum("bcn,bnk->bck", support.flatten(2), member)
    means = means / count.clamp(min=1)[:, None]
    logits = scale * torch.einsum("bcn,bck->bnk", query.flatten(2), means)
    logits = logits.masked_fill((count == 0)[:, None], -1e4)
    known = (count > 0).gather(1, of_query)
    area = torch.zeros_like(count).scatter_add_(1, of_query, torch.ones_like(of_query).float())
    weight = known.float() / area.gather(1, of_query).clamp(min=1).sqrt()
    loss = F.cross_entropy(logits.flatten(0, 1), of_query.flatten(), reduction="none")
    return (loss * weight.flatten()).sum() / weight.sum().clamp(min=1e-6)


@dataclass(frozen=True)
class Synergy:
    """SynPo's fused map of B*T structures and its negative statistics."""

    fused: Tensor
    low: Tensor
    deviation: Tensor


def synergy_maps(
    query: tuple[Tensor, Tensor], support: tuple[Tensor, Tensor], masks: Tensor
) -> Synergy:
    """SynPo's maps (methods section 1, steps 1 to 3) at feature resolution, differentiable.

    Args:
        query, support: both (B, C, h, w) unit features.
        masks: (B, T, S, S) support masks.
    """
    h = query[0].shape[-1]
    cover = F.interpolate(masks, size=(h, h), mode="area")
    inside = cover.flatten(2)
    total = inside.sum(2).clamp(min=1e-3)
    maps, own = [], []
    for q, s in zip(query, support, strict=True):
        mean = torch.einsum("bcn,btn->btc", s.flatten(2), inside) / total[..., None]
        maps.append(torch.einsum("bchw,btc->bthw", q, mean))
        own.append(torch.einsum("bcn,btc->btn", s.flatten(2), mean.detach()))
    fused = fuse(*maps)
    with torch.no_grad():
        negative = fuse(*own)
        outside = (inside <= 0).float()
        n = outside.sum(2).clamp(min=1)
        low = (negative * outside).sum(2) / n
        deviation = (((negative - low[..., None]) ** 2 * outside).sum(2) / n).sqrt()
    return Synergy(fused.flatten(0, 1), low.flatten(), deviation.flatten())


def fuse(first: Tensor, second: Tensor) -> Tensor:
    """SynMap = 0.8 S1 S2 + 0.1 S1 + 0.1 S2."""
    return 0.8 * first * second + 0.1 * first + 0.1 * second


def mask_loss(logits: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy and soft Dice of (B, m, m) logits; and the masks' overlap with the truth."""
    target = F.interpolate(truth[:, None], size=logits.shape[-2:], mode="area")[:, 0]
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    area = target.mean((1, 2))
    entropy = entropy.mean((1, 2)) / (area + 0.03).sqrt() * 0.5  # specks count too
    p = logits.sigmoid()
    both = (p * target).sum((1, 2))
    dice = 1 - (2 * both + 8) / (p.sum((1, 2)) + target.sum((1, 2)) + 8)
    with torch.no_grad():
        mask, real = logits > 0, target > 0.5
        union = (mask | real).sum((1, 2))
        overlap = ((mask & real).sum((1, 2)) / union.clamp(min=1)).where(union > 0, 1.0)
        overlap = overlap.where(real.flatten(1).any(1), torch.zeros_like(overlap))
    return (entropy + dice).mean(), overlap


def decode(
    network: EmbeddedNetwork, pyramid: Pyramid, prompts: DrawnPrompts
) -> tuple[Tensor, Tensor]:
    """Logits (B, m, m) and judgements (B, 2) for one prompt a picture."""
    maps = draw_prompts(
        pyramid.matching, prompts.points, prompts.labels, boxes=prompts.boxes,
        masks=prompts.masks, confidence=prompts.confidence,
    )
    logits, judgements = network.decoder(pyramid, maps)
    return logits[:, 0], judgements


def judgement_loss(judgements: Tensor, overlap: Tensor, there: Tensor) -> Tensor:
    """Overlap (B,) learnt where there is something to find, and whether there is, (B,) bool."""
    error = (judgements[:, 0].sigmoid() - overlap) ** 2
    presence = F.binary_cross_entropy_with_logits(judgements[:, 1], there.float())
    return (error * there).sum() / there.sum().clamp(min=1) + 0.7 * presence


def losses(network: EmbeddedNetwork, e: Episodes, generator: torch.Generator) -> Losses:
    """One step's losses on B episodes."""
    pairs, targets = e.query_masks.shape[:2]
    both = network.encoder(torch.cat([e.support, e.query]))
    index = torch.arange(pairs, device=e.query.device)
    of_support, of_query = both.select(index), both.select(index + pairs)
    unit_s, unit_q = unit_features(of_support), unit_features(of_query)
    scales = network.contrast.clamp(max=4.0).exp()
    contrast = sum(
        contrast_loss(q, s, e, scale)
        for q, s, scale in zip(unit_q, unit_s, scales, strict=True)
    )
    maps = synergy_maps(unit_q, unit_s, e.support_masks)
    truth = e.query_masks.flatten(0, 1)
    cover = F.interpolate(truth[:, None], size=maps.fused.shape[-2:], mode="area")[:, 0]
    gain, bias = network.calibration
    score = gain * maps.fused + bias
    share = cover.mean((1, 2), keepdim=True).clamp(0.01, 0.5)
    balance = cover / share.sqrt() + (1 - cover)
    synergy = (F.binary_cross_entropy_with_logits(score, cover, reduction="none") * balance).mean()

    picture = index.repeat_interleave(targets)
    queries = of_query.select(picture)
    with torch.no_grad():
        prompts = training_prompts(
            truth, e.support_masks.flatten(0, 1), e.neighbours[picture], maps.fused.detach(),
            maps.low, maps.deviation, generator,
        )
        again = torch.rand(1, generator=generator, device=truth.device).item() < 0.25
        if again:  # as the refinement does: the first answer comes back as a mask prompt
            first, _ = decode(network, queries, prompts)
            redo = torch.rand(len(first), 1, 1, 1, generator=generator, device=truth.device) < 0.6
            small = F.interpolate(first[:, None], scale_factor=0.5, mode="area")
            prompts = DrawnPrompts(prompts.points, prompts.labels, prompts.boxes,
                                   torch.where(redo, small, prompts.masks), prompts.confidence)
    logits, judgements = decode(network, queries, prompts)
    mask, overlap = mask_loss(logits, truth)
    there = truth.flatten(1).sum(1) > 0
    return Losses(contrast, synergy, mask, judgement_loss(judgements, overlap, there))


@torch.no_grad()
def validate(network: EmbeddedNetwork, size: int, device: str, pairs: int = 32) -> dict[str, float]:
    """Mean Dice on fixed generated episodes, by the kind of prompt."""
    generator = torch.Generator(device).manual_seed(20_000)
    scores: dict[str, list[Tensor]] = {}
    for _ in range(pairs // 8):
        e = random_episodes(8, TARGETS, size, generator, device)
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            s, q = network.encoder(e.support), network.encoder(e.query)
            maps = synergy_maps(unit_features(q), unit_features(s), e.support_masks)
            picture = torch.arange(8, device=device).repeat_interleave(TARGETS)
            truth = e.query_masks.flatten(0, 1)
            for kind, name in enumerate(("points", "synpo", "mask", "box", "refine")):
                prompts = training_prompts(
                    truth, e.support_masks.flatten(0, 1), e.neighbours[picture], maps.fused,
                    maps.low, maps.deviation, generator,
                    kind=torch.full((len(truth),), kind, device=device),
                )
                logits, _ = decode(network, q.select(picture), prompts)
                big = F.interpolate(logits[:, None], size=size, mode="bilinear")[:, 0] > 0
                real = truth > 0.5
                dice = 2 * (big & real).sum((1, 2)) / (
                    big.sum((1, 2)) + real.sum((1, 2))).clamp(min=1)
                scores.setdefault(name, []).append(dice[real.flatten(1).any(1)])
    return {name: torch.cat(parts).mean().item() for name, parts in scores.items()}


class Training:
    """A run: network, its moving average, optimiser, and the time spent so far."""

    def __init__(self, device: str, seed: int, config: EmbeddedConfig | None = None) -> None:
        torch.manual_seed(seed)
        self.device, self.seed = device, seed
        self.network = EmbeddedNetwork(config).to(device, memory_format=torch.channels_last)
        self.average = EmbeddedNetwork(self.network.config).to(device).requires_grad_(False)
        self.average.load_state_dict(self.network.state_dict())
        decay = [p for p in self.network.parameters() if p.dim() > 1]
        plain = [p for p in self.network.parameters() if p.dim() <= 1]
        self.optimiser = torch.optim.AdamW(
            [{"params": decay, "weight_decay": 0.02}, {"params": plain, "weight_decay": 0.0}],
            lr=PEAK_RATE, betas=(0.9, 0.98),
        )
        self.step, self.seconds = 0, 0.0

    def one_step(self, stage: Stage, rate: float) -> Losses:
        """Generates, learns, and moves the average."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        generator = torch.Generator(self.device).manual_seed(self.seed * 1_000_003 + self.step)
        e = random_episodes(stage.pairs, TARGETS, stage.size, generator, self.device)
        with torch.autocast(torch.device(self.device).type, torch.bfloat16):
            parts = losses(self.network, e, generator)
        self.optimiser.zero_grad(set_to_none=True)
        parts.total.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        keep = min(0.998, self.step / (self.step + 50))
        with torch.no_grad():
            for a, p in zip(self.average.parameters(), self.network.parameters(), strict=True):
                a.lerp_(p, 1 - keep)
        return parts

    def save(self, path: Path) -> None:
        """The whole run, written whole or not at all."""
        partial = path.with_suffix(".partial")
        torch.save({
            "network": self.network.state_dict(), "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(), "step": self.step,
            "seconds": self.seconds, "seed": self.seed, "config": asdict(self.network.config),
        }, partial)
        partial.replace(path)

    def resume(self, path: Path) -> None:
        """Goes on from a saved run."""
        try:
            saved = torch.load(path, map_location=self.device, weights_only=True)
            self.network.load_state_dict(saved["network"])
        except (RuntimeError, KeyError, EOFError, pickle.UnpicklingError) as problem:
            reason = str(problem).strip().splitlines()[0]
            raise InputError(
                f"{path}: not a run that can be resumed ({reason}); choose another --folder"
            ) from None
        self.average.load_state_dict(saved["average"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.step, self.seconds, self.seed = saved["step"], saved["seconds"], saved["seed"]


PEAK_RATE = 1.5e-3


def schedule(share: float, step: int) -> tuple[Stage, float]:
    """The stage and learning rate at this share of the time."""
    stage = next(s for s in STAGES if share <= s.until or s is STAGES[-1])
    warm = min(1.0, (step + 1) / 200)
    cosine = 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))
    return stage, PEAK_RATE * warm * max(cosine, 0.01)


def train(
    minutes: float, device: str, seed: int, folder: Path, *, validate_every: float = 300.0
) -> Training:
    """Trains for `minutes` in all (earlier runs in `folder` counted), logging to CSV."""
    folder.mkdir(parents=True, exist_ok=True)
    run, state = Training(device, seed), folder / "run.pt"
    if state.exists():
        run.resume(state)
        print(f"going on from step {run.step}, {run.seconds / 60:.1f} min", file=sys.stderr)
    log = folder / "log.csv"
    last = time.monotonic()
    next_check = run.seconds + validate_every
    sums: list[list[float]] = []
    while run.seconds < minutes * 60:
        stage, rate = schedule(run.seconds / (minutes * 60), run.step)
        parts = run.one_step(stage, rate)
        sums.append([x.item() for x in (parts.contrast, parts.synergy, parts.mask, parts.quality)])
        now = time.monotonic()
        run.seconds, last = run.seconds + now - last, now
        if run.seconds >= next_check or run.seconds >= minutes * 60:
            next_check = run.seconds + validate_every
            means = [sum(column) / len(sums) for column in zip(*sums, strict=True)]
            sums = []
            dice = validate(run.average, stage.size, device)
            _log(log, run, stage, means, dice)
            run.save(state)
            last = time.monotonic()
    run.save(state)
    return run


def _log(
    path: Path, run: Training, stage: Stage, means: list[float], dice: dict[str, float]
) -> None:
    row = {"step": run.step, "minutes": round(run.seconds / 60, 2), "size": stage.size}
    row |= dict(zip(("contrast", "synergy", "mask", "quality"),
                    (round(m, 4) for m in means), strict=True))
    row |= {f"dice_{k}": round(v, 4) for k, v in dice.items()}
    fresh = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, row)
        if fresh:
            writer.writeheader()
        writer.writerow(row)
    print("  ".join(f"{k} {v}" for k, v in row.items()), file=sys.stderr, flush=True)


def export(run: Training, path: Path, **known: str) -> None:
    """The averaged weights as safetensors, and their provenance as JSON beside them."""
    dice = validate(run.average, STAGES[-1].size, run.device)
    hardware = platform.processor() or platform.machine()
    if run.device == "cuda":
        hardware = torch.cuda.get_device_name()
    provenance = known | {
        "training_data": "generated images only",
        "seed": run.seed,
        "steps": run.step,
        "hours": round(run.seconds / 3600, 2),
        "hardware": f"{hardware}, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "dice_on_generated_images": {name: round(value, 3) for name, value in dice.items()},
        "licence": "Apache-2.0",
    }
    save_network(run.average, path, {"provenance": json.dumps(provenance)})
    text = json.dumps({"file": path.name, "sha256": sha256_of(path)} | provenance, indent=2)
    path.with_suffix(".json").write_text(text + "\n", encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, required=True, help="time to train, in all")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("training-embedded"),
                        help="where the run is kept; an unfinished one there is resumed")
    parser.add_argument("--commit", default="", help="the sources' commit, for the provenance")
    options = parser.parse_args(arguments)
    try:
        device = choose_device(options.device).device.type
        run = train(options.minutes, device, options.seed, options.folder)
    except InputError as problem:
        print(f"training: error: {problem}", file=sys.stderr)
        return 2
    command = f"python -m FewShotSAMLib.training.embedded --minutes {options.minutes:g} " \
        f"--device {device} --seed {run.seed}"
    export(run, options.folder / WEIGHTS, command=command, commit=options.commit)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
