"""Generated anatomies, pictures and episodes."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from FewShotSAMLib.models.embedded import brightened
from FewShotSAMLib.training import anatomy as drawing
from FewShotSAMLib.training import episodes
from FewShotSAMLib.training.anatomy import (
    Differences,
    another_patient,
    cut,
    random_differences,
)
from FewShotSAMLib.training.body_plans import random_anatomies
from FewShotSAMLib.training.episodes import Episodes, random_episodes
from FewShotSAMLib.training.mask_prompts import mask_prompts
from FewShotSAMLib.training.prompts import training_prompts
from FewShotSAMLib.training.rendering import (
    Scanner,
    random_appearance,
    random_scanner,
    render,
)

TARGETS = 4


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def episodes_of(seed: int, pairs: int = 4, size: int = 64) -> Episodes:
    return random_episodes(pairs, TARGETS, size, seeded(seed), "cpu")


def tensors(e: Episodes) -> dict[str, torch.Tensor]:
    return {f.name: getattr(e, f.name) for f in fields(e)}


@pytest.fixture(scope="module")
def many(one_thread) -> Episodes:
    return random_episodes(64, TARGETS, 96, seeded(5), "cpu")


def test_the_same_seed_gives_the_same_episodes():
    one, two = tensors(episodes_of(3)), tensors(episodes_of(3))
    for name, tensor in one.items():
        assert torch.equal(tensor, two[name]), name


def test_another_seed_gives_other_episodes():
    one, two = episodes_of(3), episodes_of(4)
    assert not torch.allclose(one.query, two.query, atol=0.05)
    assert not torch.equal(one.query_groups, two.query_groups)


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.sampled_from([32, 64, 96]))
def test_shapes_and_ranges(seed, size):
    e = random_episodes(3, 2, size, seeded(seed), "cpu")
    for picture in (e.support, e.query):
        assert picture.shape == (3, 1, size, size)
        assert torch.isfinite(picture).all()
        assert picture.min() >= 0 and picture.max() <= 1
    for mask in (e.support_masks, e.query_masks):
        assert mask.shape == (3, 2, size, size)
        assert set(mask.unique().tolist()) <= {0.0, 1.0}
    assert e.neighbours.dtype == torch.bool


def test_pictures_are_no_flat_fields(many):
    assert many.query.flatten(1).std(1).min() > 0.02


def structure(groups: torch.Tensor, mask: torch.Tensor) -> int | None:
    """The one structure whose pixels are exactly the mask."""
    inside = groups[mask > 0].unique()
    if len(inside) == 1 and torch.equal(groups == inside[0], mask > 0):
        return int(inside[0])
    return None


def test_masks_are_the_label_maps_structures(many):
    """Most targets are one structure, the same in both pictures; the others are filled bodies,
    which hold whole structures and part of none but at their rim."""
    single = filled = 0
    for n in range(len(many.query)):
        for t in range(TARGETS):
            support, query = many.support_masks[n, t], many.query_masks[n, t]
            if not support.any():
                continue
            group = structure(many.support_groups[n], support)
            if group is None:
                filled += 1
                assert len(many.support_groups[n][support > 0].unique()) > 1
            elif group > 0:
                single += 1
                same = torch.equal(query > 0, many.query_groups[n] == group)
                # A body without contents on the support may have some on the query.
                assert same or bool((query > 0)[many.query_groups[n] == group].all())
    assert single > 5 * filled > 0


def test_targets_are_specks_to_large_ones(many):
    share = many.support_masks.mean((2, 3)).flatten()
    assert share.min() < 0.003
    assert share.max() > 0.4
    assert 0.02 < share.median() < 0.2, "most are organs"
    for low, high in ((0, 0.01), (0.01, 0.05), (0.05, 0.2), (0.2, 1)):
        assert ((share >= low) & (share < high)).float().mean() > 0.02, (low, high)


def test_some_structures_end_between_support_and_query(many):
    gone = many.query_masks.flatten(2).sum(2) == 0
    assert 0.01 < gone.float().mean() < 0.4


def mean_overlap(e: Episodes, chosen: torch.Tensor) -> float:
    a, b = e.support_masks[chosen], e.query_masks[chosen]
    both = (a * b).sum((2, 3))
    return (2 * both / (a.sum((2, 3)) + b.sum((2, 3))).clamp(min=1)).mean().item()


def test_neighbours_are_more_alike_than_patients(many):
    assert 10 < many.neighbours.sum() < 54
    near, far = many.neighbours, ~many.neighbours
    assert mean_overlap(many, near) > mean_overlap(many, far) + 0.1
    difference = (many.support - many.query).abs().mean((1, 2, 3))
    assert difference[near].mean() < difference[far].mean()


def test_patients_still_have_their_organs_in_their_places(many):
    """Against the same structures paired with a wrong patient's."""
    far = many.query_masks[~many.neighbours]
    own = many.support_masks[~many.neighbours]
    right = ((far * own).sum((2, 3)) / far.sum((2, 3)).clamp(min=1)).mean()
    wrong = ((far * own.roll(1, 0)).sum((2, 3)) / far.sum((2, 3)).clamp(min=1)).mean()
    assert right > wrong + 0.1


