"""`fewshotsam models` as people use it, with a real mirror on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from file_server import Answer, serving

from FewShotSAMLib.apps.main import main
from FewShotSAMLib.weights.catalogue import catalogue

ROOT = Path(__file__).resolve().parents[4]
# Of these nobody published size or hash, so that any bytes may stand for them.
OPEN, OPEN_FILE = "dinov2-base-registers", "dinov2_vitb14_reg4_pretrain.pth"
KNOWN = catalogue().weight_file("sam2.1-tiny")
CONTENT = b"some weights" * 40_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def mirror(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as server:
        server.files[f"/w/{OPEN_FILE}"] = CONTENT
        yield server


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """Weights and settings of a user who has none yet."""
    monkeypatch.setenv("FEWSHOTSAM_WEIGHTS", str(tmp_path / "Gewichte für Ärzte"))
    monkeypatch.setenv("FEWSHOTSAM_SETTINGS", str(tmp_path / "settings.json"))
    monkeypatch.delenv("FEWSHOTSAM_MIRROR", raising=False)
    return tmp_path / "Gewichte für Ärzte"


def models(*arguments) -> int:
    return main(["models", *map(str, arguments)])


def download(mirror, *arguments) -> int:
    return models("download", *arguments, "--mirror", mirror.url + "/w", "--yes")


def complaint(capsys, *arguments) -> str:
    """The one line of an unusable command."""
    capsys.readouterr()
    assert models(*arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    errors = [line for line in lines if line.startswith("fewshotsam: error: ")]
    assert len(errors) == 1, lines
    return errors[0]


def line_of(text: str, name: str) -> str:
    return next(line for line in text.splitlines() if line.split()[:1] == [name])


def test_list_names_presets_models_sizes_licences_and_what_is_there(capsys, mirror):
    download(mirror, OPEN)
    capsys.readouterr()
    assert models("list") == 0
    said = capsys.readouterr().out
    assert "ready" in line_of(said, "embedded")
    assert line_of(said, "fast").split()[:3] == ["fast", "sam2.1-tiny", "dinov2-small"]
    assert "to download" in line_of(said, "fast")
    assert "156 MB" in line_of(said, "sam2.1-tiny") and "Apache-2.0" in line_of(said, "sam-vit-h")
    assert line_of(said, "sam2.1-tiny").endswith("-")
    assert line_of(said, OPEN).endswith("on this machine")


def test_a_model_comes_is_verified_located_and_removed(capsys, mirror, folder):
    assert download(mirror, OPEN) == 0
    out, err = capsys.readouterr()
    path = folder / OPEN_FILE
    assert path.read_bytes() == CONTENT
    assert "about 346 MB, Apache-2.0, " + mirror.url in out and SHA256 in out
    assert "never published" in err
    assert models("where", OPEN) == 0
    assert capsys.readouterr().out.strip() == str(path)
    assert models("verify", OPEN) == 0
    assert capsys.readouterr().out == f"{OPEN}: whole, SHA-256 {SHA256}\n"
    assert download(mirror, OPEN) == 0
    assert "already" in capsys.readouterr().out and len(mirror.requests) == 1
    assert models("remove", OPEN) == 0
    assert "480 kB freed" in capsys.readouterr().out and not path.exists()
    assert models("remove", OPEN) == 0
    assert "was not on this machine" in capsys.readouterr().out


def test_a_damaged_file_fails_to_verify(capsys, mirror, folder):
    download(mirror, OPEN)
    (folder / OPEN_FILE).write_bytes(CONTENT[::-1])
    for arguments in (["verify"], ["verify", OPEN]):
        said = complaint(capsys, *arguments)
        assert SHA256 in said and OPEN_FILE in said
    capsys.readouterr()
    assert models("verify", "sam-vit-b") == 2
    assert "models download sam-vit-b" in capsys.readouterr().err


def test_the_shipped_model_is_whole_and_stays(capsys):
    assert models("verify") == 0
    assert "embedded: whole" in capsys.readouterr().out
    assert models("where", "embedded") == 0
    assert Path(capsys.readouterr().out.strip()).is_file()
    assert models("download", "embedded") == 0
    assert "ships" in complaint(capsys, "remove", "embedded")


def test_where_tells_the_folder_and_who_chose_it(capsys, folder):
    assert models("where") == 0
    out, err = capsys.readouterr()
    assert out.strip() == str(folder)
    assert "FEWSHOTSAM_WEIGHTS" in err and "settings.json" in err


def test_a_mirror_can_be_a_setting(mirror, folder, tmp_path):
    text = json.dumps({"mirror": mirror.url + "/w"})
    (tmp_path / "settings.json").write_text(text, encoding="utf-8")
    assert models("download", OPEN, "--yes") == 0
    assert (folder / OPEN_FILE).read_bytes() == CONTENT


def test_a_failed_download_gives_address_hash_and_the_way_by_hand(capsys, mirror):
    said = complaint(capsys, "download", KNOWN.name, "--yes", "--mirror", mirror.url + "/w")
    assert f"{mirror.url}/w/{KNOWN.file}" in said and KNOWN.sha256 in said and "404" in said
    assert "--from-file" in said


def test_wrong_bytes_for_a_known_model_never_get_its_name(capsys, mirror, folder):
    mirror.files[f"/w/{KNOWN.file}"] = CONTENT
    said = complaint(capsys, "download", "fast", "--yes", "--mirror", mirror.url + "/w")
    assert f"offers {len(CONTENT)} bytes, expected are {KNOWN.size}" in said
    assert not (folder / KNOWN.file).exists()


def test_local_files_need_no_network(capsys, folder, tmp_path):
    copy = tmp_path / OPEN_FILE
    copy.write_bytes(CONTENT)
    assert models("download", OPEN, "--from-file", copy) == 0
    assert "Apache-2.0" in capsys.readouterr().out
    assert (folder / OPEN_FILE).read_bytes() == CONTENT
    models("remove", OPEN)
    assert models("download", OPEN, "--from-file", tmp_path) == 0
    assert (folder / OPEN_FILE).read_bytes() == CONTENT


def test_local_files_that_are_not_the_model(capsys, folder, tmp_path):
    copy = tmp_path / "copy.pth"
    copy.write_bytes(CONTENT)
    said = complaint(capsys, "download", KNOWN.name, "--from-file", copy)
    assert "copy.pth" in said and KNOWN.file in said
    assert "one of sam2.1-tiny, dinov2-small" in complaint(
        capsys, "download", "fast", "--from-file", copy
    )
    assert KNOWN.file in complaint(capsys, "download", "fast", "--from-file", tmp_path)
    assert not folder.exists() or list(folder.iterdir()) == []


@pytest.mark.parametrize("action", ["download", "verify", "remove", "where"])
def test_unknown_names_list_the_known_ones(capsys, action):
    said = complaint(capsys, action, "sam99")
    assert "sam99" in said and "balanced" in said and "sam2.1-large" in said


def test_a_model_without_an_address_says_where_to_look(capsys):
    assert "github.com/haoqiwang/sinder" in complaint(capsys, "download", "sinder-giant", "--yes")


def child(*arguments, **options) -> subprocess.Popen:
    command = [sys.executable, "-m", "FewShotSAMLib", "models", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8"}
    return subprocess.Popen(command, cwd=ROOT, **{**pipes, **options})


def test_without_a_terminal_yes_must_be_said(mirror, folder):
    process = child("download", OPEN, "--mirror", mirror.url, stdin=subprocess.DEVNULL)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 2
    assert "346 MB" in out and "--yes" in err and err.count("\n") == 1
    assert mirror.requests == [] and not folder.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize(("answer", "status"), [("n", 130), ("", 130), ("y", 0)])
def test_on_a_terminal_it_asks(mirror, folder, answer, status):
    import pty

    ours, theirs = pty.openpty()
    try:
        process = child("download", OPEN, "--mirror", mirror.url + "/w", stdin=theirs)
        os.write(ours, (answer + "\n").encode())
        _, err = process.communicate(timeout=600)
    finally:
        os.close(ours)
        os.close(theirs)
    assert process.returncode == status, err
    assert "[y/N]" in err and str(folder) in err
    assert (folder / OPEN_FILE).exists() == (status == 0)


@pytest.mark.skipif(sys.platform == "win32", reason="sends Ctrl-C as POSIX systems do")
def test_ctrl_c_keeps_what_has_come_and_the_next_time_goes_on(mirror, folder):
    mirror.answers = [Answer(pause=0.4, piece=5000)]  # longer than the signal takes anywhere
    arguments = ("download", OPEN, "--mirror", mirror.url + "/w", "--yes")
    process = child(*arguments, stdin=subprocess.DEVNULL)
    partial = folder / f"{OPEN_FILE}.partial"
    deadline = time.monotonic() + 600
    while not (partial.exists() and partial.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 130, err
    assert "kept" in err and "Traceback" not in err
    assert 0 < partial.stat().st_size < len(CONTENT) and not (folder / OPEN_FILE).exists()
    kept = partial.stat().st_size
    assert models(*arguments) == 0
    assert (folder / OPEN_FILE).read_bytes() == CONTENT
    assert mirror.ranges()[-1] == f"bytes={kept}-"
