"""From names to loaded networks; and, once, the whole way with networks of full size."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from FewShotSAMLib.data.errors import InputError
from FewShotSAMLib.data.support import Support
from FewShotSAMLib.models.devices import choose_device
from FewShotSAMLib.models.embedded import EmbeddedFeatures, EmbeddedModel
from FewShotSAMLib.models.memory import MemoryPolicy
from FewShotSAMLib.models.registry import feature_names, load_models, model_names
from FewShotSAMLib.phantom.abdomen import abdomen
from FewShotSAMLib.segmentation.encoding import Encoders
from FewShotSAMLib.segmentation.segmenter import Segmenter, load_segmenter
from FewShotSAMLib.weights.catalogue import Catalogue, catalogue, megabytes
from FewShotSAMLib.weights.store import WeightStore

CPU = torch.device("cpu")


@pytest.fixture
def store(tmp_path, monkeypatch) -> WeightStore:
    """Of a user who has no weights yet."""
    monkeypatch.setenv("FEWSHOTSAM_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("FEWSHOTSAM_SETTINGS", str(tmp_path / "settings.json"))
    return WeightStore()


def complaint(function, *arguments, **options) -> str:
    with pytest.raises(InputError) as problem:
        function(*arguments, **options)
    assert "\n" not in str(problem.value)
    return str(problem.value)


def test_names_are_presets_and_models_of_the_catalogue():
    known = catalogue()
    kinds = {kind: {w.name for w in known.weights.values() if w.kind == kind}
             for kind in ("promptable", "features")}  # fmt: skip
    assert model_names()[:5] == ("embedded", "fast", "balanced", "best", "fob")
    assert set(model_names()) == set(known.presets) | kinds["promptable"]
    assert set(feature_names()) == {"none", "embedded"} | kinds["features"]
    for preset in known.presets.values():
        assert preset.model in model_names() and preset.features in feature_names()


def test_the_pages_table_is_the_catalogues():
    known = catalogue()
    text = (Path(__file__).resolve().parents[3] / "docs" / "models.md").read_text(encoding="utf-8")
    rows = [[cell.strip(" `") for cell in line.split("|")[1:-1]]
            for line in text.splitlines() if line.startswith("| `")]  # fmt: skip
    listed = {row[0]: row[1:4] for row in rows if row[0] in known.presets}
    assert set(listed) == {"embedded", "fast", "balanced", "best"}
    for name in ("fast", "balanced", "best"):
        files = known.needed(name)
        size = megabytes(sum(f.size or f.about_size or 0 for f in files))
        assert listed[name] == [known.presets[name].model, known.presets[name].features, size]


def test_unknown_names_list_the_known_ones(store):
    said = complaint(load_models, "sam99", None, CPU, store=store)
    assert "'sam99'" in said and "embedded, fast, balanced" in said and "sam2.1-large" in said
    said = complaint(load_models, "embedded", "dino99", CPU, store=store)
    assert "'dino99'" in said and "none, embedded, dinov2-small" in said
    said = complaint(load_segmenter, method="magic", device="cpu")
    assert "'magic'" in said and "use one of synpo, fob, auto" in said
    said = complaint(load_segmenter, method="fob", fob="fob-us", device="cpu")
    assert "'fob-us'" in said and "embedded, fob-ct, fob-mr" in said
    assert "method fob or auto" in complaint(load_segmenter, fob="fob-ct", device="cpu")
    assert "bf16" in complaint(load_segmenter, precision="int8", device="cpu")


@pytest.mark.parametrize(
    ("model", "features", "missing"),
    [
        ("fast", None, "sam2.1-tiny"),
        ("sam-vit-b", None, "sam-vit-b"),
        ("embedded", "dinov2-base", "dinov2-base"),
        ("best", "embedded", "sam2.1-large"),
    ],
)
def test_missing_weights_name_the_command_that_brings_them(store, model, features, missing):
    said = complaint(load_models, model, features, CPU, store=store)
    assert said.endswith(f"with: fewshotsam models download {missing}")
    assert str(store.path(missing)) in said and "MB, Apache-2.0" in said
    assert complaint(load_segmenter, model, features=features, device="cpu") == said


@pytest.mark.parametrize("features", [None, "embedded", "none"])
def test_the_shipped_model_needs_nothing(store, features):
    model, found = load_models("embedded", features, CPU, store=store)
    assert isinstance(model, EmbeddedModel)
    assert found is None if features == "none" else isinstance(found, EmbeddedFeatures)
    if found:
        assert found.model is model  # one network plays both parts
    assert not store.folder.exists()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_precision_reaches_the_network(precision):
    loaded = load_segmenter(device="cpu", precision=precision)
    assert loaded.encoders.model.dtype == {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]


def own_store(folder: Path, told: list[str], **networks: torch.nn.Module | dict) -> WeightStore:
    """A store whose catalogue knows these networks' files, by name with _ for -, by their hashes.
    """
    folder.mkdir()
    entries = {}
    for name, content in networks.items():
        entry = catalogue().weight_file(name.replace("_", "-").replace("sam2-1", "sam2.1"))
        torch.save(content, folder / entry.file)
        data = (folder / entry.file).read_bytes()
        entries[entry.name] = replace(
            entry, size=len(data), sha256=hashlib.sha256(data).hexdigest()
        )
    return WeightStore(folder, Catalogue(entries, catalogue().presets), told.append)


@pytest.mark.slow
def test_the_fast_preset_from_public_files_to_labels(tmp_path):
    """Networks of full size with random weights, in files as Meta publishes them."""
    pytest.importorskip("sam2", reason="needs sam2")
    pytest.importorskip("timm", reason="needs timm")
    from FewShotSAMLib.models.dinov2 import Dinov2Features
    from FewShotSAMLib.models.sam2 import Sam2Model, build_sam2

    torch.manual_seed(0)
    told: list[str] = []
    store = own_store(
        tmp_path / "weights",
        told,
        sam2_1_tiny={"model": build_sam2("sam2.1-tiny").state_dict()},
        dinov2_small=meta_dinov2_small(),
    )
    model, features = load_models("fast", None, CPU, store=store, memory=MemoryPolicy())
    assert isinstance(model, Sam2Model) and model.input_size == 1024
    assert isinstance(features, Dinov2Features) and features.input_size == 896
    del features.network.blocks[1:-1]  # loaded, of one shape, and a second each

    mine = abdomen(shape=(3, 64, 64), spacing=(5.2, 5.2, 66.0))
    query = replace(mine.image, origin=(7.0, 0.0, 0.0), name="query")  # not the support itself
    support = Support.from_labels(mine.image, mine.marked(1), axis="axial")
    chosen = choose_device("cpu")
    segmenter = Segmenter(Encoders(model, features, CPU), chosen)
    seen = []
    result = segmenter.segment(query, support, strategy="slices", range=(2, 2),
                               progress=seen.append)  # fmt: skip
    assert result.labels.same_grid(query) and result.labels.voxels.dtype == np.uint8
    assert not result.labels.voxels[:2].any()
    assert {(s.index, s.label) for s in result.slices} == {(2, label) for label in support.names}
    assert all(len(s.prompts.positives) > 0 for s in result.slices)
    assert result.device == f"cpu ({chosen.reason})"
    for card, name in ((result.model, "sam2.1-tiny"), (result.features, "dinov2-small")):
        entry = store.known.weight_file(name)
        assert (card.name, card.weights, card.sha256) == (name, entry.file, entry.sha256)
    assert seen[-1].done == seen[-1].total == 1
    assert told == []

    store.path("dinov2-small").write_bytes(b"something else")
    assert "SHA-256" in complaint(load_models, "fast", None, CPU, store=store)


def meta_dinov2_small() -> dict[str, torch.Tensor]:
    """The tensors of dinov2_vits14_pretrain.pth by Meta's names and shapes, random."""
    width, hidden = 384, 1536

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape) * 0.05

    state = {
        "cls_token": random(1, 1, width),
        "pos_embed": random(1, 1 + 37 * 37, width),
        "mask_token": random(1, width),
        "patch_embed.proj.weight": random(width, 3, 14, 14),
        "patch_embed.proj.bias": random(width),
        "norm.weight": 1 + random(width),
        "norm.bias": random(width),
    }
    for n in range(12):
        shapes = {
            "norm1.weight": (width,), "norm1.bias": (width,),
            "attn.qkv.weight": (3 * width, width), "attn.qkv.bias": (3 * width,),
            "attn.proj.weight": (width, width), "attn.proj.bias": (width,),
            "ls1.gamma": (width,),
            "norm2.weight": (width,), "norm2.bias": (width,),
            "mlp.fc1.weight": (hidden, width), "mlp.fc1.bias": (hidden,),
            "mlp.fc2.weight": (width, hidden), "mlp.fc2.bias": (width,),
            "ls2.gamma": (width,),
        }  # fmt: skip
        state |= {f"blocks.{n}.{name}": random(*shape) for name, shape in shapes.items()}
    return state
