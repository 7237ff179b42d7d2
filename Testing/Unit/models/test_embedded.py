"""The embedded model: its two interfaces, its file, and what the shipped weights can do."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from scipy import ndimage
from small_networks import TINY_EMBEDDED

from FewShotSAMLib.data.errors import InputError
from FewShotSAMLib.models.embedded import (
    INPUT_SIZE,
    WEIGHTS,
    EmbeddedFeatures,
    EmbeddedModel,
    brightened,
    load_embedded,
    read_network,
    save_network,
)
from FewShotSAMLib.models.embedded_network import EmbeddedNetwork
from FewShotSAMLib.models.interfaces import (
    FeatureEncoder,
    ModelCard,
    PromptableModel,
    PromptBatch,
)
from FewShotSAMLib.training.episodes import random_episodes
from FewShotSAMLib.weights.resources import models_folder, recorded_sha256, sha256_of

CPU = torch.device("cpu")
NAN = float("nan")


def tiny_network(seed: int = 0) -> EmbeddedNetwork:
    torch.manual_seed(seed)
    return EmbeddedNetwork(TINY_EMBEDDED)


def tiny_model(size: int = 64) -> EmbeddedModel:
    return EmbeddedModel(tiny_network(), ModelCard("tiny"), CPU, size)


def pictures(count: int, size: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, size, size, generator=generator)


def random_prompts(count: int, size: int, seed: int = 0) -> PromptBatch:
    """Prompts of every kind, some rows lacking some."""
    g = torch.Generator().manual_seed(seed)
    boxes = torch.rand(count, 4, generator=g).sort(1).values[:, [0, 1, 2, 3]] * size
    masks = torch.randn(count, 1, size // 4, size // 4, generator=g) * 4
    confidence = torch.rand(count, 1, size, size, generator=g)
    boxes[::2], masks[1::3], confidence[::4] = NAN, NAN, NAN
    return PromptBatch(
        torch.rand(count, 5, 2, generator=g) * size,
        torch.randint(-1, 2, (count, 5), generator=g),
        boxes, masks, confidence,
    )  # fmt: skip


def rows(prompts: PromptBatch, index: slice) -> PromptBatch:
    return PromptBatch(
        prompts.points[index], prompts.labels[index], prompts.boxes[index],
        prompts.masks[index], prompts.confidence[index],
    )  # fmt: skip


# ----------------------------------------------------------------- the two interfaces


def test_it_is_what_the_interfaces_ask_for():
    model = tiny_model()
    assert isinstance(model, PromptableModel)
    assert isinstance(EmbeddedFeatures(model), FeatureEncoder)


@pytest.mark.parametrize("size", [64, 128, 256])
def test_shapes_at_every_input_size(size):
    model = tiny_model(size)
    embeddings = model.embed(pictures(2, size))
    assert len(embeddings) == 2
    assert embeddings.features.shape == (2, TINY_EMBEDDED.position, size // 4, size // 4)
    logits, quality = model.decode(
        embeddings, torch.tensor([0, 1, 1]), random_prompts(3, size)
    )
    assert logits.shape == (3, 1, size // 2, size // 2)
    assert quality.shape == (3, 1)
    assert torch.isfinite(logits).all()
    assert ((quality >= 0) & (quality <= 1)).all()


def test_matching_features_cost_no_second_run():
    model = tiny_model()
    images = pictures(3, 64)
    features = EmbeddedFeatures(model)
    embeddings = model.embed(images)
    assert torch.equal(features.of_embeddings(embeddings), features.encode(images))
    assert features.encode(images).shape == (3, TINY_EMBEDDED.matching, 16, 16)
    assert features.input_size == model.input_size


def test_pictures_are_embedded_alike_in_any_batch():
    model = tiny_model()
    images = pictures(4, 64)
    together = model.embed(images)
    for n in range(4):
        alone = model.embed(images[n : n + 1])
        for a, b in zip(
            (alone.features, *alone.extra), (together.features, *together.extra), strict=True
        ):
            assert torch.allclose(a[0], b[n], atol=1e-4)


@settings(max_examples=8, deadline=None)
@given(cuts=st.lists(st.integers(1, 36), max_size=3), seed=st.integers(0, 100))
def test_decoding_does_not_depend_on_the_batch(cuts, seed):
    """37 prompts cross the model's own chunks twice; any other cut gives the same."""
    model = tiny_model()
    embeddings = model.embed(pictures(3, 64, seed))
    prompts = random_prompts(37, 64, seed)
    picture = torch.randint(0, 3, (37,), generator=torch.Generator().manual_seed(seed))
    logits, quality = model.decode(embeddings, picture, prompts)
    edges = [0, *sorted(set(cuts)), 37]
    parts = [
        model.decode(embeddings, picture[a:b], rows(prompts, slice(a, b)))
        for a, b in zip(edges[:-1], edges[1:])
    ]
    assert torch.allclose(torch.cat([p[0] for p in parts]), logits, atol=1e-3)
    assert torch.allclose(torch.cat([p[1] for p in parts]), quality, atol=1e-4)


