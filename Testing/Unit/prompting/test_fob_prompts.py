"""FoB's stages and the whole chain against their literal evaluation, on small networks."""

from __future__ import annotations

import fob_literal as literal
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from FewShotSAMLib.models.fob_network import FobConfig, FobNetwork, attend
from FewShotSAMLib.prompting.fob import Fob, FobAnswer, highest, spread_positives

CHANNELS, GRID, SIDE, POINTS = 24, 16, 64, 10


def small(refinement: str = "official", seed: int = 0, **changes) -> Fob:
    """FoB with random weights; its backbone is not used here."""
    config = FobConfig(
        backbone="embedded", channels=CHANNELS, grid=GRID, image_size=SIDE, pyramid=(8,),
        refinement=refinement, **changes,
    )
    network = FobNetwork(config)
    shapes = {name: tuple(t.shape) for name, t in network.state_dict().items()}
    network.load_state_dict(literal.random_values(shapes, seed))
    return Fob(network.eval().requires_grad_(False))


def weights(fob: Fob) -> dict[str, torch.Tensor]:
    return {name: t.double() for name, t in fob.network.state_dict().items()}


def random(seed: int, *size: int) -> torch.Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def pictures(seed: int, count: int) -> torch.Tensor:
    """Features with a common part, so that cosines lie on both sides of 0 and near 1."""
    coarse = F.interpolate(random(seed, count, CHANNELS, 5, 5), (GRID, GRID), mode="bicubic")
    return coarse + 0.3 * random(seed + 1, count, CHANNELS, GRID, GRID) + 0.4


def disc(x: float = 30, y: float = 28, radius: float = 8) -> np.ndarray:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return ((columns - x) ** 2 + (rows - y) ** 2 <= radius**2).astype(np.float32)


def prepared(fob: Fob, features: torch.Tensor, masks: list[np.ndarray]):
    supports = [
        fob.prepare(f, torch.from_numpy(mask)) for f, mask in zip(features, masks, strict=True)
    ]
    return (
        torch.stack([s.background for s in supports]), torch.stack([s.foreground for s in supports])
    )


def close(fast: torch.Tensor, slow: torch.Tensor, tolerance: float = 1e-4) -> bool:
    return bool((fast - slow).abs().max() <= tolerance * max(1.0, float(slow.abs().max())))


# --- Stages --------------------------------------------------------------------------------------


def test_support_prototypes():
    fob, features, mask = small(), pictures(0, 1)[0], disc()
    support = fob.prepare(features, torch.from_numpy(mask))
    large = literal.enlarged(features.double(), SIDE)
    points = literal.support_points(mask, POINTS)
    assert support.has_ring
    assert close(support.foreground, literal.prototype(large, mask), 1e-5)
    assert close(
        support.background, literal.point_prototypes(features.double(), points, SIDE), 1e-5
    )


def test_partly_covered_pixels_count_from_a_half_on():
    fob, features, mask = small(), pictures(0, 1)[0], torch.from_numpy(disc())
    whole = fob.prepare(features, mask)
    blurred = torch.where(mask > 0, 0.5, 0.49)
    assert torch.equal(fob.prepare(features, blurred).foreground, whole.foreground)
    faint = fob.prepare(features, mask * 0.2)  # nothing is covered by half: all that is touched
    assert torch.equal(faint.foreground, whole.foreground)


def test_unusable_masks_are_named():
    with pytest.raises(ValueError, match="mask is empty"):
        small().prepare(pictures(0, 1)[0], torch.zeros(SIDE, SIDE))
    with pytest.raises(ValueError, match="64 x 64"):
        small().prepare(pictures(0, 1)[0], torch.ones(32, 32))


@pytest.mark.parametrize("threshold", [-12.0, 0.0, 3.5])
def test_coarse_map(threshold):
    fob, features, vector = small(), pictures(1, 1), random(7, CHANNELS)
    alike = literal.cosine_map(features[0].double(), vector.double())
    slow = literal.coarse_map(alike, threshold, SIDE)
    fast_alike = F.cosine_similarity(features, vector[None, :, None, None], dim=1)
    fast = fob.coarse(fast_alike, torch.tensor([[threshold]]))
    assert close(fast[0], slow, 1e-5)
    assert slow.max() - slow.min() > 1e-3


