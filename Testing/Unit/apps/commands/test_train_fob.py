"""`fewshotsam train-fob`, run as a person would."""

from __future__ import annotations

import csv
import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from FewShotSAMLib.apps.main import main
from FewShotSAMLib.apps.training_images import read_training_volumes
from FewShotSAMLib.data.volume import Volume
from FewShotSAMLib.data.writing import write_labels, write_volume
from FewShotSAMLib.models.fob import read_fob
from FewShotSAMLib.phantom.abdomen import abdomen
from FewShotSAMLib.weights.resources import sha256_of

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture(scope="module")
def scans(tmp_path_factory) -> Path:
    """Two patients, the second in a folder of its own, with what else lies in such folders."""
    folder = tmp_path_factory.mktemp("scans of Ms Müller")
    (folder / "second").mkdir()
    for seed, name in ((2, "second/scan.nrrd"), (1, "first.nii.gz")):
        patient = abdomen(shape=(8, 64, 64), spacing=(5.0, 5.0, 25.0), seed=seed)
        write_volume(patient.image, folder / name)
    write_volume(patient.truth, folder / "labels.nii.gz")
    write_labels(patient.marked(patient.marked_slice()), folder.with_name("marked.nii.gz"))
    shutil.copy(folder / "first.nii.gz", folder / "second" / "copy.nii.gz")
    (folder / "broken.nii.gz").write_bytes(b"no image")
    (folder / "notes.txt").write_text("seen on Monday", encoding="utf-8")
    (folder / ".hidden.nii.gz").write_bytes(b"of another program")
    return folder


@pytest.fixture(scope="module")
def supervoxels(tmp_path_factory) -> Path:
    """Runs in this folder find the supervoxels of earlier ones."""
    return tmp_path_factory.mktemp("cache")


def train(out: Path, *images: Path, steps: int = 2, extra: tuple[str, ...] = ()) -> int:
    return main([
        "train-fob", "--images", *map(str, images), "--out", str(out), "--backbone", "embedded",
        "--device", "cpu", "--steps", str(steps), "--checked", "1", *extra,
    ])  # fmt: skip


@pytest.fixture
def prepared(tmp_path, supervoxels):
    """A run's folder that holds the supervoxels already, and keeps new ones for others."""
    folder = tmp_path / "weights-run"
    shutil.copytree(supervoxels, folder)
    yield folder
    for kept in folder.glob("supervoxels-*.nrrd"):
        shutil.copy(kept, supervoxels)


def test_from_a_folder_of_scans_to_weights(scans, prepared, tmp_path, capsys):
    out = tmp_path / "weights.safetensors"
    assert train(out, scans, extra=("--seed", "4", "--refinement", "official")) == 0
    captured = capsys.readouterr()
    said = captured.err
    assert str(out) in captured.out
    assert "broken.nii.gz" in said and "labels.nii.gz: has 5 different values" in said
    assert re.search(r"copy\.nii\.gz: the same image as first\.nii\.gz"
                     r"|first\.nii\.gz: the same image as copy\.nii\.gz", said)
    assert "notes" not in said and "hidden" not in said
    assert "first.nii.gz: MR, 8 slices" in said and "scan.nrrd: MR, 8 slices" in said
    assert "2 volumes, 1 of them held out" in said

    network, known = read_fob(out)
    c = network.config
    assert (c.backbone, c.refinement, c.framing, c.modality) == ("embedded", "official", "body",
                                                                 "MR")
    assert set(known) == {"backbone_sha256", "provenance"}
    text = (tmp_path / "weights.json").read_text(encoding="utf-8")
    made = json.loads(text)
    assert made["sha256"] == sha256_of(out) and made["file"] == out.name
    assert made["modality"] == "MR" and made["refinement"] == "official"
    assert (made["seed"], made["steps"], made["torch"]) == (4, 2, torch.__version__)
    assert len(made["images_sha256"]) == 2 and len(set(made["images_sha256"])) == 2
    assert len(made["held_out_sha256"]) == 1
    assert set(made["held_out_sha256"]) < set(made["images_sha256"])
    assert 0 < made["hours"] < 1 and np.isfinite(made["held_out_error"]["positives_inside"])
    for private in ("Müller", "M\\u00fcller", "first.nii", "second/", "scan.nrrd", str(tmp_path)):
        assert private not in text + known["provenance"], "patients' names stay out"

    with (prepared / "log.csv").open(encoding="utf-8", newline="") as stream:
        row = list(csv.DictReader(stream))[-1]
    assert int(row["step"]) == 2
    for name in ("heat", "coarse", "distance", "negatives_inside", "positives_inside"):
        assert np.isfinite(float(row[name])), name
    assert not list(tmp_path.rglob("*.partial"))
    assert {p.suffix for p in prepared.iterdir()} == {".csv", ".json", ".pt", ".nrrd"}

    query, mask = str(scans / "first.nii.gz"), str(scans.with_name("marked.nii.gz"))
    assert main([
        "segment", query, "--support-mask", mask, "--method", "fob", "--fob", str(out),
        "--device", "cpu", "-o", str(tmp_path / "found.nii.gz"),
    ]) == 0, capsys.readouterr().err


