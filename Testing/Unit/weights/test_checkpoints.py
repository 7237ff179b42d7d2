"""Checkpoints are read without running what is in them, and only fitting ones are used."""

from __future__ import annotations

import argparse
import io
import os
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from FewShotSAMLib.data.errors import InputError
from FewShotSAMLib.weights.checkpoints import load_into, read_checkpoint

WEIGHTS = {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.tensor([1.0, 2.0])}


class Bomb:
    """Runs a function when it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def refusal(path) -> str:
    with pytest.raises(InputError) as problem:
        read_checkpoint(path)
    text = str(problem.value)
    assert text.startswith(str(path)) and "\n" not in text
    return text


def assert_weights(state):
    assert state.keys() == WEIGHTS.keys()
    assert all(torch.equal(state[name], value) for name, value in WEIGHTS.items())


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("level", [None, "model", "state_dict"])
def test_weights_with_and_without_a_level_around_them(tmp_path, level, zipped):
    path = tmp_path / "Gewichte ä.pth"
    content = WEIGHTS if level is None else {level: WEIGHTS, "epoch": 3}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert_weights(read_checkpoint(path))


def test_safetensors(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file(WEIGHTS, path)
    assert_weights(read_checkpoint(path))


def save_pickle(content, path, protocol=2):
    path.write_bytes(pickle.dumps(content, protocol))


SAVERS = {
    "plain pickle": save_pickle,
    "plain pickle, protocol 4": lambda content, path: save_pickle(content, path, 4),
    "torch": torch.save,
    "torch before 1.6": lambda content, path: torch.save(
        content, path, _use_new_zipfile_serialization=False
    ),
}


@pytest.mark.parametrize("save", SAVERS.values(), ids=SAVERS)
def test_a_pickle_with_code_is_refused_and_does_not_run(tmp_path, save):
    path, made = tmp_path / "weights.pth", tmp_path / "made by the pickle"
    save({"model": WEIGHTS, "extra": Bomb(os.mkdir, str(made))}, path)
    said = refusal(path)
    assert "refused" in said and ".mkdir" in said and "safetensors" in said
    assert not made.exists()


def test_the_bombs_are_live(tmp_path):
    """What the test above guards against does happen where a pickle is simply loaded."""
    made = tmp_path / "made by the pickle"
    pickle.loads(pickle.dumps(Bomb(os.mkdir, str(made))))
    assert made.is_dir()


def test_the_tar_format_is_refused(tmp_path):
    path, made = tmp_path / "weights.pth", tmp_path / "made by the pickle"
    bomb = pickle.dumps(Bomb(os.mkdir, str(made)), 2)
    with tarfile.open(path, "w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            entry = tarfile.TarInfo(name)
            entry.size = len(bomb)
            archive.addfile(entry, io.BytesIO(bomb))
    assert "refused" in refusal(path)
    assert not made.exists()


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ({"model": WEIGHTS, "args": argparse.Namespace(lr=1)}, "argparse.Namespace"),
        ({"model": WEIGHTS, "loss": np.float64(3)}, "numpy"),
        (torch.nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
    ],
)
def test_other_objects_are_refused_by_name(tmp_path, content, name):
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    assert name in refusal(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (torch.zeros(2), "Tensor"),
        ({}, "no weights"),
        ({"epoch": 3, "loss": 0.5}, "no tensors: epoch, loss"),
        ([1, 2], "list"),
    ],
)
def test_files_that_hold_no_weights(tmp_path, content, reason):
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    assert reason in refusal(path)


def test_damaged_files(tmp_path):
    whole = tmp_path / "whole.pth"
    torch.save(WEIGHTS, whole)
    old = tmp_path / "old.pth"
    torch.save(WEIGHTS, old, _use_new_zipfile_serialization=False)
    for n, content in enumerate(
        [b"", b"<html>", whole.read_bytes()[:300], old.read_bytes()[:-9], b"\x80\x04."]
    ):
        path = tmp_path / f"{n}.pth"
        path.write_bytes(content)
        assert "get it again" in refusal(path)
    with zipfile.ZipFile(tmp_path / "zip.pth", "w") as archive:
        archive.writestr("readme", "hello")
    assert "get it again" in refusal(tmp_path / "zip.pth")
    (tmp_path / "a.safetensors").write_bytes(b"{}")
    assert "get it again" in refusal(tmp_path / "a.safetensors")
    assert "no such file" in refusal(tmp_path / "nowhere.pth")


def test_fitting_weights_are_loaded():
    module = torch.nn.Linear(3, 2)
    load_into(module, WEIGHTS, source="weights.pth")
    assert_weights(module.state_dict())


def test_the_wrong_architecture_says_what_differs_and_changes_nothing():
    module = torch.nn.Sequential(*[torch.nn.Linear(4, 4) for _ in range(4)])
    before = {name: value.clone() for name, value in module.state_dict().items()}
    state = dict(torch.nn.Sequential(*[torch.nn.Linear(4, 4) for _ in range(2)]).state_dict())
    state["0.weight"] = torch.zeros(5, 4)
    state["head"] = torch.zeros(1)
    with pytest.raises(InputError) as problem:
        load_into(module, state, source="weights.pth")
    said = str(problem.value)
    assert said.startswith("weights.pth") and "\n" not in said
    assert "4 missing (2.weight, 2.bias, 3.weight and 1 more)" in said
    assert "1 not expected (head)" in said
    assert "1 of another shape (0.weight is (5, 4), not (4, 4))" in said
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
