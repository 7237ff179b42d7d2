"""The embedded model's losses, its training run, and the command."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_networks import TINY_EMBEDDED
from torch.nn import functional as F

from FewShotSAMLib.data.errors import InputError
from FewShotSAMLib.models.embedded import read_network, save_network
from FewShotSAMLib.models.embedded_network import EmbeddedNetwork
from FewShotSAMLib.prompting.synpo import SynPo
from FewShotSAMLib.prompting.synpo_parameters import SynPoParameters
from FewShotSAMLib.training.embedded import (
    FROM_WEIGHTS,
    STAGES,
    Length,
    Stage,
    Training,
    main,
    schedule,
    train,
)
from FewShotSAMLib.training.episodes import random_episodes
from FewShotSAMLib.training.losses import (
    contrast_loss,
    judgement_loss,
    losses,
    mask_loss,
    synergy_maps,
)

ROOT = Path(__file__).resolve().parents[3]
STEP = Stage(1.0, 64, 2)
RATE = 2e-3


def unit(seed: int, count: int = 2, channels: int = 6, side: int = 16) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, channels, 5, 5, generator=g)
    return F.normalize(F.interpolate(coarse, size=side, mode="bicubic"), dim=1)


# --------------------------------------------------------------- SynPo's maps in training


def cell_masks(side: int) -> torch.Tensor:
    """(2, 3, side, side) masks: a block, two parts, one cell."""
    masks = torch.zeros(2, 3, side, side)
    masks[:, 0, 3:9, 4:12] = 1
    masks[:, 1, 1:4, 1:4] = 1
    masks[:, 1, 10:15, 9:14] = 1
    masks[:, 2, 7, 8] = 1
    masks[1] = masks[1].flip(-1)
    return masks


def test_training_sees_the_maps_that_synpo_makes():
    """At feature resolution nothing is interpolated, and both must agree to rounding."""
    side = 16
    query, support = (unit(1), unit(2)), (unit(3), unit(4))
    masks = cell_masks(side)
    trained = synergy_maps(query, support, masks)
    synpo = SynPo(SynPoParameters(roi_size=side))
    for b in range(2):
        for t in range(3):
            prepared = synpo.prepare([s[b] for s in support], masks[b, t])
            fused = synpo.confidence([q[b : b + 1] for q in query], prepared)[0]
            row = b * 3 + t
            assert torch.allclose(trained.fused[row], fused, atol=1e-5)
            assert trained.low[row].item() == pytest.approx(prepared.background_mean, abs=1e-5)
            assert trained.deviation[row].item() == pytest.approx(
                prepared.background_deviation, abs=1e-5
            )


def test_training_sees_synpos_maps_up_to_interpolation():
    """At the model's input SynPo upsamples each map before fusing; training does not."""
    side, factor = 16, 4
    query, support = (unit(1), unit(2)), (unit(3), unit(4))
    masks = cell_masks(side)
    big = masks.repeat_interleave(factor, -1).repeat_interleave(factor, -2)
    trained = synergy_maps(query, support, big).fused.unflatten(0, (2, 3))
    synpo = SynPo(SynPoParameters(roi_size=side * factor))
    for b in range(2):
        for t in range(3):
            prepared = synpo.prepare([s[b] for s in support], big[b, t])
            fused = synpo.confidence([q[b : b + 1] for q in query], prepared)
            small = F.avg_pool2d(fused[:, None], factor)[0, 0]
            assert (small - trained[b, t]).abs().mean() < 0.02
            both = torch.stack([small.flatten(), trained[b, t].flatten()])
            assert torch.corrcoef(both)[0, 1] > 0.99


def test_maps_teach_both_encoders():
    query = tuple(unit(n).requires_grad_() for n in (1, 2))
    support = tuple(unit(n).requires_grad_() for n in (3, 4))
    synergy_maps(query, support, cell_masks(16)).fused.sum().backward()
    for tensor in (*query, *support):
        assert tensor.grad.abs().sum() > 0


def test_an_empty_mask_gives_finite_maps():
    maps = synergy_maps((unit(1), unit(2)), (unit(3), unit(4)), torch.zeros(2, 1, 16, 16))
    for tensor in (maps.fused, maps.low, maps.deviation):
        assert torch.isfinite(tensor).all()


# ------------------------------------------------------------------------------ losses


def test_mask_loss_prefers_the_truth():
    truth = torch.zeros(2, 64, 64)
    truth[:, 10:30, 20:40] = 1
    small = F.avg_pool2d(truth[:, None], 2)[:, 0]
    right, half, wrong = small * 16 - 8, small * 0, 8 - small * 16
    values = [mask_loss(logits, truth)[0].item() for logits in (right, half, wrong)]
    assert values[0] < 0.05 < values[1] < values[2]
    assert mask_loss(right, truth)[1].tolist() == [1, 1]
    assert mask_loss(wrong, truth)[1].tolist() == [0, 0]


