"""FoB's losses against their literal evaluation, and what their gradients reach."""

from __future__ import annotations

import math
from dataclasses import replace

import fob_literal as literal
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from FewShotSAMLib.models.fob_network import FobConfig, FobNetwork
from FewShotSAMLib.prompting.fob import Fob, FobAnswer, FobSupport
from FewShotSAMLib.training.fob_losses import (
    SHARPNESS,
    FobBatch,
    answers,
    fob_losses,
    ordered,
    prompt_error,
    target_points,
    usable,
)

CHANNELS, GRID, SIDE, POINTS = 16, 16, 64, 10


def small(refinement: str) -> Fob:
    network = FobNetwork(FobConfig(
        backbone="embedded", channels=CHANNELS, grid=GRID, image_size=SIDE, pyramid=(8,),
        refinement=refinement,
    ))
    shapes = {name: tuple(t.shape) for name, t in network.state_dict().items()}
    network.load_state_dict(literal.random_values(shapes))
    return Fob(network.train())


def disc(x: float, y: float, radius: float) -> torch.Tensor:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return torch.from_numpy((columns - x) ** 2 + (rows - y) ** 2 <= radius**2).float()


# The third structure fills its query, so that there is no ring to learn from.
SUPPORTS = torch.stack([disc(30, 28, 8), disc(12, 50, 5), disc(40, 20, 6)])
QUERIES = torch.stack([disc(33, 25, 9), disc(0, 52, 6), torch.ones(SIDE, SIDE)])
BATCH = FobBatch(
    support=torch.zeros(2, 3, SIDE, SIDE), query=torch.zeros(2, 3, SIDE, SIDE),
    picture=torch.tensor([0, 1, 1]), support_masks=SUPPORTS, query_masks=QUERIES,
)


