"""SynPo's equations against a slow, literal evaluation: n maps, loops, float64."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from FewShotSAMLib.prompting.confidence import foreground_cells, fuse, prototype, similarity, to_roi
from FewShotSAMLib.prompting.synpo import SynPo
from FewShotSAMLib.prompting.synpo_parameters import SynPoParameters

ROI = 32
SIZES = ((6, 8, 8), (5, 8, 8))  # channels, height, width of the two encoders


def features(seed: int, count: int | None = None) -> list[torch.Tensor]:
    """Correlated features, so that cosines are not all near 0."""
    generator = torch.Generator().manual_seed(seed)
    lead = () if count is None else (count,)
    return [torch.rand(*lead, *size, generator=generator) - 0.2 for size in SIZES]


def disc(centre: tuple[float, float] = (14, 11), radius: float = 6) -> torch.Tensor:
    y, x = np.mgrid[:ROI, :ROI]
    inside = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 <= radius**2
    return torch.from_numpy(inside.astype(np.float32))


def bilinear(values: np.ndarray, size: int) -> np.ndarray:
    """Resizing with pixel centres at (i + 0.5) * scale - 0.5, clamped at the edge."""
    height, width = values.shape
    result = np.zeros((size, size))
    for row, column in itertools.product(range(size), range(size)):
        y = min(max((row + 0.5) * height / size - 0.5, 0), height - 1)
        x = min(max((column + 0.5) * width / size - 0.5, 0), width - 1)
        top, left = int(y), int(x)
        below, right = min(top + 1, height - 1), min(left + 1, width - 1)
        fy, fx = y - top, x - left
        result[row, column] = (
            values[top, left] * (1 - fy) * (1 - fx)
            + values[top, right] * (1 - fy) * fx
            + values[below, left] * fy * (1 - fx)
            + values[below, right] * fy * fx
        )
    return result


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / math.sqrt((a @ a) * (b @ b)))


def slow_map(query: np.ndarray, support: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """One map per foreground feature, then their mean."""
    maps = []
    for row, column in np.argwhere(cells):
        target = support[:, row, column]
        one = np.zeros(query.shape[1:])
        for y, x in itertools.product(range(query.shape[1]), range(query.shape[2])):
            one[y, x] = cosine(query[:, y, x], target)
        maps.append(one)
    return np.mean(maps, axis=0)


def slow_cells(mask: np.ndarray, size: int = 8) -> np.ndarray:
    return bilinear(mask.astype(np.float64), size) > 0


def slow_synergy(
    query: list[torch.Tensor], support: list[torch.Tensor], mask: torch.Tensor
) -> np.ndarray:
    maps = []
    for q, s in zip(query, support, strict=True):
        one = slow_map(q.double().numpy(), s.double().numpy(), slow_cells(mask.numpy()))
        maps.append(bilinear(one, ROI))
    return 0.8 * maps[0] * maps[1] + 0.1 * maps[0] + 0.1 * maps[1]


@pytest.fixture(scope="module")
def synpo() -> SynPo:
    return SynPo(SynPoParameters.for_modality("MR", roi_size=ROI))


def test_confidence_is_the_mean_of_all_cosines() -> None:
    support, query = features(0)[0], features(1, 3)[0]
    cells = foreground_cells(disc(), (8, 8))
    fast = similarity(query, prototype(support, cells)[None])[0].numpy()
    for index in range(3):
        slow = slow_map(query[index].double().numpy(), support.double().numpy(), cells.numpy())
        assert np.abs(fast[index] - slow).max() < 1e-5


def test_normalising_the_mean_would_be_another_map() -> None:
    support = features(0)[0]
    vector = prototype(support, foreground_cells(disc(), (8, 8)))
    assert torch.linalg.vector_norm(vector) < 0.97


def test_foreground_cells_are_those_where_the_resized_mask_is_positive() -> None:
    for centre, radius in (((14, 11), 6), ((3, 28), 2.5), ((31, 31), 4)):
        mask = disc(centre, radius)
        assert np.array_equal(foreground_cells(mask, (8, 8)).numpy(), slow_cells(mask.numpy()))


def test_upsampling_matches_the_definition() -> None:
    small = torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(2))
    for index in range(2):
        slow = bilinear(small[index].double().numpy(), ROI)
        assert np.abs(to_roi(small, ROI)[index].numpy() - slow).max() < 1e-5


def test_synergy_fuses_upsampled_maps(synpo: SynPo) -> None:
    support, query, mask = features(3), features(4, 2), disc()
    fast = synpo.confidence(query, synpo.prepare(support, mask)).numpy()
    for index in range(2):
        slow = slow_synergy([q[index] for q in query], support, mask)
        assert np.abs(fast[index] - slow).max() < 1e-5


def test_fusing_after_upsampling_differs_from_before() -> None:
    maps = [torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(s)) for s in (0, 1)]
    after = fuse([to_roi(one, ROI) for one in maps], 0.8, (0.1, 0.1))
    before = to_roi(fuse(maps, 0.8, (0.1, 0.1)), ROI)
    assert (after - before).abs().max() > 1e-2


def test_negative_statistics_come_from_the_background_alone(synpo: SynPo) -> None:
    support, mask = features(5), disc()
    prepared = synpo.prepare(support, mask)
    itself = slow_synergy(support, support, mask)
    touched = bilinear(slow_cells(mask.numpy()).astype(float), ROI) > 0
    background = itself[~(touched | (mask.numpy() > 0))]
    assert prepared.background_mean == pytest.approx(background.mean(), abs=1e-5)
    assert prepared.background_deviation == pytest.approx(background.std(), abs=1e-5)
    assert prepared.self_confidence == pytest.approx(itself[mask.numpy() > 0].mean(), abs=1e-5)


def test_padding_outside_the_picture_is_no_background(synpo: SynPo) -> None:
    support, mask = features(5), disc()
    valid = torch.ones(ROI, ROI, dtype=torch.bool)
    valid[:, 24:] = False
    changed = [one.clone() for one in support]
    for one in changed:
        one[:, :, 7:] = -one[:, :, 7:]  # seen only by pixels 26 and beyond
    plain, padded = (synpo.prepare(s, mask, valid=valid) for s in (support, changed))
    assert plain.background_mean == pytest.approx(padded.background_mean, abs=1e-6)
    assert synpo.prepare(changed, mask).background_mean != pytest.approx(
        plain.background_mean, abs=1e-3
    )


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0001, 2), (0.05, 2), (0.0999, 2), (0.1, 3), (0.3, 3), (1.0, 3)]
)
def test_number_of_positives(share: float, expected: int) -> None:
    assert SynPoParameters().positives(share) == expected
    assert expected == min(math.floor(10 * share) + 2, 3)


@pytest.mark.parametrize(
    ("modality", "alpha", "beta"),
    [("CT", 1.0, -0.5), ("MR", 0.0, -1.5), ("RGB", 0.5, -1.0), ("other", 0.5, -1.0)],
)
def test_presets(modality: str, alpha: float, beta: float) -> None:
    preset = SynPoParameters.for_modality(modality)
    assert (preset.alpha, preset.beta) == (alpha, beta)
    assert (preset.product_weight, preset.single_weights) == (0.8, (0.1, 0.1))
    assert (preset.gamma, preset.negatives) == (20, 4)


def test_negatives_come_from_the_interval(synpo: SynPo) -> None:
    """With as many clusters as sampled pixels every negative is a pixel of the interval."""
    chosen = SynPo(
        SynPoParameters.for_modality(
            "MR", roi_size=ROI, gamma=1, negatives=12, drop_near_negatives=False
        )
    )
    support, query = features(6), features(7, 2)
    prepared = chosen.prepare(support, disc())
    maps = chosen.confidence(query, prepared)
    low = prepared.background_mean
    high = prepared.background_mean + 1.5 * prepared.background_deviation
    for one, prompts in zip(maps, chosen.prompts(maps, prepared, seed=3), strict=True):
        assert len(prompts.negatives) == 12
        for x, y in prompts.negatives.astype(int):
            assert low <= float(one[y, x]) <= high


def test_one_encoder_alone_uses_its_own_map() -> None:
    synpo = SynPo(SynPoParameters(roi_size=ROI))
    support, query, mask = features(8)[:1], features(9, 2)[:1], disc()
    fast = synpo.confidence(query, synpo.prepare(support, mask)).numpy()
    cells = slow_cells(mask.numpy())
    slow = slow_map(query[0][1].double().numpy(), support[0].double().numpy(), cells)
    assert np.abs(fast[1] - bilinear(slow, ROI)).max() < 1e-5


def test_encoders_may_have_different_grids(synpo: SynPo) -> None:
    generator = torch.Generator().manual_seed(0)
    support = [torch.rand(4, 8, 8, generator=generator), torch.rand(7, 4, 4, generator=generator)]
    maps = synpo.confidence([one[None] for one in support], synpo.prepare(support, disc()))
    assert maps.shape == (1, ROI, ROI)
    assert torch.isfinite(maps).all()


def test_a_zero_feature_is_similar_to_nothing(synpo: SynPo) -> None:
    support = features(10)
    query = [torch.zeros(1, *size) for size in SIZES]
    assert synpo.confidence(query, synpo.prepare(support, disc())).abs().max() == 0


def test_several_supports_at_once_equal_one_after_the_other(synpo: SynPo) -> None:
    query = features(11, 3)
    supports = [synpo.prepare(features(s), disc(radius=r)) for s, r in ((12, 4), (13, 8))]
    together = synpo.confidences(query, supports)
    for one, maps in zip(supports, together, strict=True):
        assert torch.allclose(synpo.confidence(query, one), maps, atol=1e-6)


@pytest.mark.parametrize("flip", [1, 2])
def test_flipped_pictures_give_flipped_maps(synpo: SynPo, flip: int) -> None:
    support, query, mask = features(14), features(15, 2), disc()
    plain = synpo.confidence(query, synpo.prepare(support, mask))
    turned = synpo.confidence(
        [one.flip(flip + 1) for one in query],
        synpo.prepare([one.flip(flip) for one in support], mask.flip(flip - 1)),
    )
    assert torch.allclose(turned.flip(flip), plain, atol=1e-6)


def test_unusable_input_is_named(synpo: SynPo) -> None:
    with pytest.raises(ValueError, match="mask is empty"):
        synpo.prepare(features(0), torch.zeros(ROI, ROI))
    with pytest.raises(ValueError, match="32 x 32"):
        synpo.prepare(features(0), torch.ones(8, 8))
    prepared = synpo.prepare(features(0), disc())
    with pytest.raises(ValueError, match="encoders"):
        synpo.confidence(features(1, 2)[:1], prepared)
    with pytest.raises(ValueError, match="channels"):
        synpo.confidence(features(1, 2)[::-1], prepared)
    with pytest.raises(ValueError, match="alpha"):
        SynPoParameters(alpha=-2, beta=1)
    with pytest.raises(ValueError, match="single_weights"):
        SynPoParameters().synergy_weights(3)
