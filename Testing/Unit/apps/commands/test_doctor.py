"""`fewshotsam doctor`, as far as it concerns weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from FewShotSAMLib.apps.main import main

NAME, FILE = "dinov2-base-registers", "dinov2_vitb14_reg4_pretrain.pth"


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch) -> Path:
    """The place of a user who has no weights and no settings yet."""
    monkeypatch.setenv("FEWSHOTSAM_WEIGHTS", str(tmp_path / "Gewichte für Ärzte"))
    monkeypatch.setenv("FEWSHOTSAM_SETTINGS", str(tmp_path / "settings.json"))
    monkeypatch.delenv("FEWSHOTSAM_MIRROR", raising=False)
    return tmp_path


def doctor(capsys) -> list[str]:
    """What it says of downloaded weights."""
    capsys.readouterr()
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    first, last = lines.index("downloaded weights"), lines.index("optional packages")
    return [line.strip() for line in lines[first + 1 : last]]


def test_without_weights_it_says_where_they_would_lie_and_how_to_get_them(capsys, place):
    said = doctor(capsys)
    folder = place / "Gewichte für Ärzte"
    assert said[0] == f"folder {folder}, as FEWSHOTSAM_WEIGHTS says"
    assert said[1].startswith("mirror none")
    missing = next(line for line in said if line.startswith("missing: "))
    assert "sam2.1-tiny" in missing and NAME in missing
    assert "to get one: fewshotsam models download NAME" in said
    assert said[-1] == "0 bytes used on disk"
    assert not folder.exists()


def test_weights_are_present_checked_or_changed(capsys, place):
    copy = place / FILE
    copy.write_bytes(b"x" * 5000)
    assert main(["models", "download", NAME, "--from-file", str(copy)]) == 0
    said = doctor(capsys)
    line = next(line for line in said if line.startswith(NAME))
    assert "present, checked, SHA-256 " in line
    assert NAME not in next(line for line in said if line.startswith("missing: ")).split(", ")
    assert said[-1] == "5.1 kB used on disk"  # with the record of its SHA-256
    (place / "Gewichte für Ärzte" / FILE).write_bytes(b"y" * 4000)
    line = next(line for line in doctor(capsys) if line.startswith(NAME))
    assert "NOT checked" in line and f"fewshotsam models verify {NAME}" in line


def test_mirror_and_damaged_settings(capsys, place):
    settings = place / "settings.json"
    settings.write_text(json.dumps({"mirror": "https://files.example.org/w"}), encoding="utf-8")
    assert f"mirror https://files.example.org/w, settings file {settings}" in doctor(capsys)
    settings.write_text("{", encoding="utf-8")
    (said,) = doctor(capsys)
    assert str(settings) in said and "not readable as JSON" in said


def test_it_says_what_was_measured_of_half_precision(capsys):
    from FewShotSAMLib.models.devices import choose_device
    from FewShotSAMLib.models.half_precision import answers_file, compared
    from FewShotSAMLib.models.precision import choose_precision, half_in_question

    assert main(["doctor"]) == 0
    said = [line.strip() for line in capsys.readouterr().out.splitlines()]
    device = choose_device().device
    for training, what in ((False, "its networks compute"), (True, "training on it computes")):
        chosen = str(choose_precision(device, training=training)).removeprefix("torch.")
        (line,) = (line for line in said if line.startswith(f"{what} in {chosen} ("))
        half = half_in_question(device, training=training)
        if half is not None:
            found = compared(device, half, training)
            assert f"measured: a small convolution takes {found.ratio:.2f} times as long" in line
    assert f"measurements are kept in {answers_file()}" in said
