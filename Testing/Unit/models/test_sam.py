"""SAM 1 against its package's own predictor, on random weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("segment_anything", reason="needs segment-anything")

from sam_parity import as_input, batch, check_parity, pictures, prompts  # noqa: E402
from segment_anything import SamPredictor  # noqa: E402
from segment_anything.modeling import Sam  # noqa: E402
from small_networks import sam_model, shake, small_sam  # noqa: E402

from FewShotSAMLib.data.errors import InputError  # noqa: E402
from FewShotSAMLib.models.interfaces import (  # noqa: E402
    Embeddings,
    PromptableModel,
    PromptBatch,
)
from FewShotSAMLib.models.sam import SAM_MODELS, SamModel, build_sam  # noqa: E402


def check(network: Sam, model: SamModel, images: np.ndarray, rows: list[tuple]) -> None:
    """Against `SamPredictor` with that network."""
    predictor = SamPredictor(network)
    size = (model.input_size, model.input_size)
    check_parity(
        model, predictor, images, rows,
        features=lambda own: (own, predictor.features[0]),
        whole=lambda logits: network.postprocess_masks(logits, size, size),
    )  # fmt: skip


def test_equals_the_packages_predictor():
    network = small_sam()
    model = sam_model(network)
    assert isinstance(model, PromptableModel)
    check(network, model, pictures(2, 128), prompts(128))


def test_a_prompts_result_does_not_depend_on_its_batch():
    network = small_sam()
    model = sam_model(network)
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
    model = sam_model(network)
    prompt = PromptBatch(torch.from_numpy(points * 2)[None], torch.tensor([[1, 0]]))
    logits, _ = model.decode(model.embed(as_input(large[None])), torch.tensor([0]), prompt)
    np.testing.assert_allclose(logits[0].numpy(), low, atol=1e-4)


def test_mask_prompts_of_other_sizes_are_resized():
    model = sam_model(small_sam())
    embeddings = model.embed(as_input(pictures(1, 128)))
    coarse = torch.randn(1, 1, 16, 16)
    fine = torch.nn.functional.interpolate(coarse, size=(32, 32), mode="bilinear")
    first = torch.zeros(1, dtype=torch.long)
    none = torch.zeros(1, 0, 2), torch.zeros(1, 0, dtype=torch.long)
    a, _ = model.decode(embeddings, first, PromptBatch(*none, masks=coarse))
    b, _ = model.decode(embeddings, first, PromptBatch(*none, masks=fine))
    torch.testing.assert_close(a, b)


def test_no_prompts_give_no_masks():
    model = sam_model(small_sam())
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
        model = sam_model(network, precision=precision)
        embeddings = model.embed(images)
        maps[precision], _ = model.decode(embeddings, first, prompt)
        assert embeddings.features.dtype == maps[precision].dtype == torch.float32
    difference = (maps["bf16"] - maps["fp32"]).abs().mean() / maps["fp32"].std()
    assert 0 < difference < 0.1


def test_embeddings_can_be_joined_and_chosen():
    model = sam_model(small_sam())
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
def test_the_full_vit_b_equals_the_packages_predictor():
    torch.manual_seed(0)
    network = build_sam("sam-vit-b")
    state = {name: t.clone() for name, t in shake(network).state_dict().items()}
    model = sam_model(build_sam("sam-vit-b", state))
    for one in (network, model.network):
        assert len(one.image_encoder.blocks) == 12
        del one.image_encoder.blocks[3:]  # loaded; two with windows and a global one are left
    assert list(SAM_MODELS) == ["sam-vit-b", "sam-vit-l", "sam-vit-h"]
    assert model.input_size == 1024
    rows = [r for r in prompts(1024) if r[0] == 0]
    check(network, model, pictures(1, 1024), rows)