def test_each_prompt_looks_at_its_own_picture():
    model = tiny_model()
    embeddings = model.embed(pictures(3, 64))
    prompts = random_prompts(3, 64)
    logits, _ = model.decode(embeddings, torch.tensor([2, 0, 2]), prompts)
    alone, _ = model.decode(embeddings.select(torch.tensor([0])), torch.zeros(1, dtype=torch.long),
                            rows(prompts, slice(1, 2)))  # fmt: skip
    assert torch.allclose(logits[1], alone[0], atol=1e-3)
    swapped, _ = model.decode(embeddings, torch.tensor([0, 2, 0]), prompts)
    assert not torch.allclose(logits, swapped, atol=1e-2)


def test_no_prompts_give_no_masks():
    model = tiny_model()
    logits, quality = model.decode(
        model.embed(pictures(1, 64)), torch.zeros(0, dtype=torch.long),
        PromptBatch(torch.zeros(0, 4, 2), torch.zeros(0, 4)),
    )  # fmt: skip
    assert logits.shape == (0, 1, 32, 32)
    assert quality.shape == (0, 1)


def test_prompts_without_any_points():
    model = tiny_model()
    logits, _ = model.decode(
        model.embed(pictures(1, 64)), torch.zeros(2, dtype=torch.long),
        PromptBatch(torch.zeros(2, 0, 2), torch.zeros(2, 0, dtype=torch.long)),
    )  # fmt: skip
    assert torch.isfinite(logits).all()


def test_colour_is_seen_as_its_mean():
    model = tiny_model()
    images = pictures(1, 64)
    grey = images.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    assert torch.allclose(model.embed(images).features, model.embed(grey).features, atol=1e-4)


@given(power=st.floats(1.6, 4), air=st.floats(0, 0.9), seed=st.integers(0, 100))
def test_a_dark_picture_is_seen_as_bright_as_generated_ones(power, air, seed):
    source = torch.Generator().manual_seed(seed)
    picture = (0.1 + 0.9 * torch.rand(1, 1, 32, 32, generator=source)) ** power
    picture = picture.clamp(min=0.06)
    picture[..., : int(air * 32)] = 0
    seen = brightened(picture)
    looked_at, before = (one[..., ::2, ::2] for one in (seen, picture))
    median = float(before[before > 0].median())
    expected = max(0.5, median) if median > 0.5**2.5 else median**0.4  # no power below 0.4
    assert looked_at[looked_at > 0].median() == pytest.approx(expected, abs=0.01)
    assert (seen[picture == 0] == 0).all() and (seen >= picture - 1e-6).all()
    order = picture.flatten().argsort()
    assert (seen.flatten()[order].diff() >= 0).all()


def test_bright_and_empty_pictures_are_seen_as_they_are():
    bright = 0.5 + 0.5 * torch.rand(1, 1, 32, 32)
    specks = torch.zeros(1, 1, 32, 32)
    specks[..., 4, 4] = 0.3
    several = torch.cat([bright, specks, torch.zeros_like(specks), torch.ones_like(specks)])
    assert torch.allclose(brightened(several), several, atol=1e-6)


def test_brightness_is_each_pictures_own():
    several = torch.rand(5, 1, 32, 32) ** torch.linspace(0.3, 4, 5).view(-1, 1, 1, 1)
    alone = torch.cat([brightened(one[None]) for one in several])
    assert torch.allclose(brightened(several), alone, atol=1e-6)


def test_points_alone_are_answered_twice_and_wider():
    model = tiny_model()
    embeddings, picture = model.embed(pictures(2, 64)), torch.tensor([0, 1, 1])
    points = torch.tensor([[[10.0, 20.0]], [[30.0, 5.0]], [[40.0, 60.0]]])
    prompts = PromptBatch(points, torch.ones(3, 1, dtype=torch.long))
    logits, quality = model.decode(embeddings, picture, prompts)
    nothing = replace(prompts, masks=torch.full((3, 1, 16, 16), torch.nan))
    first, _ = model.decode(embeddings, picture, nothing)
    again = replace(prompts, masks=torch.nn.functional.avg_pool2d(first + 0.75, 2))
    second, expected = model.decode(embeddings, picture, again)
    assert torch.allclose(logits, second + 0.75, atol=1e-4)
    assert torch.allclose(quality, expected, atol=1e-5) and not torch.equal(first, second)