@pytest.mark.parametrize("seed", range(3))
def test_context_with_a_key_bias_equals_the_whole_bias_matrix(seed):
    fob = small(seed=seed)
    features, prototypes = pictures(seed, 2), random(seed + 9, 2, POINTS, CHANNELS)
    context, fit = fob.network.masked_attention(features, prototypes)
    for row in range(2):
        slow_context, slow_fit = literal.context(
            features[row].double(), prototypes[row].double(), weights(fob)
        )
        assert close(fit[row], slow_fit) and close(context[row], slow_context)
    without = literal.context(
        features[0].double(), prototypes[0].double(),
        weights(fob) | {"masked_attention.conv.bias": torch.tensor([-1e9], dtype=torch.float64)},
    )
    assert (context[0] - without[0]).abs().max() > 1e-2  # the bias counts


def test_attention_equals_torchs_module():
    attention = nn.MultiheadAttention(CHANNELS, 1, batch_first=True).eval()
    nn.init.normal_(attention.in_proj_bias)
    nn.init.normal_(attention.out_proj.bias)
    x, m = random(0, 3, 50, CHANNELS), random(1, 3, 50).relu() * 3
    with torch.no_grad():
        slow = attention(x, x, x, attn_mask=m[:, :, None] + m[:, None, :])[0]
        assert close(attend(x, attention, key_bias=m), slow, 1e-5)
        assert close(attend(x, attention), attention(x, x, x)[0], 1e-5)
        keys = random(2, 3, 7, CHANNELS)
        slow = attention(x, keys, keys, attn_mask=m[:, None, :7].expand(-1, 50, -1))[0]
        assert close(attend(x, attention, keys=keys, key_bias=m[:, :7]), slow, 1e-5)


def test_averaged_keys_are_means_of_blocks():
    """With constant blocks of cells, averaging them changes nothing but the position's share."""
    fob, fine = small(key_stride=4), small()
    w = weights(fob) | {"masked_attention.learnable_pos": torch.zeros(1, CHANNELS, GRID, GRID)}
    for one in (fob, fine):
        one.network.load_state_dict({name: t.float() for name, t in w.items()})
    blocks = F.interpolate(random(3, 1, CHANNELS, 4, 4), (GRID, GRID), mode="nearest")
    prototypes = random(4, 1, POINTS, CHANNELS)
    averaged = fob.network.masked_attention(blocks, prototypes)[0]
    assert close(averaged, fine.network.masked_attention(blocks, prototypes)[0])
    uneven = pictures(5, 1)
    averaged = fob.network.masked_attention(uneven, prototypes)[0]
    assert not close(averaged, fine.network.masked_attention(uneven, prototypes)[0])


def test_head():
    fob, context = small(), pictures(2, 2)
    fast = F.interpolate(fob.network.head(context), (SIDE, SIDE), mode="bilinear")
    for row in range(2):
        assert close(fast[row], literal.head(context[row].double(), weights(fob), SIDE), 1e-5)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.floats(-3, 3))
def test_highest_pixels(seed, level):
    rng = np.random.default_rng(seed)
    maps = torch.from_numpy(rng.normal(size=(2, 3, 7, 5)) + level).round(decimals=1)  # with ties
    points, seen = highest(maps)
    for row in range(2):
        assert np.array_equal(points[row].numpy(), literal.highest(maps[row]))
    assert torch.equal(seen, (maps > 0).flatten(2).any(2))


@pytest.mark.parametrize("highest_value", [0.0, -1.0])
def test_a_heat_map_without_a_place_gives_the_corner(highest_value):
    maps = torch.full((1, 1, 8, 8), -2.0)
    maps[0, 0, 3, 4] = highest_value
    points, seen = highest(maps)
    assert points.tolist() == [[[0, 0]]] and not seen.any()


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_positives(seed, share):
    rng = np.random.default_rng(seed)
    coarse = rng.random((12, 15))
    coarse[rng.random((12, 15)) < share] *= 0.9
    assert np.array_equal(spread_positives(coarse), literal.positives(coarse))


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 37])
def test_number_of_positives(count):
    coarse = np.linspace(0, 0.96, 400).reshape(20, 20)  # 0.96 itself is not sure
    coarse.ravel()[5 : 5 + count] = 0.97
    found = spread_positives(coarse)
    assert len(found) == {0: 1}.get(count, min(count, 10))
    assert np.array_equal(found, literal.positives(coarse))
    if count == 0:
        assert found.tolist() == [[19, 19]]


FOUND = {
    "in a circle": np.rint(
        30 + 14 * np.stack([np.cos(np.arange(10) * 2.2), np.sin(np.arange(10) * 2.2)], 1)
    ),
    "some without a place": np.array(
        [(40, 3), (0, 0), (9, 50), (61, 63), (0, 0), (33, 30), (1, 0), (0, 1), (20, 20), (63, 0)]
    ),
    "all at the corner": np.zeros((10, 2)),
    "all at one place": np.full((10, 2), 17),
}


