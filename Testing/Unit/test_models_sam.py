"""SAM 1 against its package's own predictor, on random weights."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

pytest.importorskip("segment_anything", reason="needs segment-anything")

from segment_anything import SamPredictor  # noqa: E402
from segment_anything.modeling import (  # noqa: E402
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)

from FewShotSAMLib.data.errors import InputError  # noqa: E402
from FewShotSAMLib.models.interfaces import (  # noqa: E402
    Embeddings,
    ModelCard,
    PromptableModel,
    PromptBatch,
)
from FewShotSAMLib.models.sam import SAM_MODELS, SamModel, build_sam  # noqa: E402

CPU = torch.device("cpu")
NAN = float("nan")


def shake(network: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Random weights everywhere, also where the package starts from zeros, and tame enough that
    rounding stays small through many layers."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in sorted(network.named_parameters()):
            wide = p.ndim > 1 and "embed" not in name and "token" not in name
            scale = 0.65 / p[0].numel() ** 0.5 if wide else 0.15
            p.add_(torch.randn(p.shape, generator=generator) * scale)
    return network.eval()


def small_sam(size: int = 128, width: int = 64) -> Sam:
    grid = size // 16
    torch.manual_seed(0)
    return shake(
        Sam(
            ImageEncoderViT(
                img_size=size, embed_dim=48, depth=2, num_heads=3, out_chans=width,
                norm_layer=partial(torch.nn.LayerNorm, eps=1e-6), qkv_bias=True,
                use_rel_pos=True, window_size=3, global_attn_indexes=(1,),
            ),
            PromptEncoder(width, (grid, grid), (size, size), 16),
            MaskDecoder(
                transformer_dim=width,
                transformer=TwoWayTransformer(2, width, 8, 128),
            ),
        )
    )


def pictures(count: int, size: int, seed: int = 0) -> np.ndarray:
    """(N, S, S, 3) uint8 pictures with large and small structure."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 3, 8, 8))
    smooth = torch.nn.functional.interpolate(
        torch.from_numpy(coarse).float(), size=(size, size), mode="bilinear"
    )
    noisy = smooth.numpy() + rng.normal(0, 12, smooth.shape)
    return noisy.clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1).copy()


