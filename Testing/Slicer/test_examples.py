"""The example script does what it says, as far as it can without the full application."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core (pip install slicer-core)")
pytest.importorskip("slicer.util", reason="needs slicer-core (pip install slicer-core)")

from FewShotSAMLib import Support, read_labels, write_volume  # noqa: E402
from FewShotSAMLib.apps.main import main as command_line  # noqa: E402
from FewShotSAMLib.phantom.abdomen import abdomen  # noqa: E402

SCRIPT = Path(__file__).resolve().parents[2] / "FewShotSAM/Resources/Examples/batch_segment.py"
SMALL = {"shape": (8, 64, 64), "spacing": (5.2, 5.2, 25.0)}


def test_a_folder_is_segmented_as_on_the_command_line(scene, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    patient = abdomen(**SMALL)
    support = Support.from_labels(
        patient.image, patient.marked(patient.marked_slice()), axis="axial", keep_labels=[1, 4]
    )
    support.save(tmp_path / "support.nrrd")
    volumes, results = tmp_path / "volumes", tmp_path / "résultats"
    volumes.mkdir()
    for seed in (3, 5):
        write_volume(abdomen(**SMALL, seed=seed).image, volumes / f"patient {seed}.nii.gz")
    (volumes / "broken.nrrd").write_text("no image", encoding="utf-8")
    (volumes / "notes.txt").write_text("not for us", encoding="utf-8")
    script = runpy.run_path(str(SCRIPT))
    arguments = [str(p) for p in (tmp_path / "support.nrrd", volumes, results)]

    assert script["main"]([*arguments, "--device", "cpu"]) == 1
    printed = capsys.readouterr().out
    assert "broken.nrrd: " in printed and "patient 3.nii.gz: 2 segments" in printed
    assert sorted(p.name for p in results.iterdir()) == [
        "patient 3.seg.nrrd", "patient 5.seg.nrrd"
    ]  # fmt: skip
    expected = tmp_path / "expected.nii.gz"
    assert command_line([
        "segment", str(volumes / "patient 3.nii.gz"), "--support", str(tmp_path / "support.nrrd"),
        "-o", str(expected), "--device", "cpu",
    ]) == 0  # fmt: skip
    found, whole = read_labels(results / "patient 3.seg.nrrd"), read_labels(expected)
    values = {segment.name: value for value, segment in found.segments.items()}
    for name, label in (("liver", 1), ("spleen", 4)):
        size = np.count_nonzero(whole.voxels == label)
        assert np.count_nonzero(found.voxels == values.pop(name)) == size
    assert not values

    assert script["main"]([*arguments, "--device", "cpu"]) == 1, "only the broken one is tried"
    assert "done before" in capsys.readouterr().out


def test_it_says_what_is_missing(scene, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FEWSHOTSAM_WEIGHTS", str(tmp_path / "none"))
    script = runpy.run_path(str(SCRIPT))
    arguments = [str(tmp_path / name) for name in ("support.nrrd", "volumes", "results")]
    assert script["main"]([*arguments, "--model", "fast"]) == 2
    assert "missing: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["SUPPORT", "nowhere", "results"], "nowhere: there is no such folder"),
        (["SUPPORT", "volumes", "results", "--model", "biggest"], "biggest"),
        (["gone.nrrd", "volumes", "results"], "gone.nrrd"),
        (["SUPPORT", "volumes", "SUPPORT/results"], "SUPPORT"),
        (["--nonsense"], ""),
    ],
)
def test_what_cannot_be_used_ends_the_application_with_one_line(
    scene, tmp_path, monkeypatch, capsys, arguments, said
):
    patient = abdomen(**SMALL)
    support = tmp_path / "support.nrrd"
    Support.from_labels(patient.image, patient.marked(4), axis="axial").save(support)
    (tmp_path / "volumes").mkdir()
    given = [one.replace("SUPPORT", "support.nrrd") for one in arguments]
    assert exit_status(monkeypatch, tmp_path, given) == 2
    printed = capsys.readouterr().out
    assert said.replace("SUPPORT", "support.nrrd") in printed
    assert printed.count("\n") == (1 if said else 0), printed


def test_whatever_happens_the_application_ends(scene, tmp_path, monkeypatch, capsys):
    """Slicer stays open after an exception in a script."""
    monkeypatch.setitem(sys.modules, "FewShotSAMLib", None)
    assert exit_status(monkeypatch, tmp_path, ["support.nrrd", "volumes", "results"]) == 1
    assert "FewShotSAMLib" in capsys.readouterr().err


def exit_status(monkeypatch, folder, arguments):
    """What the script ends the application with."""
    ended = []
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments])
    monkeypatch.setattr(slicer, "app", object(), raising=False)
    monkeypatch.setattr(slicer.util, "exit", ended.append, raising=False)
    runpy.run_path(str(SCRIPT), run_name="__main__")
    return ended[0]