# ------------------------------------------------------------------------- the file


def test_weights_come_back_as_they_were_in_half_precision(tmp_path):
    network = tiny_network(3)
    path = tmp_path / "weights.safetensors"
    save_network(network, path, {"note": "of a test"})
    again = read_network(path)
    assert again.config == TINY_EMBEDDED
    before, after = network.state_dict(), again.state_dict()
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert after[name].dtype == torch.float32
        assert torch.equal(after[name], tensor.half().float()), name
    images = pictures(1, 64)
    one = EmbeddedModel(network, ModelCard("a"), CPU, 64, "fp32").embed(images).features
    two = EmbeddedModel(again, ModelCard("b"), CPU, 64, "fp32").embed(images).features
    assert torch.allclose(one, two, atol=0.02)
    assert [p.name for p in tmp_path.iterdir()] == [path.name], "nothing is left beside it"


def test_a_custom_file_loads_with_its_hash(tmp_path):
    path = tmp_path / "mine.safetensors"
    save_network(tiny_network(), path, {})
    model, features = load_embedded(CPU, path)
    assert model.card.weights == "mine.safetensors"
    assert model.card.sha256 == sha256_of(path)
    assert features.card == model.card


def write(path, content: bytes):
    path.write_bytes(content)
    return path


def tensors() -> dict[str, torch.Tensor]:
    return {name: t.half().contiguous() for name, t in tiny_network().state_dict().items()}


def config(**changes) -> dict[str, str]:
    from dataclasses import asdict

    return {"config": json.dumps(asdict(TINY_EMBEDDED) | changes)}


def missing(path):
    return path


def folder(path):
    path.mkdir()
    return path


def empty(path):
    return write(path, b"")


def noise(path):
    return write(path, np.random.default_rng(0).bytes(5000))


def text(path):
    return write(path, b"<html>Not found</html>")


def cut_short(path):
    save_network(tiny_network(), path, {})
    return write(path, path.read_bytes()[:-1000])


def cut_in_the_header(path):
    save_network(tiny_network(), path, {})
    return write(path, path.read_bytes()[:200])


def no_configuration(path):
    save_file(tensors(), path)
    return path


def configuration_no_json(path):
    save_file(tensors(), path, {"config": "tiny"})
    return path


def configuration_no_object(path):
    save_file(tensors(), path, {"config": "[1, 2]"})
    return path


def configuration_of_another_version(path):
    save_file(tensors(), path, config(heads=4))
    return path


def impossible_widths(path):
    save_file(tensors(), path, config(stem=7))
    return path


def wrong_kind_of_widths(path):
    save_file(tensors(), path, config(levels=[8, 8]))
    return path


def other_widths(path):
    save_file(tensors(), path, config(decoder=32))
    return path


def a_tensor_lacks(path):
    left = tensors()
    left.pop("calibration")
    save_file(left, path, config())
    return path


def another_network(path):
    save_file({"layer.weight": torch.zeros(3, 3)}, path, config())
    return path


@pytest.mark.parametrize(
    "make",
    [
        missing, folder, empty, noise, text, cut_short, cut_in_the_header, no_configuration,
        configuration_no_json, configuration_no_object, configuration_of_another_version,
        impossible_widths, wrong_kind_of_widths, other_widths, a_tensor_lacks, another_network,
    ],
)  # fmt: skip
def test_unusable_files_are_refused_in_one_line(make, tmp_path):
    path = make(tmp_path / "weights.safetensors")
    with pytest.raises(InputError) as caught:
        read_network(path)
    line = str(caught.value)
    assert "weights.safetensors" in line
    assert "\n" not in line and len(line) < 400


# --------------------------------------------------------------- the shipped weights


@pytest.fixture(scope="module")
def shipped() -> EmbeddedModel:
    return load_embedded(CPU)[0]


def test_shipped_weights_are_small_and_what_they_say(shipped):
    path = models_folder() / WEIGHTS
    assert path.stat().st_size <= 10_000_000
    assert shipped.card.sha256 == sha256_of(path)
    assert shipped.input_size == INPUT_SIZE
    for name, tensor in load_file(path).items():
        assert torch.isfinite(tensor.float()).all(), name


