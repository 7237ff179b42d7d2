"""FoB's weights: the published layout, files of every kind, and the whole network at full size."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import fob_literal as literal
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from FewShotSAMLib.data.errors import InputError
from FewShotSAMLib.models.embedded import load_embedded
from FewShotSAMLib.models.fob import embedded_config, load_fob, read_fob, save_fob
from FewShotSAMLib.models.fob_config import published_config
from FewShotSAMLib.models.fob_network import FobConfig, FobNetwork
from FewShotSAMLib.prompting.fob import Fob

CPU = torch.device("cpu")
SMALL = FobConfig(
    backbone="embedded", channels=16, grid=8, image_size=32, points=6, pyramid=(5, 3),
    refinement="repaired", framing="body", modality="MR", key_stride=2,
)


@pytest.fixture(scope="module")
def official() -> dict[str, torch.Tensor]:
    """Random weights in the published layout."""
    return literal.official_state()


@pytest.fixture(scope="module")
def checkpoint(official, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("FoB ü") / "ckpt.pth"
    torch.save(official, path)
    return path


def small_network() -> FobNetwork:
    torch.manual_seed(5)
    return FobNetwork(SMALL)


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as problem:
        read_fob(path)
    text = str(problem.value)
    assert text.startswith(str(path)) and "\n" not in text
    return text


# --- Published checkpoints -----------------------------------------------------------------------


def test_layout_is_the_published_one(official):
    assert len(official) == 688
    assert sum(t.numel() for t in official.values()) == pytest.approx(54.66e6, rel=1e-4)
    own = FobNetwork().state_dict()
    assert own.keys() == official.keys()
    assert all(own[name].shape == t.shape for name, t in official.items())


def test_a_published_checkpoint_loads_whole(official, checkpoint):
    network, said = read_fob(checkpoint, "MR")
    assert said == {} and network.config == published_config("MR")
    assert (network.config.framing, network.config.rows) == ("published", "posterior first")
    network.load_state_dict(official, strict=True)
    again = read_fob(checkpoint)[0].state_dict()
    assert all(torch.equal(again[name], t) for name, t in official.items())


def test_a_truncated_checkpoint_is_refused(checkpoint, tmp_path):
    path = tmp_path / "half.pth"
    path.write_bytes(checkpoint.read_bytes()[:1_000_000])
    assert "damaged" in refusal(path)


def test_an_incomplete_checkpoint_is_refused(official, tmp_path):
    path = tmp_path / "incomplete.pth"
    torch.save({k: t for k, t in official.items() if k.startswith("refine.")}, path)
    assert "missing (encoder.backbone" in refusal(path)


def test_another_networks_weights_are_refused(tmp_path):
    path = tmp_path / "other.pth"
    torch.save({"conv1.weight": torch.zeros(1)}, path)
    assert "another network" in refusal(path)


def test_a_checkpoint_of_another_shape_is_refused(official, tmp_path):
    path = tmp_path / "points.pth"
    torch.save({"head.head.3.bias": torch.zeros(12)}, path)
    assert "head.head.3.bias is (12,), not (10,)" in refusal(path)


@pytest.mark.parametrize("name", ["missing.pth", "missing.safetensors"])
def test_a_missing_file_is_named(tmp_path, name):
    refusal(tmp_path / name)


@pytest.mark.parametrize("name", ["text.pth", "text.safetensors"])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, name):
    path = tmp_path / name
    path.write_text("<html>404 Not Found</html>")
    refusal(path)


def test_an_unknown_modality_is_refused(checkpoint):
    with pytest.raises(ValueError, match="modality"):
        read_fob(checkpoint, "X-ray")


# --- Weights trained here ------------------------------------------------------------------------


def test_saved_weights_come_back(tmp_path):
    network, path = small_network(), tmp_path / "own ü.safetensors"
    save_fob(network, path, {"licence": "Apache-2.0"})
    again, said = read_fob(path)
    assert again.config == SMALL and said == {"licence": "Apache-2.0"}
    for name, value in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], value.half().float()), name
    save_fob(again, tmp_path / "twice.safetensors", said)
    twice, said_again = read_fob(tmp_path / "twice.safetensors")  # half precision loses only once
    assert said_again == said and twice.config == again.config
    for name, value in again.state_dict().items():
        assert torch.equal(twice.state_dict()[name], value), name
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([path.name, "twice.safetensors"])


@pytest.mark.parametrize("refinement", ["official", "repaired"])
def test_the_variant_is_in_the_file(tmp_path, refinement):
    path = tmp_path / "own.safetensors"
    save_fob(FobNetwork(dataclasses.replace(SMALL, refinement=refinement)), path, {})
    network = read_fob(path)[0]
    assert network.config.refinement == refinement
    assert network.refine.deform_attn.normalised == (refinement == "repaired")


def test_a_truncated_file_is_refused(tmp_path):
    path = tmp_path / "own.safetensors"
    save_fob(small_network(), path, {})
    path.write_bytes(path.read_bytes()[:-100])
    assert "not readable as safetensors" in refusal(path)


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        (None, "no configuration"),
        ({"config": "[1]"}, "no configuration"),
        ({"config": "{"}, "not readable"),
        ({"config": json.dumps({"colour": 3})}, "another version"),
        ({"config": json.dumps({"refinement": "better"})}, "another version"),
        ({"config": json.dumps({"pyramid": 5})}, "another version"),
        ({"config": json.dumps({"backbone": "embedded", "channels": "many"})}, "another version"),
        ({"config": json.dumps({"backbone": "embedded", "channels": -8})}, "no configuration"),
        ({"config": json.dumps(dataclasses.asdict(SMALL) | {"points": 7})}, "of another shape"),
    ],
)
def test_a_damaged_configuration_is_refused(tmp_path, metadata, expected):
    whole, path = tmp_path / "whole.safetensors", tmp_path / "own.safetensors"
    save_fob(small_network(), whole, {})
    save_file(load_file(whole), path, metadata)
    assert expected in refusal(path)


def test_configuration_is_readable_without_torch(tmp_path):
    path = tmp_path / "own.safetensors"
    save_fob(small_network(), path, {"seed": "3"})
    with safe_open(path, "np") as file:
        said = file.metadata()
    assert json.loads(said["config"]) == json.loads(json.dumps(dataclasses.asdict(SMALL)))
    assert said["seed"] == "3"


def test_unknown_variants_are_refused():
    for wrong in ({"backbone": "vgg"}, {"refinement": "no"}, {"framing": "x"}, {"modality": "US"},
                  {"rows": "left first"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            FobConfig(**wrong)


@pytest.mark.parametrize("turned", [{"framing": "published"}, {"rows": "posterior first"}])
def test_the_small_fob_sees_what_the_promptable_model_sees(turned):
    with pytest.raises(ValueError, match="upright"):
        dataclasses.replace(SMALL, **turned)
    FobConfig(**turned)  # the large one has pictures of its own


def test_fewer_channels_than_the_similarity_features_are_refused():
    sizes = {"backbone": "embedded", "pyramid": (40, 20, 12), "grid": 8, "image_size": 32}
    FobNetwork(FobConfig(channels=32, **sizes))  # 20 + 12, and no fewer
    with pytest.raises(ValueError, match="channels must be at least 32, .* not 24$") as problem:
        FobConfig(channels=24, **sizes)
    assert "\n" not in str(problem.value)
    FobConfig(channels=24, **(sizes | {"backbone": "resnet101"}))  # reads no pyramid


def test_the_small_fob_needs_the_embedded_model_it_was_trained_on(tmp_path):
    backbone = load_embedded(CPU)[0]
    network = FobNetwork(embedded_config(backbone.network.config))
    path = tmp_path / "own.safetensors"
    save_fob(network, path, {"backbone_sha256": backbone.card.sha256, "licence": "mine"})
    model = load_fob(path, CPU, backbone=lambda: backbone)
    assert (model.card.licence, model.card.name) == ("mine", "own")
    image = torch.rand(2, 1, 256, 256).expand(-1, 3, -1, -1)
    features, threshold = model.encode(image)
    assert features.shape == (2, network.config.channels, 64, 64) and threshold.shape == (2, 1)
    again = model.of_embeddings(backbone.embed(image))
    assert torch.equal(again[0], features) and torch.equal(again[1], threshold)
    with pytest.raises(InputError, match="not loaded"):
        load_fob(path, CPU)
    save_fob(network, path, {"backbone_sha256": "0" * 64})
    with pytest.raises(InputError, match="trained on another embedded model"):
        load_fob(path, CPU, backbone=lambda: backbone)


# --- Full size -----------------------------------------------------------------------------------


def picture(seed: int) -> torch.Tensor:
    """A z-scored picture with structure at all scales: (3, 256, 256)."""
    generator = torch.Generator().manual_seed(seed)
    grey = sum(
        F.interpolate(torch.randn(1, 1, n, n, generator=generator), (256, 256), mode="bicubic")
        for n in (8, 32, 128)
    )
    return ((grey - grey.mean()) / grey.std())[0].expand(3, -1, -1)


@pytest.mark.slow
def test_full_size(official, checkpoint):
    """From pictures to prompts, every stage, with 54.66 M random weights and all constants."""
    mask = np.zeros((256, 256), np.float32)
    rows, columns = np.mgrid[:256, :256]
    mask[((rows - 120) / 40) ** 2 + ((columns - 90) / 25) ** 2 <= 1] = 1
    mask[200:215, 180:240] = 1  # a second, smaller part

    model = load_fob(checkpoint, CPU, precision="fp32")
    features, threshold = model.encode(torch.stack([picture(0), picture(1)]))
    encoder = literal.Encoder(official)
    encoded = [encoder(picture(seed)) for seed in (0, 1)]
    for fast, t, (slow, slow_t) in zip(features, threshold, encoded, strict=True):
        assert (fast - slow).abs().max() < 1e-4 * slow.abs().max()
        assert float(t) == pytest.approx(slow_t, rel=1e-4)

    fob = Fob(model.network, model.dtype)
    support = fob.prepare(features[0], torch.from_numpy(mask))
    with torch.inference_mode():
        fast = fob.answer(
            features[1:], threshold[1:], support.background[None], support.foreground[None]
        )
    slow = literal.answer(
        encoded[0][0].double(), mask, encoded[1][0].double(), encoded[1][1],
        {name: t.double() for name, t in official.items()}, 256, 10,
    )
    for name in ("coarse", "fit", "heat", "points"):
        one, other = getattr(fast, name)[0], getattr(slow, name)
        assert (one - other).abs().max() < 1e-4 * max(1, other.abs().max()), name
        assert other.std() > 1e-2, name
    assert np.array_equal(fast.found[0].numpy(), slow.found)  # none of them at the edge
    prompts = fob.prompts(fast)[0]
    assert np.array_equal(prompts.positives, literal.positives(fast.coarse[0].numpy()))
    assert np.array_equal(prompts.positives, literal.positives(slow.coarse.numpy()))
    assert np.abs(prompts.negatives - slow.points.numpy()).max() < 1e-2