def as_input(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


# Each prompt: picture, points, labels, box, has a mask.
def prompts(size: int) -> list[tuple]:
    s = size / 128
    return [
        (0, [[20, 30]], [1], None, False),
        (1, [[20, 30], [90.5, 64], [3, 120], [64, 64]], [1, 1, 0, 0], None, False),
        (1, [], [], [10, 20, 90, 100], False),
        (0, [[50, 60], [100, 20]], [1, 0], [30, 40, 120.5, 110], False),
        (0, [[77, 13]], [0], None, True),
        (1, [], [], [5, 6, 60, 70], True),
        (0, [], [], None, True),
    ] if s == 1 else [
        (p, [[x * s, y * s] for x, y in points], labels, box and [v * s for v in box], mask)
        for p, points, labels, box, mask in prompts(128)
    ]


def batch(rows: list[tuple], masks: torch.Tensor) -> tuple[torch.Tensor, PromptBatch]:
    """All rows in one padded batch."""
    most = max(len(r[2]) for r in rows)
    points = torch.zeros(len(rows), most, 2)
    labels = torch.full((len(rows), most), -1)
    for i, (_, p, kinds, _, _) in enumerate(rows):
        if kinds:
            points[i, : len(kinds)] = torch.tensor(p, dtype=torch.float32)
            labels[i, : len(kinds)] = torch.tensor(kinds)
    boxes = torch.tensor([r[3] or [NAN] * 4 for r in rows], dtype=torch.float32)
    given = torch.tensor([r[4] for r in rows])[:, None, None, None]
    return torch.tensor([r[0] for r in rows]), PromptBatch(
        points, labels, boxes, torch.where(given, masks, NAN)
    )


def expected(predictor, row: tuple, mask: torch.Tensor):
    """What the package gives for one prompt: masks, quality, low-resolution logits."""
    _, points, labels, box, has_mask = row
    return predictor.predict(
        np.array(points, np.float32) if labels else None,
        np.array(labels) if labels else None,
        box=np.array(box, np.float32) if box else None,
        mask_input=mask.numpy() if has_mask else None,
        multimask_output=True,
    )


def check_masks(logits: np.ndarray, masks: np.ndarray) -> None:
    """The same masks; where rounding decides, of a logit below 1e-4, a few in a million may turn.
    """
    turned = (logits > 0) != masks.astype(bool)
    assert turned.mean() < 2e-5
    assert np.abs(logits[turned]).max(initial=0) < 1e-4


def check_parity(network, model: SamModel, images: np.ndarray, rows: list[tuple]) -> None:
    size = model.input_size
    masks = torch.randn(len(rows), 1, size // 4, size // 4) * 4
    which, prompt = batch(rows, masks)
    embeddings = model.embed(as_input(images))
    logits, quality = model.decode(embeddings, which, prompt)
    predictor = SamPredictor(network)
    assert logits.std() > 0.1  # else there is nothing to compare
    for picture in sorted({r[0] for r in rows}):
        predictor.set_image(images[picture])
        torch.testing.assert_close(
            embeddings.features[picture : picture + 1], predictor.features, atol=1e-4, rtol=1e-4
        )
        for i, row in enumerate(rows):
            if row[0] != picture:
                continue
            own, overlap, low = expected(predictor, row, masks[i])
            np.testing.assert_allclose(logits[i].numpy(), low, atol=1e-4)
            np.testing.assert_allclose(quality[i].numpy(), overlap, atol=1e-4)
            whole = network.postprocess_masks(logits[i : i + 1], (size, size), (size, size))
            check_masks(whole[0].numpy(), own)


def model_of(network, **options) -> SamModel:
    return SamModel(network, ModelCard("test"), CPU, options.pop("precision", "fp32"), **options)


def test_equals_the_packages_predictor():
    network = small_sam()
    model = model_of(network)
    assert isinstance(model, PromptableModel)
    check_parity(network, model, pictures(2, 128), prompts(128))


def test_a_prompts_result_does_not_depend_on_its_batch():
    network = small_sam()
    model = model_of(network)
    rows = prompts(128)
    masks = torch.randn(len(rows), 1, 32, 32)
    which, prompt = batch(rows, masks)
    embeddings = model.embed(as_input(pictures(2, 128)))
    together, _ = model.decode(embeddings, which, prompt)
    for i, row in enumerate(rows):
        own, single = batch([row], masks[i : i + 1])
        alone, _ = model.decode(embeddings, own, single)
        torch.testing.assert_close(alone[0], together[i], atol=1e-4, rtol=1e-4)


def test_smaller_pictures_as_the_package_scales_them():
    """The predictor multiplies coordinates by S / size; given those, the result is the same."""
    network = small_sam()
    image = pictures(1, 64)[0]
    predictor = SamPredictor(network)
    predictor.set_image(image)
    points = np.array([[10, 20], [50.5, 3]], np.float32)
    _, _, low = predictor.predict(points, np.array([1, 0]))
    large = predictor.transform.apply_image(image)
    model = model_of(network)
    prompt = PromptBatch(torch.from_numpy(points * 2)[None], torch.tensor([[1, 0]]))
    logits, _ = model.decode(model.embed(as_input(large[None])), torch.tensor([0]), prompt)
    np.testing.assert_allclose(logits[0].numpy(), low, atol=1e-4)


def test_mask_prompts_of_other_sizes_are_resized():
    model = model_of(small_sam())
    embeddings = model.embed(as_input(pictures(1, 128)))
    coarse = torch.randn(1, 1, 16, 16)
    fine = torch.nn.functional.interpolate(coarse, size=(32, 32), mode="bilinear")
    first = torch.zeros(1, dtype=torch.long)
    none = torch.zeros(1, 0, 2), torch.zeros(1, 0, dtype=torch.long)
    a, _ = model.decode(embeddings, first, PromptBatch(*none, masks=coarse))
    b, _ = model.decode(embeddings, first, PromptBatch(*none, masks=fine))
    torch.testing.assert_close(a, b)


def test_no_prompts_give_no_masks():
    model = model_of(small_sam())
    none = PromptBatch(torch.zeros(0, 3, 2), torch.zeros(0, 3, dtype=torch.long))
    embeddings = model.embed(as_input(pictures(1, 128)))
    logits, quality = model.decode(embeddings, torch.zeros(0, dtype=torch.long), none)
    assert logits.shape == (0, 3, 32, 32)
    assert quality.shape == (0, 3)


def test_half_precision_is_close_and_comes_back_as_float32():
    network = small_sam()
    images = as_input(pictures(1, 128))
    prompt = PromptBatch(torch.tensor([[[40.0, 50.0]]]), torch.tensor([[1]]))
    first = torch.zeros(1, dtype=torch.long)
    maps = {}
    for precision in ("fp32", "bf16"):
        model = model_of(network, precision=precision)
        embeddings = model.embed(images)
        maps[precision], _ = model.decode(embeddings, first, prompt)
        assert embeddings.features.dtype == maps[precision].dtype == torch.float32
    difference = (maps["bf16"] - maps["fp32"]).abs().mean() / maps["fp32"].std()
    assert 0 < difference < 0.1


def test_embeddings_can_be_joined_and_chosen():
    model = model_of(small_sam())
    images = as_input(pictures(2, 128))
    both = model.embed(images)
    joined = Embeddings.concatenate([model.embed(images[:1]), model.embed(images[1:])])
    torch.testing.assert_close(joined.features, both.features)
    prompt = PromptBatch(torch.tensor([[[40.0, 50.0]]]), torch.tensor([[1]]))
    a, _ = model.decode(both, torch.tensor([1]), prompt)
    b, _ = model.decode(both.select(torch.tensor([1])), torch.tensor([0]), prompt)
    torch.testing.assert_close(a, b)


def test_unknown_names_list_the_known_ones():
    with pytest.raises(InputError, match="sam-vit-b, sam-vit-l, sam-vit-h"):
        build_sam("sam-vit-x")


def test_a_missing_package_names_the_command(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "segment_anything", None)
    with pytest.raises(InputError, match="pip install segment-anything"):
        build_sam("sam-vit-b")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_full_vit_b_equals_the_packages_predictor():
    torch.manual_seed(0)
    network = build_sam("sam-vit-b")
    state = {name: t.clone() for name, t in shake(network).state_dict().items()}
    model = model_of(build_sam("sam-vit-b", state))
    assert list(SAM_MODELS) == ["sam-vit-b", "sam-vit-l", "sam-vit-h"]
    assert model.input_size == 1024
    rows = [r for r in prompts(1024) if r[0] == 0]
    check_parity(network, model, pictures(1, 1024), rows)