def test_shipped_weights_have_their_provenance():
    path = models_folder() / WEIGHTS
    assert recorded_sha256(path) == sha256_of(path)
    provenance = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    said = json.dumps(provenance).lower()
    for what in ("command", "commit", "seed", "hours", "dice"):
        assert what in said, f"the provenance does not tell the {what}"


def plain(picture: np.ndarray, mask: np.ndarray) -> bool:
    """One piece of a sensible size that a person could tell from what is around it."""
    parts, _ = ndimage.label(mask)
    if not 0.004 < mask.mean() < 0.4 or np.bincount(parts.ravel())[1:].max() < 0.95 * mask.sum():
        return False
    inside, around = picture[mask], picture[ndimage.binary_dilation(mask, iterations=5) & ~mask]
    return abs(inside.mean() - around.mean()) > 0.3 * (inside.std() + around.std())


@pytest.fixture(scope="module")
def scenes():
    """Pictures that training never saw, and (picture, mask, mask in the other view) of plain
    structures in them."""
    torch.set_num_threads(1)
    episodes = random_episodes(10, 4, INPUT_SIZE, torch.Generator().manual_seed(987_654), CPU)
    targets = []
    for n in range(10):
        seen: list[np.ndarray] = []
        for mask, other in zip(episodes.query_masks[n] > 0, episodes.support_masks[n] > 0):
            mask, other = mask.numpy(), other.numpy()
            fits = other.mean() > 0.004 and plain(episodes.query[n, 0].numpy(), mask)
            if fits and not any(np.array_equal(mask, one) for one in seen):
                seen.append(mask)
                targets.append((n, mask, other))
    assert len(targets) >= 8
    return episodes, targets


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / max(1, a.sum() + b.sum())


