"""SAM 2.1 against its package's own predictor, on random weights."""

from __future__ import annotations

from importlib import resources

import numpy as np
import pytest
import torch

pytest.importorskip("sam2", reason="needs sam2")

import sam2  # noqa: E402
from hydra.core.global_hydra import GlobalHydra  # noqa: E402
from hydra.utils import instantiate  # noqa: E402
from omegaconf import OmegaConf  # noqa: E402
from sam2.build_sam import build_sam2 as package_build  # noqa: E402
from sam2.sam2_image_predictor import SAM2ImagePredictor  # noqa: E402
from test_models_sam import as_input, batch, check_masks, expected, pictures, prompts, shake  # noqa: E402

from FewShotSAMLib.data.errors import InputError  # noqa: E402
from FewShotSAMLib.models.interfaces import (  # noqa: E402
    Embeddings,
    ModelCard,
    PromptableModel,
    PromptBatch,
)
from FewShotSAMLib.models.packages import missing_package  # noqa: E402
from FewShotSAMLib.models.sam2 import SAM2_MODELS, Sam2Model, build_sam2  # noqa: E402

CPU = torch.device("cpu")


def small_sam2(size: int = 128) -> torch.nn.Module:
    """The tiny configuration, made smaller still."""
    text = resources.files(sam2).joinpath(SAM2_MODELS["sam2.1-tiny"]).read_text(encoding="utf-8")
    config = OmegaConf.create(text).model
    config.image_size = size
    config.image_encoder.trunk.embed_dim = 16
    config.image_encoder.trunk.stages = [1, 1, 2, 1]
    config.image_encoder.trunk.global_att_blocks = [3]
    config.image_encoder.neck.d_model = 64
    config.image_encoder.neck.position_encoding.num_pos_feats = 64
    config.image_encoder.neck.backbone_channel_list = [128, 64, 32, 16]
    torch.manual_seed(0)
    return shake(instantiate(config, _recursive_=True))


def model_of(network, **options) -> Sam2Model:
    return Sam2Model(network, ModelCard("test"), CPU, options.pop("precision", "fp32"), **options)


