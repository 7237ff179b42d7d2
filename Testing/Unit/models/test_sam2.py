"""SAM 2.1 against its package's own predictor, on random weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("sam2", reason="needs sam2")

from hydra.core.global_hydra import GlobalHydra  # noqa: E402
from sam2.build_sam import build_sam2 as package_build  # noqa: E402
from sam2.modeling.sam2_base import SAM2Base  # noqa: E402
from sam2.sam2_image_predictor import SAM2ImagePredictor  # noqa: E402
from sam_parity import as_input, check_parity, pictures, prompts  # noqa: E402
from small_networks import sam2_model, shake, small_sam2  # noqa: E402

from FewShotSAMLib.data.errors import InputError  # noqa: E402
from FewShotSAMLib.models.interfaces import (  # noqa: E402
    Embeddings,
    PromptableModel,
    PromptBatch,
)
from FewShotSAMLib.models.sam2 import SAM2_MODELS, Sam2Model, build_sam2  # noqa: E402
from FewShotSAMLib.weights.packages import missing_package  # noqa: E402


def check(network: SAM2Base, model: Sam2Model, images: np.ndarray, rows: list[tuple]) -> None:
    """Against `SAM2ImagePredictor` with that network, which adds its embedding of no memory to
    the features."""
    predictor = SAM2ImagePredictor(network)
    side = network.image_size
    predictor._bb_feat_sizes = [(side // s, side // s) for s in (4, 8, 16)]
    no_memory = network.no_mem_embed.reshape(-1, 1, 1)
    check_parity(
        model, predictor, images, rows,
        features=lambda own: (own + no_memory, predictor._features["image_embed"][0]),
        whole=lambda logits: predictor._transforms.postprocess_masks(logits, (side, side)),
        largest=32,
    )  # fmt: skip


def test_equals_the_packages_predictor():
    network = small_sam2()
    model = sam2_model(network)
    assert isinstance(model, PromptableModel)
    check(network, model, pictures(2, 128), prompts(128))


def test_features_for_similarity_lack_the_no_memory_embedding():
    network = small_sam2()
    image = as_input(pictures(1, 128))
    before = sam2_model(network).embed(image).features
    with torch.no_grad():
        network.no_mem_embed += 5
    torch.testing.assert_close(sam2_model(network).embed(image).features, before)


def test_mask_prompts_are_cut_as_the_predictor_cuts_its_masks():
    network = small_sam2()
    model = sam2_model(network)
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
    exact = sam2_model(network)
    expected_, _ = exact.decode(exact.embed(images), which, prompt)
    model = sam2_model(network, precision="bf16")
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
def test_the_full_tiny_equals_the_packages_predictor():
    torch.manual_seed(0)
    network = shake(build_sam2("sam2.1-tiny"))
    state = {"model": {name: t.clone() for name, t in network.state_dict().items()}}
    model = sam2_model(build_sam2("sam2.1-tiny", state))
    assert model.input_size == 1024
    rows = [r for r in prompts(1024) if r[0] == 0]
    check(network, model, pictures(1, 1024), rows)