def clicks(mask: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Three points well inside, six around it: (9, 2), (9,)."""
    random = np.random.default_rng(seed)
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    away = ndimage.distance_transform_edt(~mask)
    inside = np.argwhere(depth >= 0.6 * depth.max())
    around = np.argwhere((away >= 4) & (away <= 15))
    chosen = np.concatenate([
        inside[random.integers(0, len(inside), 3)], around[random.integers(0, len(around), 6)]
    ])
    return chosen[:, ::-1].astype(np.float32), np.array([1] * 3 + [0] * 6)


def masks_of(model: EmbeddedModel, scenes, **prompts) -> list[np.ndarray]:
    episodes, targets = scenes
    embeddings = model.embed(episodes.query.expand(-1, 3, -1, -1))
    count = len(targets)
    batch = PromptBatch(
        prompts.get("points", torch.zeros(count, 0, 2)),
        prompts.get("labels", torch.zeros(count, 0, dtype=torch.long)),
        boxes=prompts.get("boxes"), masks=prompts.get("masks"),
    )  # fmt: skip
    logits, _ = model.decode(embeddings, torch.tensor([n for n, _, _ in targets]), batch)
    big = torch.nn.functional.interpolate(logits, size=INPUT_SIZE, mode="bilinear")
    return [one[0].numpy() > 0 for one in big]


def test_points_find_the_structure(shipped, scenes):
    """Far better than a disc of the true area at the clicked place, which is a generous blob."""
    _, targets = scenes
    drawn = [clicks(mask, seed) for seed, (_, mask, _) in enumerate(targets)]
    found = masks_of(
        shipped, scenes,
        points=torch.tensor(np.stack([p for p, _ in drawn])),
        labels=torch.tensor(np.stack([k for _, k in drawn])),
    )  # fmt: skip
    rows, columns = np.mgrid[:INPUT_SIZE, :INPUT_SIZE]
    blobs = []
    for (points, _), (_, mask, _) in zip(drawn, targets):
        x, y = points[:3].mean(axis=0)
        blobs.append((columns - x) ** 2 + (rows - y) ** 2 <= mask.sum() / np.pi)
    model = np.mean([overlap(f, mask) for f, (_, mask, _) in zip(found, targets)])
    blob = np.mean([overlap(b, mask) for b, (_, mask, _) in zip(blobs, targets)])
    assert model > 0.72
    assert model > blob + 0.08


def test_a_box_is_followed_by_edges(shipped, scenes):
    _, targets = scenes
    boxes, filled = [], []
    for _, mask, _ in targets:
        y, x = np.nonzero(mask)
        boxes.append([x.min(), y.min(), x.max(), y.max()])
        full = np.zeros_like(mask)
        full[y.min() : y.max() + 1, x.min() : x.max() + 1] = True
        filled.append(overlap(full, mask))
    found = masks_of(shipped, scenes, boxes=torch.tensor(boxes, dtype=torch.float32))
    model = np.mean([overlap(f, mask) for f, (_, mask, _) in zip(found, targets)])
    assert model > np.mean(filled) + 0.05


def test_a_worn_mask_is_repaired(shipped, scenes):
    """A mask moved by a seventh of the structure's width comes back nearer to the truth."""
    _, targets = scenes
    worn = []
    for _, mask, _ in targets:
        shift = max(2, round(np.sqrt(mask.sum()) / 7))
        worn.append(ndimage.shift(mask.astype(np.float32), (shift, -shift), order=0) > 0.5)
    small = torch.tensor(np.stack(worn), dtype=torch.float32)[:, None]
    small = torch.nn.functional.interpolate(small, size=64, mode="area")
    found = masks_of(shipped, scenes, masks=(small * 2 - 1) * 6)
    before = np.mean([overlap(w, mask) for w, (_, mask, _) in zip(worn, targets)])
    after = np.mean([overlap(f, mask) for f, (_, mask, _) in zip(found, targets)])
    assert after > before + 0.02


def test_matching_features_find_the_structure_in_another_view(shipped, scenes):
    """The places most like a structure of one picture lie in it in the other, far above chance."""
    episodes, targets = scenes
    features = EmbeddedFeatures(shipped)
    query, support = (
        torch.nn.functional.normalize(features.encode(one.expand(-1, 3, -1, -1)), dim=1)
        for one in (episodes.query, episodes.support)
    )
    right, chance = [], []
    for n, mask, other in targets:
        cells = [
            torch.nn.functional.interpolate(
                torch.tensor(m, dtype=torch.float32)[None, None], size=64, mode="area"
            )[0, 0] > 0.5
            for m in (mask, other)
        ]  # fmt: skip
        if not cells[1].any():
            continue
        likeness = torch.einsum("chw,c->hw", query[n], support[n][:, cells[1]].mean(1))
        top = likeness.flatten().topk(12).indices
        right.append(cells[0].flatten()[top].float().mean().item())
        chance.append(cells[0].float().mean().item())
    assert np.mean(right) > 0.45
    assert np.mean(right) > 3 * np.mean(chance)


def test_quality_tells_that_there_is_nothing(shipped, scenes):
    """Points and mask where the structure is against points in the empty background."""
    episodes, targets = scenes
    embeddings = shipped.embed(episodes.query.expand(-1, 3, -1, -1))
    drawn = [clicks(mask, seed) for seed, (_, mask, _) in enumerate(targets)]
    picture = torch.tensor([n for n, _, _ in targets])
    points = torch.tensor(np.stack([p for p, _ in drawn]))
    labels = torch.tensor(np.stack([k for _, k in drawn]))
    _, there = shipped.decode(embeddings, picture, PromptBatch(points, labels))
    confidence = torch.zeros(len(targets), 1, 64, 64)
    nothing = torch.full((len(targets), 1, 64, 64), -8.0)
    _, gone = shipped.decode(
        embeddings, picture,
        PromptBatch(points, torch.where(labels == 1, 0, labels), masks=nothing,
                    confidence=confidence),
    )  # fmt: skip
    assert there.mean() > gone.mean() + 0.1


@pytest.mark.parametrize("threads", [1, 2])
def test_a_picture_and_a_prompt_alone_are_as_among_others(threads):
    """And no last digit of it depends on whether one thread works or two."""
    before = torch.get_num_threads()
    model, _ = load_embedded(CPU, precision="bf16")
    some, prompts, which = pictures(5, INPUT_SIZE), random_prompts(5, INPUT_SIZE), torch.arange(5)
    together = model.embed(some)
    expected, sure = model.decode(together, which, prompts)
    try:
        torch.set_num_threads(threads)
        for n in (0, 4):
            alone = model.embed(some[n : n + 1])
            assert torch.allclose(alone.features[0], together.features[n], atol=1e-3)
            row = torch.tensor([n])
            logits, quality = model.decode(together, row, prompts.select(row))
            assert torch.allclose(logits[0], expected[n], atol=0.02 * float(expected.std()))
            assert torch.allclose(quality[0], sure[n], atol=1e-3)
    finally:
        torch.set_num_threads(before)