def predictor_of(network) -> SAM2ImagePredictor:
    predictor = SAM2ImagePredictor(network)
    side = network.image_size
    predictor._bb_feat_sizes = [(side // s, side // s) for s in (4, 8, 16)]
    return predictor


def check_parity(network, model: Sam2Model, images: np.ndarray, rows: list[tuple]) -> None:
    size = model.input_size
    masks = torch.randn(len(rows), 1, size // 4, size // 4) * 4
    which, prompt = batch(rows, masks)
    embeddings = model.embed(as_input(images))
    logits, quality = model.decode(embeddings, which, prompt)
    predictor = predictor_of(network)
    assert logits.std() > 0.1  # else there is nothing to compare
    for picture in sorted({r[0] for r in rows}):
        predictor.set_image(images[picture])
        own = embeddings.features[picture] + network.no_mem_embed.reshape(-1, 1, 1)
        torch.testing.assert_close(own, predictor._features["image_embed"][0], atol=1e-4, rtol=1e-4)
        for i, row in enumerate(rows):
            if row[0] != picture:
                continue
            whole, overlap, low = expected(predictor, row, masks[i])
            np.testing.assert_allclose(logits[i].clamp(-32, 32).numpy(), low, atol=1e-4)
            np.testing.assert_allclose(quality[i].numpy(), overlap, atol=1e-4)
            own = predictor._transforms.postprocess_masks(logits[i : i + 1], (size, size))
            check_masks(own[0].numpy(), whole)


def test_equals_the_packages_predictor():
    network = small_sam2()
    model = model_of(network)
    assert isinstance(model, PromptableModel)
    check_parity(network, model, pictures(2, 128), prompts(128))


def test_features_for_similarity_lack_the_no_memory_embedding():
    network = small_sam2()
    image = as_input(pictures(1, 128))
    before = model_of(network).embed(image).features
    with torch.no_grad():
        network.no_mem_embed += 5
    torch.testing.assert_close(model_of(network).embed(image).features, before)


def test_mask_prompts_are_cut_as_the_predictor_cuts_its_masks():
    network = small_sam2()
    model = model_of(network)
    embeddings = model.embed(as_input(pictures(1, 128)))
    none = torch.zeros(1, 0, 2), torch.zeros(1, 0, dtype=torch.long)
    first = torch.zeros(1, dtype=torch.long)
    mask = torch.randn(1, 1, 32, 32) * 60
    wild, _ = model.decode(embeddings, first, PromptBatch(*none, masks=mask))
    cut, _ = model.decode(embeddings, first, PromptBatch(*none, masks=mask.clamp(-32, 32)))
    torch.testing.assert_close(wild, cut)


def test_half_precision_is_close_and_joins():
    network = small_sam2()
    images = as_input(pictures(2, 128))
    prompt = PromptBatch(torch.tensor([[[40.0, 50.0]]]), torch.tensor([[1]]))
    which = torch.tensor([1])
    exact = model_of(network)
    expected_, _ = exact.decode(exact.embed(images), which, prompt)
    model = model_of(network, precision="bf16")
    parts = [model.embed(images[:1]), model.embed(images[1:])]
    assert parts[0].extra[0].dtype == torch.bfloat16  # the large levels stay small
    logits, _ = model.decode(Embeddings.concatenate(parts), which, prompt)
    assert logits.dtype == torch.float32
    assert 0 < (logits - expected_).abs().mean() / expected_.std() < 0.15


def test_building_leaves_hydra_alone_and_equals_the_packages_builder():
    before = GlobalHydra.instance().hydra
    network = build_sam2("sam2.1-tiny")
    assert GlobalHydra.instance().hydra is before
    own = package_build(SAM2_MODELS["sam2.1-tiny"], device="cpu")
    assert {k: v.shape for k, v in network.state_dict().items()} == {
        k: v.shape for k, v in own.state_dict().items()
    }
    GlobalHydra.instance().clear()  # a host may use Hydra for itself, or have put it away
    try:
        build_sam2("sam2.1-tiny", {"model": own.state_dict()})
        assert not GlobalHydra.instance().is_initialized()
    finally:
        GlobalHydra.instance().hydra = before


def test_unknown_names_list_the_known_ones():
    with pytest.raises(InputError, match="sam2.1-tiny, sam2.1-small, sam2.1-base-plus"):
        build_sam2("sam2.1-huge")


def test_a_missing_package_names_the_command(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "hydra.utils", None)
    with pytest.raises(InputError, match="hydra is not installed; run: pip install hydra-core"):
        build_sam2("sam2.1-tiny")
    monkeypatch.setitem(__import__("sys").modules, "sam2", None)
    with pytest.raises(InputError, match="pip install --no-build-isolation --no-deps sam2"):
        build_sam2("sam2.1-tiny")


def test_a_package_that_sam2_needs_in_turn_is_named():
    """Hydra imports sam2's parts by name and wraps what goes wrong, more than once."""
    for name, command in (("iopath.common", "pip install iopath"), ("sam2.x", "--no-deps sam2")):
        try:
            try:
                raise ModuleNotFoundError(name=name)
            except ImportError as problem:
                raise ImportError("cannot locate the target") from problem
        except ImportError as problem:
            said = str(missing_package("model 'sam2.1-tiny'", problem, "sam2"))
        assert said.startswith("model 'sam2.1-tiny': the package " + name.split(".")[0])
        assert said.endswith(command)


@pytest.mark.parametrize("name", ["sam2.1-small", "sam2.1-base-plus", "sam2.1-large"])
@pytest.mark.slow
def test_all_architectures_can_be_built(name):
    assert build_sam2(name).image_size == 1024


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_full_tiny_equals_the_packages_predictor():
    torch.manual_seed(0)
    network = shake(build_sam2("sam2.1-tiny"))
    state = {"model": {name: t.clone() for name, t in network.state_dict().items()}}
    model = model_of(build_sam2("sam2.1-tiny", state))
    assert model.input_size == 1024
    rows = [r for r in prompts(1024) if r[0] == 0]
    check_parity(network, model, pictures(1, 1024), rows)