def plane(size: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    line = (torch.arange(size) + 0.5) / size * 2 - 1
    y, x = torch.meshgrid(line, line, indexing="ij")
    return x.expand(count, -1, -1), y.expand(count, -1, -1)


def test_labels_name_solids_that_are_there():
    anatomy = random_anatomies(6, seeded(2))
    labels, filled = cut(anatomy, torch.zeros(6), *plane(64, 6))
    assert labels.min() == 0 and labels.max() <= anatomy.solids
    for n in range(6):
        for label in labels[n].unique().tolist():
            assert label == 0 or anatomy.present[n, label - 1]
        for k in range(anatomy.containers):
            assert not (labels[n] == k + 1)[~filled[n, k]].any(), "a body outside of itself"
            assert anatomy.present[n, k] or not filled[n, k].any()


@settings(max_examples=5, deadline=None)
@given(height=st.floats(-0.9, 0.9))
def test_slices_near_each_other_are_alike_and_apart_they_differ(height):
    anatomy = random_anatomies(4, seeded(1))
    at = torch.full((4,), height)
    labels = [cut(anatomy, at + step, *plane(64, 4))[0] for step in (0.0, 0.0, 0.02, 0.8)]
    assert torch.equal(labels[0], labels[1])
    near = (labels[0] == labels[2]).float().mean()
    far = (labels[0] == labels[3]).float().mean()
    assert near > 0.93 and near > far


@pytest.mark.parametrize("pixels", [1, 3 * 64 * 64, 2**25])
def test_later_solids_cover_earlier_ones_however_many_are_drawn_together(monkeypatch, pixels):
    bodies, height = random_anatomies(3, seeded(5)), torch.tensor([-0.3, 0.1, 0.4])
    monkeypatch.setitem(drawing._AT_ONCE, "cpu", pixels)
    labels, filled = cut(bodies, height, *plane(64, 3))
    painted = torch.zeros_like(labels)
    for k in range(bodies.solids):
        alone = replace(bodies, present=bodies.present & (torch.arange(bodies.solids) == k))
        solid, whole = cut(alone, height, *plane(64, 3))
        painted = torch.where(solid > 0, solid, painted)
        assert k >= bodies.containers or torch.equal(whole[:, k], filled[:, k])
    assert len(labels.unique()) > 5 and torch.equal(labels, painted)


def test_another_patient_of_no_strength_is_the_same_one():
    anatomy = random_anatomies(3, seeded(1))
    none, usual = torch.zeros(3), torch.ones(3)
    same = another_patient(anatomy, seeded(2), Differences(none, none, none, usual))
    other = another_patient(anatomy, seeded(2), Differences(usual, usual, usual, none))
    at = torch.zeros(3)
    before = cut(anatomy, at, *plane(64, 3))[0]
    assert torch.equal(cut(same, at, *plane(64, 3))[0], before)
    after = cut(other, at, *plane(64, 3))[0]
    assert 0.3 < (after == before).float().mean() < 0.995


def test_patients_differ_in_one_way_at_a_time():
    anatomy, none, usual = random_anatomies(3, seeded(1)), torch.zeros(3), torch.ones(3)
    moved = another_patient(anatomy, seeded(2), Differences(none, none, usual, none))
    assert torch.equal(moved.radii, anatomy.radii) and torch.equal(moved.bend, anatomy.bend)
    assert not torch.allclose(moved.centre, anatomy.centre, atol=0.01)
    grown = another_patient(anatomy, seeded(2), Differences(none, usual, none, none))
    assert torch.equal(grown.bend, anatomy.bend)
    assert not torch.allclose(grown.radii, anatomy.radii, rtol=0.02)
    bent = another_patient(anatomy, seeded(2), Differences(usual, none, none, none))
    assert torch.equal(bent.radii, anatomy.radii) and torch.equal(bent.centre, anatomy.centre)
    assert not torch.allclose(bent.bend, anatomy.bend, atol=0.02)


def test_slices_of_one_patient_have_one_anatomy():
    neighbours = torch.tensor([True, False] * 20)
    drawn = random_differences(neighbours, seeded(4))
    for way in (drawn.shape, drawn.size, drawn.position):
        assert (way[neighbours] == 0).all() and (way[~neighbours] > 0).all()
    assert drawn.intensity[neighbours].max() < drawn.intensity[~neighbours].mean()


def test_one_anatomy_has_many_looks():
    anatomy = random_anatomies(2, seeded(1))
    labels, _ = cut(anatomy, torch.zeros(2), *plane(64, 2))
    scanner = random_scanner(2, seeded(7), "cpu")
    looks = [
        render(labels, random_appearance(anatomy.tissue, seeded(n)), scanner, seeded(9))
        for n in (1, 2)
    ]
    assert (looks[0] - looks[1]).abs().mean() > 0.03


SHARP = {
    "blur": torch.full((1, 2), 0.1), "shade": torch.zeros(1), "noise": torch.zeros(1),
    "rician": torch.zeros(1, dtype=torch.bool), "frequencies": torch.ones(1),
    "coarse": torch.ones(1), "top": torch.ones(1), "gamma": torch.ones(1),
}  # fmt: skip


@pytest.mark.parametrize(("what", "value"), [
    ("blur", torch.full((1, 2), 2.5)), ("shade", torch.tensor([0.7])),
    ("noise", torch.tensor([0.07])), ("frequencies", torch.tensor([0.4])),
    ("coarse", torch.tensor([3.0])), ("gamma", torch.tensor([1.5])),
])  # fmt: skip
def test_each_property_of_a_scanner_is_seen(what, value):
    anatomy = random_anatomies(1, seeded(1))
    labels, _ = cut(anatomy, torch.zeros(1), *plane(128, 1))
    look = random_appearance(anatomy.tissue, seeded(1))
    sharp, other = Scanner(**SHARP), Scanner(**SHARP | {what: value})
    pictures = [render(labels, look, scanner, seeded(9)) for scanner in (sharp, other)]
    assert (pictures[0] - pictures[1]).abs().mean() > 0.004
    again = render(labels, look, sharp.where(torch.tensor([True]), other), seeded(9))
    assert torch.equal(again, pictures[0])


# ------------------------------------------------------------------------- mask prompts


def plans_of(e: Episodes) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mask prompts (B, s, s) of two patients, and truth and support at their size."""
    truth, support = e.query_masks.flatten(0, 1), e.support_masks.flatten(0, 1)
    apart = torch.zeros(len(truth), dtype=torch.bool)
    logits = mask_prompts(truth, support, apart, seeded(3))
    assert logits.shape == (len(truth), 1, truth.shape[-1] // 4, truth.shape[-1] // 4)
    small = [torch.nn.functional.avg_pool2d(m[:, None], 4)[:, 0] for m in (truth, support)]
    return logits[:, 0], *small


def test_plans_lie_near_the_truth_and_often_end_too_early(many):
    logits, truth, _ = plans_of(many)
    large = (truth > 0.5).flatten(1).sum(1) > 25
    expected, real = logits[large] > 0, truth[large] > 0.5
    both = (expected & real).sum((1, 2)).float()
    found = both / real.sum((1, 2))
    dice = 2 * both / (expected.sum((1, 2)) + real.sum((1, 2)))
    assert 0.5 < dice.mean() < 0.9
    assert 0.15 < (found < 0.6).float().mean() < 0.6, "some end in the middle of an organ"
    assert (found > 0.85).float().mean() > 0.2


def test_what_is_not_there_is_sometimes_expected(many):
    logits, truth, support = plans_of(many)
    missing = (truth.flatten(1).amax(1) == 0) & ((support > 0.5).flatten(1).sum(1) > 12)
    assert missing.sum() > 5
    expected = (logits[missing] > 0).flatten(1).any(1)
    assert 0.15 < expected.float().mean() < 0.8


def test_pictures_are_as_bright_as_the_model_makes_those_it_is_shown(monkeypatch):
    shown = episodes_of(3, pairs=16)
    monkeypatch.setattr(episodes, "brightened", lambda pictures: pictures)
    rendered = episodes_of(3, pairs=16)
    assert torch.equal(shown.query, brightened(rendered.query))
    assert (shown.query >= rendered.query).all() and (shown.query > rendered.query + 0.1).any()


def test_neighbours_mostly_bring_their_own_mask(many):
    truth, support = many.query_masks.flatten(0, 1), many.support_masks.flatten(0, 1)
    beside = torch.ones(len(truth), dtype=torch.bool)
    logits = mask_prompts(truth, support, beside, seeded(3))[:, 0]
    small = torch.nn.functional.avg_pool2d(support[:, None], 4)[:, 0]
    large = (small > 0.5).flatten(1).sum(1) > 12
    same = ((logits > 0) == (small > 0.5)).flatten(1).all(1)[large]
    assert 0.6 < same.float().mean() < 0.9


# ------------------------------------------------------------------------- prompts


@pytest.fixture(scope="module")
def asked(one_thread):
    """Truths, their supports, and a map that is high inside the truth."""
    e = random_episodes(16, TARGETS, 64, seeded(8), "cpu")
    truth, support = e.query_masks.flatten(0, 1), e.support_masks.flatten(0, 1)
    synergy = torch.nn.functional.avg_pool2d(truth[:, None], 4)[:, 0] * 0.6 + 0.1
    synergy = synergy + 0.02 * torch.rand(synergy.shape, generator=seeded(1))
    flat = torch.full((len(truth),), 0.12)
    return truth, support, e.neighbours.repeat_interleave(TARGETS), synergy, flat, flat / 4


def prompts(asked, kind: int | None, seed: int = 0):
    count = len(asked[0])
    kinds = None if kind is None else torch.full((count,), kind)
    return training_prompts(*asked, seeded(seed), kind=kinds)


def hits(points: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """(B, P): whether the pixel under each point belongs to the truth."""
    column, row = points.round().long().clamp(0, truth.shape[-1] - 1).unbind(-1)
    return truth[torch.arange(len(truth))[:, None], row, column] > 0


@pytest.mark.parametrize("kind", range(5))
def test_each_kind_gives_what_it_says(asked, kind):
    drawn = prompts(asked, kind)
    count, size = asked[0].shape[:2]
    assert drawn.points.shape == (count, 16, 2) and drawn.labels.shape == (count, 16)
    assert set(drawn.labels.unique().tolist()) <= {-1, 0, 1}
    used = drawn.points[drawn.labels >= 0]
    assert used.numel() == 0 or (used.min() >= -0.5 and used.max() <= size - 0.5)
    boxed = ~drawn.boxes.isnan().any(1)
    there = asked[0].flatten(1).any(1)
    assert torch.equal(boxed, there & (kind == 3))
    masked = ~drawn.masks.flatten(1).isnan().any(1)
    assert bool(masked.all()) == (kind in (2, 4)) and bool(masked.any()) == (kind in (2, 4))
    told = ~drawn.confidence.flatten(1).isnan().any(1)
    if kind == 3:
        assert not told.any()
    elif kind in (1, 4):
        assert 0.6 < told.float().mean() < 1


def test_most_points_are_right_and_some_are_wrong(asked):
    truth = asked[0]
    there = truth.flatten(1).sum(1) > 30
    for kind in (0, 1):
        drawn = prompts(asked, kind)
        inside = hits(drawn.points, truth)
        positive = (drawn.labels == 1) & there[:, None]
        negative = (drawn.labels == 0) & there[:, None]
        assert inside[positive].float().mean() > 0.7, kind
        assert inside[negative].float().mean() < 0.35, kind
    drawn = prompts(asked, 0)
    wrong = ~hits(drawn.points, truth) & (drawn.labels == 1) & there[:, None]
    assert wrong.any(), "clicks are sometimes misplaced"


def test_masks_resemble_the_truth_or_the_neighbour(asked):
    truth, support = asked[:2]
    drawn = prompts(asked, 2)
    size = drawn.masks.shape[-1]
    small = torch.nn.functional.interpolate(truth[:, None], size=size, mode="area")[:, 0] > 0.5
    big_enough = small.flatten(1).sum(1) > 12
    inside = drawn.masks[:, 0] > 0
    dice = 2 * (inside & small).sum((1, 2)) / (inside.sum((1, 2)) + small.sum((1, 2))).clamp(min=1)
    assert 0.5 < dice[big_enough].mean() < 0.99


def test_boxes_hold_most_of_the_truth(asked):
    truth = asked[0].numpy() > 0
    held = []
    for box, mask in zip(prompts(asked, 3).boxes.numpy(), truth):
        if np.isnan(box).any():
            continue
        rows, columns = np.nonzero(mask)
        held.append(np.mean(
            (columns >= box[0]) & (columns <= box[2]) & (rows >= box[1]) & (rows <= box[3])
        ))
    assert np.mean(held) > 0.75


def test_prompts_come_mixed_and_seeded(asked):
    one, two, other = prompts(asked, None, 1), prompts(asked, None, 1), prompts(asked, None, 2)
    for f in fields(one):
        a, b = getattr(one, f.name), getattr(two, f.name)
        assert torch.equal(a.nan_to_num(-99), b.nan_to_num(-99)), f.name
    assert not torch.equal(one.points, other.points)
    boxed = ~one.boxes.isnan().any(1)
    masked = ~one.masks.flatten(1).isnan().any(1)
    silent = (one.labels < 0).all(1)
    for some in (boxed, masked, silent):
        assert 0 < some.sum() < len(some)
    bare = silent & ~boxed & ~masked & one.confidence.flatten(1).isnan().any(1)
    assert bare.float().mean() < 0.15, "hardly any target without any prompt"
