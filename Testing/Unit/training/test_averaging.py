"""The mean of several networks: its weights, its file, and what cannot be averaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from small_networks import TINY_EMBEDDED

from FewShotSAMLib.data.errors import InputError
from FewShotSAMLib.models.embedded import read_network, save_network
from FewShotSAMLib.models.embedded_network import EmbeddedConfig, EmbeddedNetwork
from FewShotSAMLib.training.averaging import average, main
from FewShotSAMLib.weights.own_weights import read_weights


def tiny(seed: int, config: EmbeddedConfig = TINY_EMBEDDED) -> EmbeddedNetwork:
    torch.manual_seed(seed)
    return EmbeddedNetwork(config)


def test_every_network_counts_the_same():
    networks = [tiny(seed) for seed in range(3)]
    mean = dict(average(networks).named_parameters())
    for name, parameter in mean.items():
        several = torch.stack([dict(one.named_parameters())[name] for one in networks])
        assert torch.allclose(parameter, several.sum(0) / 3, atol=1e-6), name


def test_what_has_no_mean_is_said():
    with pytest.raises(InputError, match="two or more"):
        average([tiny(0)])
    with pytest.raises(InputError, match="different widths"):
        average([tiny(0), tiny(0, EmbeddedConfig())])


def test_the_command_writes_weights_and_where_they_come_from(tmp_path: Path, capsys):
    files = [tmp_path / f"seed {seed}.safetensors" for seed in (1, 2)]
    for seed, file in enumerate(files):
        save_network(tiny(seed), file, {"provenance": json.dumps({"seed": seed})})
    save_network(tiny(1), tmp_path / "odd.safetensors", {"provenance": "not JSON"})
    out = tmp_path / "the mean.safetensors"
    assert main([str(out), *map(str, files), "--device", "cpu", "--checked", "1"]) == 0
    told = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
    assert [one["seed"] for one in told["mean_of"]] == [0, 1]
    assert all(len(one["sha256"]) == 64 for one in told["mean_of"])
    assert set(told["dice_on_generated_images"]) >= {"points", "mask"}
    _, tensors, said = read_weights(out, "an embedded model")
    assert json.loads(said["provenance"])["mean_of"] == told["mean_of"]
    one, other = (read_network(file).state_dict() for file in files)
    for name, tensor in tensors.items():
        assert torch.allclose(tensor, (one[name] + other[name]) / 2, atol=2e-3), name

    odd = [str(files[0]), str(tmp_path / "odd.safetensors"), "--device", "cpu", "--checked", "1"]
    assert main([str(out), *odd]) == 0
    before = out.read_bytes()
    assert main([str(out), str(files[0])]) == 2
    assert main([str(out), str(files[0]), str(tmp_path / "none.safetensors")]) == 2
    assert main([str(tmp_path / "out.json"), *odd]) == 2
    said = capsys.readouterr().err.splitlines()
    assert [len(line.split(": error: ")) for line in said] == [2, 2, 2]
    assert "two or more" in said[0] and "none.safetensors" in said[1] and "out.json" in said[2]
    assert out.read_bytes() == before
