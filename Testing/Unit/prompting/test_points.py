"""Point prompts from confidence maps: what must hold for every map."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist, pdist

from FewShotSAMLib.prompting.point_prompts import PointPrompts
from FewShotSAMLib.prompting.points import (
    cluster_centres,
    drop_near,
    interval_sample,
    top_pixels,
)
from FewShotSAMLib.prompting.support_choice import combine
from FewShotSAMLib.prompting.synpo import SynPo, SynPoSupport
from FewShotSAMLib.prompting.synpo_parameters import SynPoParameters

ROI = 24
SYNPO = SynPo(SynPoParameters.for_modality("MR", roi_size=ROI))


def support(**changes: object) -> SynPoSupport:
    plain = SynPoSupport((torch.ones(1),), 0.05, 2, 0.3, 0.2, True, 0.9)
    return replace(plain, **changes)


def smooth_maps(seed: int, count: int, levels: int = 0) -> torch.Tensor:
    """Random maps; with `levels`, of few distinct values, so that many pixels tie."""
    maps = torch.rand(count, ROI, ROI, generator=torch.Generator().manual_seed(seed))
    return (maps * levels).floor() / levels if levels else maps


def in_hull(point: np.ndarray, cloud: np.ndarray) -> bool:
    """In the convex hull: no direction in which the point lies beyond the whole cloud."""
    angles = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    directions = np.stack([np.cos(angles), np.sin(angles)])
    return bool((point @ directions <= (cloud @ directions).max(axis=0) + 1e-3).all())


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), levels=st.sampled_from([0, 1, 3]), positives=st.integers(1, 3))
def test_points_for_any_map(seed: int, levels: int, positives: int) -> None:
    maps = smooth_maps(seed, 2, levels)
    one = support(positives=positives)
    for prompts, top in zip(
        SYNPO.prompts(maps, one, seed=seed), top_pixels(maps, 20 * positives), strict=True
    ):
        assert len(prompts.positives) == positives
        assert len(prompts.negatives) <= 4
        assert (prompts.points >= 0).all() and (prompts.points <= ROI - 1).all()
        assert all(in_hull(point, top.numpy()) for point in prompts.positives)
        if len(prompts.positives) > 1 and len(prompts.negatives):
            nearest = cdist(prompts.negatives, prompts.positives).min(axis=1)
            assert (nearest >= pdist(prompts.positives).max() - 1e-4).all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), levels=st.sampled_from([0, 2, 5]), count=st.integers(1, 700))
def test_top_pixels_are_the_highest_in_raster_order(seed: int, levels: int, count: int) -> None:
    maps = smooth_maps(seed, 2, levels)
    for one, chosen in zip(maps.numpy(), top_pixels(maps, count), strict=True):
        order = np.argsort(-one.ravel(), kind="stable")[:count]
        expected = np.stack([order % ROI, order // ROI], axis=1)
        assert np.array_equal(chosen, expected)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), axis=st.sampled_from([1, 2]))
def test_top_pixels_turn_with_the_map(seed: int, axis: int) -> None:
    order = torch.randperm(ROI * ROI, generator=torch.Generator().manual_seed(seed))
    maps = order.float().reshape(1, ROI, ROI)  # no ties: the choice is the map's alone
    plain, turned = top_pixels(maps, 40)[0], top_pixels(maps.flip(axis), 40)[0]
    turned[:, 2 - axis] = ROI - 1 - turned[:, 2 - axis]
    assert torch.equal(turned, plain)


@pytest.mark.parametrize("axis", [1, 2])
def test_positives_turn_with_separate_peaks(axis: int) -> None:
    maps = torch.zeros(1, ROI, ROI)
    maps[0, 2:7, 3:7] = 1  # 20 pixels each: two clusters that no start can miss
    maps[0, 16:20, 15:20] = 1
    plain = SYNPO.prompts(maps, support())[0].positives
    turned = SYNPO.prompts(maps.flip(axis), support())[0].positives.copy()
    turned[:, 2 - axis] = ROI - 1 - turned[:, 2 - axis]
    assert np.allclose(sorted(map(tuple, turned)), sorted(map(tuple, plain)), atol=1e-5)
    assert np.allclose(plain, [[4.5, 4], [17, 17.5]])


def test_points_do_not_depend_on_the_batch() -> None:
    maps = smooth_maps(1, 5, levels=7)
    together = SYNPO.prompts(maps, support(), seed=4)
    alone = [SYNPO.prompts(one[None], support(), seed=4)[0] for one in maps]
    backwards = SYNPO.prompts(maps.flip(0), support(), seed=4)[::-1]
    for a, b, c in zip(together, alone, backwards, strict=True):
        assert np.array_equal(a.points, b.points) and np.array_equal(a.labels, b.labels)
        assert np.array_equal(a.points, c.points)


def test_the_seed_chooses_the_negatives() -> None:
    maps = smooth_maps(1, 1)
    plain = SynPo(replace(SYNPO.parameters, drop_near_negatives=False))
    first, again, other = (plain.prompts(maps, support(), seed=s)[0] for s in (0, 0, 1))
    assert np.array_equal(first.negatives, again.negatives)
    assert not np.array_equal(first.negatives, other.negatives)


def test_constant_map() -> None:
    prompts = SYNPO.prompts(torch.full((1, ROI, ROI), 0.3), support())[0]
    assert len(prompts.positives) == 2
    assert np.isfinite(prompts.points).all()


def test_empty_interval_gives_no_negatives() -> None:
    far = support(background_mean=5.0, background_deviation=0.1)
    prompts = SYNPO.prompts(smooth_maps(0, 1), far)[0]
    assert len(prompts.negatives) == 0 and len(prompts.positives) == 2


def test_mask_over_everything_gives_no_negatives() -> None:
    features = [torch.rand(4, 6, 6, generator=torch.Generator().manual_seed(0))]
    whole = SYNPO.prepare(features, torch.ones(ROI, ROI))
    assert not whole.has_background and whole.positives == 3
    assert (whole.background_mean, whole.background_deviation) == (0.0, 0.0)
    maps = SYNPO.confidence([one[None] for one in features], whole)
    assert len(SYNPO.prompts(maps, whole)[0].negatives) == 0


def test_mask_of_one_pixel() -> None:
    features = [torch.rand(4, 6, 6, generator=torch.Generator().manual_seed(0))]
    for row, column in ((0, 0), (13, 7), (23, 23), (12, 12)):
        mask = torch.zeros(ROI, ROI)
        mask[row, column] = 1
        one = SYNPO.prepare(features, mask)
        cell = features[0][:, row // 4, column // 4]
        assert len(one.prototypes[0]) == 4 and one.has_background
        assert torch.allclose(one.prototypes[0], cell / cell.norm(), atol=1e-6)
        prompts = SYNPO.prompts(SYNPO.confidence([features[0][None]], one), one)[0]
        assert len(prompts.positives) == 2


def test_points_stay_inside_the_picture() -> None:
    valid = torch.zeros(ROI, ROI, dtype=torch.bool)
    valid[5:15, 8:20] = True
    for prompts in SYNPO.prompts(smooth_maps(2, 3), support(), valid=valid):
        assert (prompts.points >= [8, 5]).all() and (prompts.points <= [19, 14]).all()


def test_fewer_pixels_than_clusters() -> None:
    valid = torch.zeros(ROI, ROI, dtype=torch.bool)
    valid[3, 4] = True
    prompts = SYNPO.prompts(torch.full((1, ROI, ROI), 0.3), support(), valid=valid)[0]
    assert prompts.positives.tolist() == [[4, 3]]
    nothing = SYNPO.prompts(torch.zeros(1, ROI, ROI), support(), valid=~valid & valid)[0]
    assert len(nothing) == 0
    assert SYNPO.prompts(torch.zeros(0, ROI, ROI), support()) == []


def test_interval_is_closed_and_sampling_bounded() -> None:
    values = torch.arange(12.0).reshape(1, 3, 4)
    (everything,) = interval_sample(values, torch.tensor([2]), torch.tensor([5]), 10, seed=0)
    assert [values[0, y, x] for x, y in everything] == [2, 3, 4, 5]
    (some,) = interval_sample(values, torch.tensor([0]), torch.tensor([11]), 5, seed=0)
    assert len({tuple(p) for p in some.tolist()}) == 5


@given(seed=st.integers(0, 10_000), count=st.integers(1, 300))
def test_samples_of_a_map_do_not_depend_on_the_others(seed: int, count: int) -> None:
    maps, low, high = smooth_maps(seed, 3), torch.tensor([0.1, torch.nan, 0.4]), torch.ones(3)
    maps[2, :3], maps[0, 0, 0] = torch.inf, torch.nan
    together = interval_sample(maps, low, high, count, seed=seed)
    assert [len(one) for one in together][1] == 0
    for one, a, b, pixels in zip(maps, low, high, together, strict=True):
        alone = interval_sample(one[None], a[None], b[None], count, seed=seed)[0]
        assert torch.equal(alone, pixels)
        x, y = pixels.unbind(1)
        inside = (one >= a) & (one <= b) & one.isfinite()
        assert inside[y, x].all() and len(pixels) == min(count, int(inside.sum()))
        assert (torch.diff(y * ROI + x) > 0).all()


def test_kmeans_finds_the_best_of_all_partitions() -> None:
    pixels = torch.tensor([[0, 0], [1, 0], [0, 2], [9, 9], [10, 8], [20, 1]])
    (centres,) = cluster_centres([pixels], 3, seed=0)
    assert np.allclose(centres, [[1 / 3, 2 / 3], [20, 1], [9.5, 8.5]], atol=1e-5)


def test_negatives_near_positives_are_dropped() -> None:
    positives = np.array([[0.0, 0.0], [10.0, 0.0]])
    negatives = np.array([[0.0, 9.9], [0.0, 10.0], [25.0, 0.0], [5.0, 0.0]])
    assert drop_near(negatives, positives).tolist() == [[0, 10], [25, 0]]
    assert len(drop_near(negatives, positives[:1])) == 4


def test_best_support_per_slice() -> None:
    maps = torch.zeros(2, 2, ROI, ROI)
    maps[0, 0, :8] = 0.9  # as like as the first support itself
    maps[1, 0, :8] = 0.95  # higher, but its own foreground reaches far higher
    maps[0, 1, :8], maps[1, 1, :8] = 0.4, 2.0
    supports = [support(), support(self_confidence=2.0, positives=3, foreground_share=0.2)]
    best = combine(SYNPO, maps, supports)
    assert best.chosen.tolist() == [0, 1]
    assert torch.equal(best.confidence[0], maps[0, 0])
    assert torch.equal(best.confidence[1], maps[1, 1])
    assert best.affinity.tolist() == pytest.approx([1, 1])
    assert [len(p.positives) for p in SYNPO.prompts(best.confidence, best.supports)] == [2, 3]
    mean = combine(SYNPO, maps, supports, "mean")
    assert torch.allclose(mean.confidence, maps.mean(dim=0))
    assert mean.supports[0].self_confidence == pytest.approx(1.45)
    assert mean.supports[0].positives == 3  # of the mean share, 0.125
    with pytest.raises(ValueError, match="how"):
        combine(SYNPO, maps, supports, "worst")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="supports"):
        combine(SYNPO, maps, supports[:1])


def test_prompts_keep_order_and_survive_json() -> None:
    prompts = PointPrompts.of([[1, 2], [3, 4]], [[5, 6]]) + PointPrompts.of([[7, 8]])
    again = PointPrompts.from_json(prompts.to_json())
    assert again.labels.tolist() == [1, 1, 0, 1]
    assert np.array_equal(again.points, prompts.points)
    assert prompts.positives.tolist() == [[1, 2], [3, 4], [7, 8]]
    assert len(PointPrompts()) == 0
    with pytest.raises(ValueError, match="labels"):
        PointPrompts(np.zeros((2, 2)), np.ones(3))
    with pytest.raises(ValueError, match="finite"):
        PointPrompts(np.array([[np.nan, 0]]), np.ones(1))