def test_a_finished_run_is_written_again_and_another_one_does_not_take_its_place(
    scans, prepared, tmp_path, capsys
):
    out = tmp_path / "weights.safetensors"
    first = scans / "first.nii.gz"
    assert train(out, first, scans / "second", steps=2) == 0
    weights = read_fob(out)[0].state_dict()
    provenance = out.with_suffix(".json").read_text(encoding="utf-8")
    out.unlink()
    assert train(out, first, scans / "second", steps=2) == 0
    assert "going on" in capsys.readouterr().err
    for name, tensor in read_fob(out)[0].state_dict().items():
        assert torch.equal(tensor, weights[name])
    one, other = (
        {k: v for k, v in json.loads(text).items() if k != "sha256"}
        for text in (provenance, out.with_suffix(".json").read_text(encoding="utf-8"))
    )
    assert one == other
    before = out.read_bytes()
    for other in ((), ("--seed", "9"), ("--start", str(out))):
        images = [first] if not other else [first, scans / "second"]
        assert train(out, *images, steps=2, extra=other) == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert "weights-run" in said and "--run" in said
    assert train(out, first, scans / "second", steps=2, extra=("--refinement", "official")) == 2
    assert "other settings" in capsys.readouterr().err
    assert out.read_bytes() == before


@pytest.mark.parametrize("case", ["empty", "missing", "labels", "extension", "start", "number"])
def test_bad_input_is_one_line(case, scans, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    out, images, extra = tmp_path / "w.safetensors", [scans / "first.nii.gz"], ()
    if case == "empty":
        images, expected = [tmp_path / "empty"], "no volume to train on"
    elif case == "missing":
        images, expected = [*images, tmp_path / "nowhere"], "nowhere: no such file or folder"
    elif case == "labels":
        images, expected = [scans / "labels.nii.gz"], "no volume to train on"
    elif case == "extension":
        out, expected = tmp_path / "w.pth", "end the name in .safetensors"
    elif case == "start":
        extra, expected = ("--start", str(tmp_path / "none.pth")), "none.pth: no such file"
    else:
        extra, expected = ("--minutes", "0"), "--minutes"
    try:
        status = train(out, *images, extra=extra)
    except SystemExit as ended:
        status = ended.code
    assert status == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("fewshotsam: error: ") and expected in last
    assert not out.exists() and not out.with_suffix(".json").exists()


def test_tensorboard_is_asked_for_before_the_work_begins(scans, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # as if not installed
    assert train(tmp_path / "w.safetensors", scans, extra=("--log", "tensorboard")) == 2
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "fewshotsam: error: --log tensorboard: the package tensorboard is not installed; run: pip "
        "install tensorboard"
    ]


def test_ctrl_c_keeps_the_run(scans, prepared, tmp_path):
    out = tmp_path / "weights.safetensors"
    command = [
        sys.executable, "-m", "FewShotSAMLib", "train-fob", "--images", str(scans), "--out",
        str(out), "--backbone", "embedded", "--device", "cpu", "--checked", "1", "--steps", "5000",
    ]
    child = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True,
                             encoding="utf-8")
    said = ""
    for line in child.stderr:
        said += line
        if "training on" in line:
            child.send_signal(signal.SIGINT)
    assert child.wait(600) == 130, said
    assert "the same command goes on with it" in said.splitlines()[-1]
    state = torch.load(prepared / "run.pt", weights_only=True)
    assert state["step"] <= 2 and not out.exists()
    assert main([*command[3:-1], str(state["step"] + 1)]) == 0
    assert torch.load(prepared / "run.pt", weights_only=True)["step"] == state["step"] + 1


# -------------------------------------------------------------------------- the images


def names(*paths: Path) -> tuple[list[str], list[str]]:
    left_out: list[str] = []
    return [v.name for v in read_training_volumes(paths, None, left_out.append)], left_out


def test_a_file_that_is_named_twice_is_read_once(scans):
    found, _ = names(scans / "first.nii.gz", scans, scans / "second")
    assert found == ["first.nii.gz", "copy.nii.gz", "scan.nrrd"]


def test_every_series_of_a_dicom_folder_is_read(shared_data):
    found, left_out = names(shared_data / "robustness" / "oblique_mr_dicom")
    assert len(found) == 1 and not left_out


def test_analyze_pairs_are_read_once(tmp_path):
    import SimpleITK as sitk

    voxels = np.random.default_rng(0).normal(500, 100, (5, 20, 20)).astype(np.int16)
    sitk.WriteImage(Volume(voxels).to_sitk(), str(tmp_path / "old.hdr"))
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".hdr", ".img"]
    assert names(tmp_path) == (["old.hdr"], [])