@pytest.mark.parametrize("refinement", ["official", "repaired"])
@pytest.mark.parametrize("name", FOUND)
def test_refinement(refinement, name):
    fob, features = small(refinement), pictures(6, 2)
    found = FOUND[name]
    support = random(8, 2, POINTS, CHANNELS)
    both = torch.from_numpy(np.stack([found, found[::-1].copy()])).float()
    fast = fob.refine(features, both, support)
    for row, start in enumerate((found, found[::-1])):
        slow = literal.refined(
            features[row].double(), start.astype(int), support[row].double(), weights(fob), SIDE,
            repaired=refinement == "repaired",
        )
        assert close(fast[row], slow, 1e-5)
        assert (slow - torch.from_numpy(start.copy())).abs().max() > 0.1  # they moved


def sampled_features(refinement: str, found: np.ndarray) -> torch.Tensor:
    """What the sampler saw at each point in the first step: (K, C)."""
    fob, seen = small(refinement), []
    fob.network.refine.deform_attn.scale_mod[2].bias.fill_(-1e3)  # exactly at the points
    fob.network.refine.deform_attn.register_forward_hook(
        lambda _module, _inputs, output: seen.append(output[0][0])
    )
    fob.refine(pictures(6, 1), torch.from_numpy(found[None]).float(), random(8, 1, 10, CHANNELS))
    assert len(seen) == 3
    return seen[0]


def test_the_published_sampler_sees_nothing_but_at_the_corner():
    assert sampled_features("official", FOUND["in a circle"]).abs().max() == 0
    mixed = sampled_features("official", FOUND["some without a place"]).abs().amax(1) > 0
    assert mixed[[1, 4]].all() and not mixed[[0, 2, 3, 5, 8, 9]].any()


def test_the_repaired_sampler_sees_the_features():
    assert (sampled_features("repaired", FOUND["in a circle"]).abs().amax(1) > 0).all()


def test_published_prototypes_are_sorted_but_their_points_are_not():
    """A sorted start gives the same moves to points in other places."""
    found = FOUND["in a circle"].astype(int)
    start = found[literal.angle_order(found)]
    assert not np.array_equal(start, found)
    for refinement in ("official", "repaired"):
        fob, support = small(refinement), random(8, 1, POINTS, CHANNELS)
        features = pictures(6, 1)
        moved, moved_sorted = (
            fob.refine(features, torch.from_numpy(p[None]).float(), support)[0]
            for p in (found, start)
        )
        if refinement == "official":
            shift = moved - torch.from_numpy(found)
            assert close(shift, moved_sorted - torch.from_numpy(start))
        else:
            assert torch.equal(moved, moved_sorted)


# --- The whole chain -----------------------------------------------------------------------------

MASKS = {
    "disc": disc(),
    "one pixel": disc(20, 40, 0),
    "at the border": disc(0, 63, 9),
    "two parts": np.maximum(disc(15, 15, 4), disc(50, 44, 3)),
    "with a hole": disc(30, 30, 16) - disc(30, 30, 5),
}


@pytest.mark.parametrize("refinement", ["official", "repaired"])
@pytest.mark.parametrize("name", MASKS)
def test_whole_chain(refinement, name):
    fob = small(refinement)
    support, query = pictures(10, 1), pictures(12, 1)
    fast = fob.answer(query, torch.tensor([[4.0]]), *prepared(fob, support, [MASKS[name]]))
    slow = literal.answer(
        support[0].double(), MASKS[name], query[0].double(), 4.0, weights(fob), SIDE, POINTS,
        repaired=refinement == "repaired",
    )
    assert close(fast.coarse[0], slow.coarse, 1e-5)
    assert close(fast.fit[0], slow.fit) and close(fast.heat[0], slow.heat)
    found = fast.found[0].numpy().astype(int)
    assert literal.same_places(found, slow.heat)
    points = literal.refined(
        query[0].double(), found, slow.background, weights(fob), SIDE,
        repaired=refinement == "repaired",
    )
    assert close(fast.points[0], points)
    if np.array_equal(found, slow.found):
        assert close(fast.points[0], slow.points)
    prompts = fob.prompts(fast)[0]
    assert np.array_equal(prompts.positives, literal.positives(slow.coarse.numpy()))
    if refinement == "official":
        assert np.abs(prompts.negatives - points.numpy()).max() < 1e-3


