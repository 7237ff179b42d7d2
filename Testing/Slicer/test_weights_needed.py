"""The weights that a preset lacks: the question beforehand, and taking them from a folder."""

from __future__ import annotations

import hashlib
import json
import time

import pytest
from FewShotSAMModule.weights_needed import (
    Fetching,
    install_from,
    missing_weights,
    question,
)

from FewShotSAMLib import InputError
from FewShotSAMLib.models.weights import WeightStore
from FewShotSAMLib.models.weights_catalogue import catalogue, read_catalogue

CONTENT = {"one.pth": b"first" * 100, "two.pth": b"second" * 200}


@pytest.fixture
def store(tmp_path):
    """A store whose catalogue has a preset of two small files."""
    weights = [
        {
            "name": name.split(".")[0], "kind": kind, "file": name, "base": "here", "path": name,
            "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), "licence": "Apache-2.0",
            "source": "https://models.example", "purpose": "a test",
        }
        for (name, data), kind in zip(CONTENT.items(), ("promptable", "features"), strict=True)
    ]  # fmt: skip
    preset = {"name": "small", "model": "one", "features": "two", "prompts": [], "purpose": "p"}
    path = tmp_path / "catalogue.json"
    # Nothing listens on the port of this address.
    bases = {"here": "http://127.0.0.1:9/"}
    path.write_text(
        json.dumps({"bases": bases, "weights": weights, "presets": [preset]}), encoding="utf-8"
    )
    return WeightStore(tmp_path / "weights", known=read_catalogue(path))


@pytest.fixture
def folder(tmp_path):
    found = tmp_path / "from a colleague ü"
    found.mkdir()
    for name, data in CONTENT.items():
        (found / name).write_bytes(data)
    return found


def wait(fetching, seconds=20.0):
    end = time.monotonic() + seconds
    while not fetching.over:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_the_embedded_preset_lacks_nothing():
    assert missing_weights("embedded") == ()
    assert catalogue().presets["fast"].weights


def test_an_unknown_preset_is_one_line():
    with pytest.raises(InputError, match="unknown"):
        missing_weights("fastest")


def test_question_says_size_licence_address_and_checksum(store):
    entries = missing_weights("small", store)
    assert [entry.name for entry in entries] == ["one", "two"]
    text = question(entries, store)
    for entry in entries:
        assert entry.name in text
        assert entry.url in text
        assert entry.sha256 in text
        assert entry.size_text in text
    assert "Apache-2.0" in text
    assert str(store.folder) in text
    assert "Weights from folder" in text


def test_a_folder_on_this_machine_replaces_the_download(store, folder):
    fetching = Fetching(missing_weights("small", store), folder, store)
    wait(fetching)
    assert fetching.problem == ""
    assert missing_weights("small", store) == ()


def test_another_file_of_the_same_name_is_refused(store, folder):
    (folder / "two.pth").write_bytes(b"damaged")
    fetching = Fetching(missing_weights("small", store), folder, store)
    wait(fetching)
    assert "two.pth" in fetching.problem
    assert "\n" not in fetching.problem
    assert [entry.name for entry in missing_weights("small", store)] == ["two"]


def test_one_file_cannot_be_two(store, folder):
    with pytest.raises(InputError, match=r"one\.pth, two\.pth"):
        install_from(missing_weights("small", store), folder / "one.pth", store)


def test_a_download_can_be_stopped(store):
    fetching = Fetching(missing_weights("small", store), store=store)
    fetching.cancel()  # the address does not answer, and it would try again for minutes
    wait(fetching)
    assert fetching.cancelled
    assert len(missing_weights("small", store)) == 2