def test_overlap_is_intersection_over_union():
    truth, logits = torch.zeros(1, 8, 8), torch.full((1, 8, 8), -5.0)
    truth[0, :4, :4] = 1
    logits[0, 2:4, :6] = 5  # 8 shared of 16 + 12 - 8
    assert mask_loss(logits, truth)[1].item() == pytest.approx(8 / 20)


def test_nothing_found_where_there_is_nothing_is_right():
    empty = torch.zeros(1, 32, 32)
    silent = mask_loss(torch.full((1, 16, 16), -9.0), empty)[0]
    loud = mask_loss(torch.full((1, 16, 16), 9.0), empty)[0]
    assert silent < 0.05 < loud


def test_judgements_learn_overlap_only_where_there_is_something():
    overlap, there = torch.tensor([0.8, 0.0]), torch.tensor([True, False])
    good = torch.tensor([[1.386, 6.0], [-9.0, -6.0]])  # sigmoid(1.386) = 0.8
    assert judgement_loss(good, overlap, there) < 0.01
    other = good.clone()
    other[1, 0] = 9.0  # of no account: nothing is there
    assert judgement_loss(other, overlap, there) == pytest.approx(
        judgement_loss(good, overlap, there).item(), abs=1e-6
    )
    assert judgement_loss(good.flip(0), overlap, there) > 1


def test_contrast_tells_structures_apart():
    e = random_episodes(2, 2, 64, torch.Generator().manual_seed(0), "cpu")
    groups = int(max(e.query_groups.max(), e.support_groups.max())) + 1
    codes = F.normalize(torch.randn(groups, 24, generator=torch.Generator().manual_seed(1)), dim=1)

    def coded(labels: torch.Tensor) -> torch.Tensor:
        return codes[labels[:, 2::4, 2::4]].permute(0, 3, 1, 2)

    scale = torch.tensor(20.0)
    told = contrast_loss(coded(e.query_groups), coded(e.support_groups), e, scale)
    noise = F.normalize(torch.randn(2, 24, 16, 16, generator=torch.Generator().manual_seed(2)), 1)
    blind = contrast_loss(noise, coded(e.support_groups), e, scale)
    assert told < 0.3 * blind


def test_all_parts_are_finite_and_reach_every_weight():
    torch.manual_seed(0)
    network = EmbeddedNetwork(TINY_EMBEDDED)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        parts = losses(network, random_episodes(2, 4, 64, generator, "cpu"), generator)
        parts.total.backward()
        for part in (parts.contrast, parts.synergy, parts.mask, parts.quality):
            assert torch.isfinite(part) and part >= 0
    for name, p in network.named_parameters():
        assert p.grad is not None and torch.isfinite(p.grad).all(), name
        assert p.grad.abs().sum() > 0, name


# ----------------------------------------------------------------------------- the run


def steps(run: Training, count: int) -> list[float]:
    return [run.one_step(STEP, RATE).total.item() for _ in range(count)]


def weights(run: Training) -> dict[str, torch.Tensor]:
    return {
        f"{part}.{name}": t.clone()
        for part in ("network", "average")
        for name, t in getattr(run, part).state_dict().items()
    }


def test_a_resumed_run_goes_on_as_if_it_had_never_stopped(tmp_path):
    through = Training("cpu", 7, TINY_EMBEDDED)
    expected = steps(through, 4)
    first = Training("cpu", 7, TINY_EMBEDDED)
    seen = steps(first, 2)
    first.seconds = 12.5
    first.save(tmp_path / "run.pt")
    again = Training("cpu", 99, TINY_EMBEDDED)  # another start and seed: all comes from the file
    again.resume(tmp_path / "run.pt")
    assert (again.step, again.seconds, again.seed) == (2, 12.5, 7)
    seen += steps(again, 2)
    assert seen == expected
    for name, tensor in weights(through).items():
        assert torch.equal(weights(again)[name], tensor), name
    assert [p.name for p in tmp_path.iterdir()] == ["run.pt"]


def test_the_seed_decides_the_run():
    one, two, other = (steps(Training("cpu", seed, TINY_EMBEDDED), 2) for seed in (1, 1, 2))
    assert one == two != other


def test_the_average_follows_the_weights():
    run = Training("cpu", 0, TINY_EMBEDDED)
    start = weights(run)
    steps(run, 5)
    now = weights(run)
    moved = {n.split(".", 1)[1] for n in now if n.startswith("network.")
             and not torch.equal(now[n], start[n])}  # fmt: skip
    assert len(moved) > 20
    for name in moved:
        path = (start[f"network.{name}"] - now[f"network.{name}"]).norm()
        behind = (now[f"average.{name}"] - now[f"network.{name}"]).norm()
        assert 0 < behind < path * 1.5, name


def test_a_tiny_network_learns():
    run = Training("cpu", 0, TINY_EMBEDDED)
    seen = steps(run, 40)
    assert np.isfinite(seen).all()
    assert np.mean(seen[-10:]) < 0.9 * np.mean(seen[:10])