def test_many_at_once_equal_one_by_one():
    fob = small()
    query, threshold = pictures(20, 5), random(1, 5, 1) * 3
    background, foreground = prepared(fob, pictures(30, 5), list(MASKS.values()))
    together = fob.answer(query, threshold, background, foreground)
    for row in range(5):
        one = slice(row, row + 1)
        alone = fob.answer(query[one], threshold[one], background[one], foreground[one])
        for name in ("coarse", "fit", "heat", "points"):
            assert close(getattr(together, name)[one], getattr(alone, name), 1e-5)
        assert torch.equal(together.found[one], alone.found)
        assert torch.equal(together.seen[one], alone.seen)
        both = [fob.prompts(answer)[index] for answer, index in ((together, row), (alone, 0))]
        assert np.allclose(both[0].points, both[1].points, atol=1e-3)
        assert np.array_equal(both[0].labels, both[1].labels)


def test_in_half_precision_only_context_and_head_are_rounded():
    fob = small()
    half = Fob(fob.network, torch.bfloat16)
    arguments = pictures(12, 2), random(1, 2, 1), *prepared(fob, pictures(10, 2), [disc()] * 2)
    exact, rounded = fob.answer(*arguments), half.answer(*arguments)
    assert torch.equal(rounded.coarse, exact.coarse)
    for name in ("fit", "heat"):
        one, other = getattr(rounded, name), getattr(exact, name)
        assert one.dtype == torch.float32
        assert 0 < (one - other).abs().max() < 0.05 * other.abs().max()
    assert rounded.points.dtype == torch.float32
    assert torch.equal(half.refine(arguments[0], exact.found, arguments[2]), exact.points)


@pytest.mark.parametrize("refinement", ["official", "repaired"])
@pytest.mark.parametrize("query", ["unlike", "nothing"])
def test_no_foreground_in_the_query(refinement, query):
    """One positive point at the likeliest place, and everything stays finite."""
    fob = small(refinement)
    background, foreground = prepared(fob, pictures(10, 1), [disc()])
    features = {
        "unlike": pictures(12, 1) - 3 * F.normalize(foreground, dim=1)[:, :, None, None],
        "nothing": torch.zeros(1, CHANNELS, GRID, GRID),
    }[query]
    answer = fob.answer(features, torch.tensor([[-10.0]]), background, foreground)
    prompts = fob.prompts(answer)[0]
    assert float(answer.coarse.max()) <= 0.96
    assert len(prompts.positives) == 1
    assert np.isfinite(prompts.points).all()
    slow = literal.positives(answer.coarse[0].numpy())
    assert np.array_equal(prompts.positives, slow)


@pytest.mark.parametrize("mask", [np.ones((SIDE, SIDE)), 1 - disc(0, 0, 6)])
def test_a_support_without_a_ring_gives_no_negatives(mask):
    fob, features = small(), pictures(10, 1)
    support = fob.prepare(features[0], torch.from_numpy(mask.astype(np.float32)))
    assert not support.has_ring
    assert torch.isfinite(support.background).all()
    answer = fob.answer(
        pictures(12, 1), torch.tensor([[4.0]]), support.background[None], support.foreground[None]
    )
    prompts = fob.prompts(answer, [support.has_ring])[0]
    assert len(prompts.negatives) == 0 and len(prompts.positives) > 0
    assert len(fob.prompts(answer, [True])[0].negatives) == POINTS


def unmoved(fob: Fob, *, blind: tuple[int, ...]) -> FobAnswer:
    """An answer whose points stay where they were found and where some heat maps have no place."""
    network = fob.network
    network.head.head[3].bias[list(blind)] = -1e3
    network.refine.deform_attn.scale_mod[2].bias.fill_(-1e3)
    background, foreground = prepared(fob, pictures(10, 1), [disc()])
    return fob.answer(pictures(12, 1), torch.tensor([[4.0]]), background, foreground)


def test_published_prompts_keep_the_corner_for_heat_maps_without_a_place():
    fob = small()
    answer = unmoved(fob, blind=(2, 7))
    negatives = np.rint(fob.prompts(answer)[0].negatives)
    assert np.array_equal(negatives, answer.found[0].numpy())
    assert (negatives == 0).all(1).sum() == 2


def test_repaired_prompts_leave_out_heat_maps_without_a_place():
    fob = small("repaired")
    answer = unmoved(fob, blind=(2, 7))
    negatives = np.rint(fob.prompts(answer)[0].negatives)
    found = answer.found[0].numpy()
    wanted = np.delete(found, (2, 7), axis=0)
    assert sorted(map(tuple, negatives)) == sorted(map(tuple, wanted))