def features(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(2, CHANNELS, 5, 5, generator=generator)
    return (F.interpolate(coarse, (GRID, GRID), mode="bicubic") + 0.3).requires_grad_()


def answered(fob: Fob) -> tuple[FobAnswer, list[FobSupport]]:
    return answers(fob, (features(0), features(1)), torch.tensor([[3.0], [-6.0]]), BATCH)


def misplaced(found: np.ndarray, wanted: np.ndarray) -> float:
    """Cross-entropy of where a map has its point, over blocks of 4 x 4 pixels."""
    blocks = [
        (SHARPNESS * found[y : y + 4, x : x + 4].mean(), wanted[y : y + 4, x : x + 4].mean())
        for y in range(0, SIDE, 4) for x in range(0, SIDE, 4)
    ]
    whole = math.log(sum(math.exp(score) for score, _ in blocks))
    share = sum(weight for _, weight in blocks)
    return -sum(weight / share * (score - whole) for score, weight in blocks)


def slow_losses(fob: Fob, answer: FobAnswer, supports: list[FobSupport]) -> dict[str, float]:
    heat, fit, points, contrast, place = [], [], [], [], []
    phi = F.interpolate(answer.fit, (SIDE, SIDE), mode="bilinear", align_corners=True)
    nll = weight = 0.0
    for row in range(3):
        mask = QUERIES[row].numpy()
        for value, inside in zip(answer.coarse[row].detach().numpy().ravel(), mask.ravel()):
            if inside:
                nll, weight = nll - math.log(max(value, 1e-6)), weight + 1
            else:
                nll, weight = nll - 0.1 * math.log(max(1 - value, 1e-6)), weight + 0.1
        vertices = literal.outer_contour(literal.ring(mask))
        if vertices is None:
            continue
        along = literal.equal_arc_points(vertices, POINTS)
        target = along[literal.angle_order(along)]
        squares, entropy = {"heat": 0.0, "fit": 0.0}, 0.0
        for k in range(POINTS):
            wanted = literal.heat_map(target[k], SIDE)
            for name, maps in (("heat", answer.heat), ("fit", phi)):
                one = maps[row, k].detach().numpy()
                squares[name] += ((one - wanted) ** 2).mean() / POINTS
                entropy += misplaced(one, wanted) / POINTS
        heat.append(0.5 * squares["heat"])
        fit.append(0.5 * squares["fit"])
        place.append(entropy)
        wanted = target if fob.config.refinement == "repaired" else along
        points.append(((answer.points[row].detach().numpy() - wanted) ** 2).mean())
        total = 0.0
        for k in range(POINTS):
            a, b = supports[row].foreground.detach(), supports[row].background[k].detach()
            total += max(0.0, 0.5 + float(a @ b / (a.norm() * b.norm())))
        contrast.append(total / 10)
    means = {
        name: float(np.mean(values)) for name, values in
        (("heat", heat), ("fit", fit), ("points", points), ("contrast", contrast),
         ("place", place))
    }
    return means | {"coarse": nll / weight}


@pytest.mark.parametrize("refinement", ["official", "repaired"])
def test_losses(refinement):
    fob = small(refinement)
    answer, supports = answered(fob)
    fast, slow = fob_losses(fob, answer, supports, BATCH), slow_losses(fob, answer, supports)
    for name, value in slow.items():
        assert getattr(fast, name).item() == pytest.approx(value, rel=1e-4), name
        assert value > 1e-3
    published = 1000 * (slow["heat"] + slow["fit"]) + slow["points"] / 1e4
    published += slow["contrast"] + slow["coarse"]
    assert fast.total().item() == pytest.approx(published, rel=1e-4)
    assert fast.total(3.0).item() == pytest.approx(published + 3 * slow["place"], rel=1e-4)


def test_a_whole_step_of_the_published_loss():
    """From encoded pictures to the sum that is learnt from, nothing of it the product's own."""
    fob = small("official")
    both, thresholds = (features(0), features(1)), (3.0, -6.0)
    answer, supports = answers(fob, both, torch.tensor([[t] for t in thresholds]), BATCH)
    w = {name: t.detach().double() for name, t in fob.network.state_dict().items()}
    slow, kept = [], []
    for row, pair in enumerate(BATCH.picture.tolist()):
        support, query = (f[pair].detach().double() for f in both)
        mask = SUPPORTS[row].numpy()
        slow.append(literal.answer(support, mask, query, thresholds[pair], w, SIDE, POINTS))
        large = literal.enlarged(support, SIDE)
        kept.append(FobSupport(slow[-1].background, literal.prototype(large, mask), True))
    stacked = {name: torch.stack([getattr(one, name) for one in slow])
               for name in ("coarse", "fit", "heat", "points")}
    parts = slow_losses(fob, replace(answer, **stacked), kept)
    total = 1000 * (parts["heat"] + parts["fit"]) + parts["points"] / 1e4
    total += parts["contrast"] + parts["coarse"]
    assert fob_losses(fob, answer, supports, BATCH).total().item() == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("refinement", ["official", "repaired"])
def test_the_refinement_learns_only_when_it_is_repaired(refinement):
    fob = small(refinement)
    answer, supports = answered(fob)
    fob_losses(fob, answer, supports, BATCH).total(1.0).backward()
    for name, parameter in fob.network.named_parameters():
        moved = parameter.grad is not None and bool(parameter.grad.abs().max() > 0)
        if name.startswith("refine."):
            assert moved == (refinement == "repaired"), name
        elif not name.startswith("encoder."):
            assert moved, name
        if parameter.grad is not None:
            assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("refinement", ["official", "repaired"])
def test_features_of_both_pictures_learn(refinement):
    fob = small(refinement)
    both = features(0), features(1)
    answer, supports = answers(fob, both, torch.tensor([[3.0], [-6.0]]), BATCH)
    fob_losses(fob, answer, supports, BATCH).total(1.0).backward()
    assert all(f.grad.abs().amax((1, 2, 3)).min() > 0 for f in both)


def test_without_any_ring_only_the_coarse_map_teaches():
    fob = small("repaired")
    batch = FobBatch(BATCH.support, BATCH.query, BATCH.picture[2:], SUPPORTS[2:], QUERIES[2:])
    answer, supports = answers(fob, (features(0), features(1)), torch.zeros(2, 1), batch)
    parts = fob_losses(fob, answer, supports, batch)
    others = ("heat", "fit", "points", "contrast", "place")
    assert [getattr(parts, name).item() for name in others] == [0] * 5
    assert parts.coarse.item() > 0
    parts.total(1.0).backward()
    assert all(
        torch.isfinite(p.grad).all() for p in fob.network.parameters() if p.grad is not None
    )


def test_the_repaired_points_are_drawn_to_their_own_targets():
    """Points that are their targets cost nothing, in whichever order they were found."""
    fob = small("repaired")
    answer, supports = answered(fob)
    target, room = target_points(QUERIES, POINTS)
    assert room.tolist() == [True, True, False]
    exact = replace(answer, found=target, points=ordered(target))
    assert fob_losses(fob, exact, supports, BATCH).points.item() == 0


def test_targets_are_the_rings_points():
    target, room = target_points(QUERIES, POINTS)
    for row in (0, 1):
        along = literal.equal_arc_points(
            literal.outer_contour(literal.ring(QUERIES[row].numpy())), POINTS
        )
        assert np.array_equal(target[row].numpy(), along)
        assert np.array_equal(ordered(target)[row].numpy(), along[literal.angle_order(along)])
    assert not room[2] and target[2].abs().max() == 0


def test_usable_structures_are_marked_on_both_sides():
    nothing = torch.zeros(SIDE, SIDE)
    batch = FobBatch(
        BATCH.support, BATCH.query, torch.tensor([0, 0, 1]),
        torch.stack([SUPPORTS[0], nothing, SUPPORTS[2]]),
        torch.stack([QUERIES[0], QUERIES[1], nothing]),
    )
    assert usable(batch).tolist() == [True, False, False]


def test_error_of_prompts():
    fob = small("official")
    answer, _ = answered(fob)
    found = prompt_error(fob, answer, BATCH)
    target, _ = target_points(QUERIES, POINTS)
    distances, wrong, right = [], [], []
    for row, prompts in enumerate(fob.prompts(answer)):
        mask = QUERIES[row].numpy()

        def inside(points, mask=mask):
            places = [[min(max(round(float(v)), 0), SIDE - 1) for v in p] for p in points]
            return np.mean([mask[y, x] for x, y in places])

        right.append(inside(prompts.positives))
        if row < 2:
            wrong.append(inside(prompts.negatives))
            distances.append(np.mean([
                min(math.dist(p, n) for n in prompts.negatives) for p in target[row].numpy()
            ]))
    assert found["distance"] == pytest.approx(np.mean(distances), rel=1e-4)
    assert found["negatives_inside"] == pytest.approx(np.mean(wrong))
    assert found["positives_inside"] == pytest.approx(np.mean(right))


def test_perfect_prompts_have_no_error():
    fob = small("official")
    answer, _ = answered(fob)
    target, _ = target_points(QUERIES, POINTS)
    perfect = replace(answer, coarse=QUERIES, found=target, points=target)
    error = prompt_error(fob, perfect, BATCH)
    assert error == {"distance": 0, "negatives_inside": 0, "positives_inside": 1}