@pytest.mark.parametrize("stages", [STAGES, FROM_WEIGHTS])
def test_schedule_grows_pictures_and_lets_the_rate_fall(stages):
    sizes = [schedule(share, 1000, stages)[0].size for share in np.linspace(0, 1.2, 40)]
    rates = [schedule(share, 1000, stages)[1] for share in np.linspace(0, 1.2, 40)]
    assert sizes[0] == stages[0].size and sizes[-1] == stages[-1].size
    assert sizes == sorted(sizes)
    assert all(a >= b > 0 for a, b in zip(rates, rates[1:]))
    assert rates[-1] < 0.05 * rates[0]
    warm = [schedule(0.0, step)[1] for step in (0, 10, 100, 1000)]
    assert warm == sorted(warm) and warm[0] < 0.05 * warm[-1]
    assert all(size % 32 == 0 for size in sizes), "the network halves pictures five times"


def test_what_has_learnt_already_sees_full_size_pictures_sooner():
    new = Training("cpu", 0, TINY_EMBEDDED)
    on = Training("cpu", 0, start=EmbeddedNetwork(TINY_EMBEDDED))
    assert [schedule(0.5, 1000, run.stages)[0].size for run in (new, on)] == [192, 256]


# ------------------------------------------------------------------------- the command


def test_help_tells_every_option(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    for option in ("--minutes", "--steps", "--device", "--seed", "--folder", "--checked",
                   "--start", "--rate"):
        assert option in said


@pytest.mark.parametrize("asked", [(), ("--minutes", "0"), ("--steps", "-1"), ("--steps", "x"),
                                   ("--minutes", "nan"), ("--minutes", "1", "--checked", "0")])
def test_a_length_must_be_given(capsys, asked):
    with pytest.raises(SystemExit) as ended:
        main([*asked])
    assert ended.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert all(option in last for option in asked[-2:-1] or ("--minutes", "--steps"))


def test_whichever_ends_a_run_first_sets_its_pace():
    run = Training("cpu", 0, TINY_EMBEDDED)
    run.seconds, run.step = 30.0, 3
    assert Length(minutes=1).share(run) == 0.5
    assert Length(steps=4).share(run) == 0.75
    assert Length(minutes=1, steps=4).share(run) == 0.75
    assert Length(minutes=0.5, steps=4).share(run) == 1


@pytest.mark.slow
def test_the_command_trains_logs_and_resumes(tmp_path, capsys):
    """One step of the real network, run as a person would."""
    folder = tmp_path / "a run"
    command = ["--steps", "1", "--device", "cpu", "--seed", "3", "--folder", str(folder),
               "--checked", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "FewShotSAMLib.training.embedded", *command], cwd=ROOT,
        capture_output=True, text=True, encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    state = torch.load(folder / "run.pt", weights_only=True)
    assert state["step"] == 1 and state["seed"] == 3 and state["seconds"] > 0
    with (folder / "log.csv").open(encoding="utf-8", newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert int(row["step"]) == 1 and int(row["size"]) == STAGES[0].size
    for name in ("contrast", "synergy", "mask", "quality", "dice_points"):
        assert np.isfinite(float(row[name])), name
    made = json.loads((folder / "embedded.json").read_text(encoding="utf-8"))
    assert made["steps"] == 1 and "--steps 1 --device cpu --seed 3" in made["command"]
    assert made["precision"] in ("float32", "bfloat16")

    before = weights(resumed(folder))
    assert main(command) == 0
    assert "going on from step 1" in capsys.readouterr().err
    for name, tensor in weights(resumed(folder)).items():
        assert torch.equal(tensor, before[name]), "all its steps were done already"


def test_a_run_goes_on_from_weights(tmp_path):
    path = tmp_path / "tiny weights.safetensors"
    begun = Training("cpu", 0, TINY_EMBEDDED)
    save_network(begun.network, path, {})
    run = train(Length(steps=1), "cpu", 3, tmp_path / "run", checked=1, start=path, peak_rate=1e-6)
    assert run.network.config == TINY_EMBEDDED
    given = read_network(path).state_dict()
    for name, tensor in run.network.state_dict().items():
        assert torch.allclose(tensor, given[name], atol=1e-5), "a small rate moves little"
    with pytest.raises(InputError, match="missing"):
        train(Length(steps=1), "cpu", 3, tmp_path / "other", start=tmp_path / "none")


def test_a_step_has_so_many_times_the_pairs(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "FewShotSAMLib.training.embedded.random_episodes",
        lambda pairs, *rest: asked.append(pairs) or random_episodes(pairs, *rest),
    )
    parts = Training("cpu", 0, TINY_EMBEDDED, times=3).one_step(STEP, RATE)
    assert asked == [3 * STEP.pairs]
    assert all(torch.isfinite(x) for x in (parts.mask, parts.contrast))


def resumed(folder: Path) -> Training:
    run = Training("cpu", 0)
    run.resume(folder / "run.pt")
    return run
