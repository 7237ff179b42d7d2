"""`segment`, `prompts` and `demo` on real files, as a person runs them: what ends or is asked for
everything in a process of its own, the rest in this one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from FewShotSAMLib import read_labels
from FewShotSAMLib.apps.main import main
from FewShotSAMLib.data.writing import write_labels, write_volume
from FewShotSAMLib.phantom.abdomen import SEGMENTS, abdomen

ROOT = Path(__file__).resolve().parents[4]
IMAGE, MASK = "Bäuche und Köpfe 腹部.nii.gz", "one slice.seg.nrrd"


def command(*arguments) -> list[str]:
    return [sys.executable, "-m", "FewShotSAMLib", *map(str, arguments)]


def run(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run(
        command(*arguments), cwd=ROOT, capture_output=True, text=True, encoding="utf-8"
    )


def answer(capsys, *arguments) -> dict:
    """What a command prints, as JSON."""
    status = main(list(map(str, arguments)))
    out, err = capsys.readouterr()
    assert status == 0, err
    return json.loads(out) if out.startswith("{") else {}


@pytest.fixture(scope="module")
def phantom():
    return abdomen(shape=(16, 112, 112), spacing=(2.9, 2.9, 12.5))


@pytest.fixture(scope="module")
def folder(phantom, tmp_path_factory):
    folder = tmp_path_factory.mktemp("a study")
    write_volume(phantom.image, folder / IMAGE)
    write_labels(phantom.marked(phantom.marked_slice()), folder / MASK)
    return folder


@pytest.fixture(scope="module")
def segmented(folder):
    """One run with everything asked for, shared by the tests below."""
    output, report = folder / "Ergebnis ü.seg.nrrd", folder / "Bericht ü.html"
    done = run(
        "segment", folder / IMAGE, "--support-image", folder / IMAGE, "--support-mask",
        folder / MASK, "-o", output, "--report", report, "--json", "--device", "cpu",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), output, report, done.stderr


def test_json_and_file_say_the_same(segmented, phantom):
    said, output, _, _ = segmented
    labels = read_labels(output)
    assert labels.same_grid(phantom.image)
    voxel = float(np.prod(phantom.image.spacing)) / 1000
    assert [row["label"] for row in said["labels"]] == sorted(SEGMENTS)
    for row in said["labels"]:
        assert row["voxels"] == np.count_nonzero(labels.voxels == row["label"]) > 0
        assert row["volume_ml"] == pytest.approx(row["voxels"] * voxel, abs=1e-3)


def test_names_and_colours_are_kept(segmented):
    said, output, _, _ = segmented
    segments = read_labels(output).segments
    for row in said["labels"]:
        known = SEGMENTS[row["label"]]
        assert row["name"] == segments[row["label"]].name == known.name
        assert segments[row["label"]].colour == pytest.approx(known.colour, abs=1e-3)


def test_json_tells_how_it_was_made(segmented, phantom):
    said, _, _, _ = segmented
    assert said["axis"] == "axial"
    assert said["method"] == "synpo" and said["strategy"] == "propagate"
    assert said["device"].startswith("cpu")
    assert len(said["model"]["sha256"]) == 64
    assert said["features"] == said["model"]  # the shipped network plays both parts
    assert said["seconds"] and all(seconds >= 0 for seconds in said["seconds"].values())
    for row in said["slices"]:
        assert 0 <= row["index"] < phantom.image.shape[0]
        assert row["label"] in SEGMENTS
        assert row["source"] in ("support", "prompted", "propagated")
        assert row["present"] == (row["area_mm2"] > 0)


def test_marked_slice_stays_as_it_was_drawn(segmented, phantom):
    said, output, _, _ = segmented
    marked = phantom.marked_slice()
    drawn = {row["index"] for row in said["slices"] if row["source"] == "support"}
    assert drawn == {marked}
    assert np.array_equal(read_labels(output).voxels[marked], phantom.truth.voxels[marked])


def test_segmentation_is_near_the_truth(segmented, phantom):
    _, output, _, _ = segmented
    found, truth = read_labels(output).voxels, phantom.truth.voxels
    for label in SEGMENTS:
        both = np.count_nonzero((found == label) & (truth == label))
        dice = 2 * both / (np.count_nonzero(found == label) + np.count_nonzero(truth == label))
        assert dice > 0.5, SEGMENTS[label].name


def test_report_holds_its_picture_and_names(segmented):
    _, _, report, _ = segmented
    text = report.read_text(encoding="utf-8")
    assert text.count("data:image/jpeg;base64,/9j/") >= 8
    assert all(segment.name in text for segment in SEGMENTS.values())
    assert text.count("<rect") >= 16
    assert "://" not in text, "a report is one file"


def test_progress_goes_to_standard_error(segmented):
    _, _, _, progress = segmented
    assert "%" in progress


def test_one_label_and_some_slices(folder, phantom, capsys):
    output = folder / "some.nii.gz"
    said = answer(
        capsys, "segment", folder / IMAGE, "--support-mask", folder / MASK, "--label", 1, "--range",
        "8:10", "--strategy", "slices", "-o", output, "--json",
    )  # fmt: skip
    assert {row["index"] for row in said["slices"]} <= {8, 9, 10}
    voxels = read_labels(output).voxels
    assert set(np.unique(voxels)) <= {0, 1}
    assert not voxels[:8].any() and not voxels[11:].any()


def test_what_is_excluded_is_not_in_the_result(folder, phantom, capsys):
    output, mask = folder / "bounded.nii.gz", folder / "neighbours.nrrd"
    spleen = phantom.truth.with_voxels((phantom.truth.voxels == 4).astype(np.uint8), segments={})
    write_labels(spleen, mask)
    on = ("--support-mask", folder / MASK, "--range", "7:9", "-o", output, "--json")
    answer(capsys, "segment", folder / IMAGE, "--exclude", mask, *on)
    voxels = read_labels(output).voxels
    assert voxels.any() and not voxels[spleen.voxels > 0].any()
    write_labels(spleen.with_voxels(np.zeros_like(spleen.voxels)), mask)
    assert main(["segment", str(folder / IMAGE), "--exclude", str(mask), *map(str, on)]) == 2
    assert "leave --exclude out" in capsys.readouterr().err


def test_a_kept_support_gives_the_same_prompts(folder, phantom, capsys):
    kept = folder / "kept.nrrd"
    answer(capsys, "support", folder / IMAGE, folder / MASK, "-o", kept)
    on = ("--slice", phantom.marked_slice() + 1)
    drawn = answer(capsys, "prompts", folder / IMAGE, "--support-mask", folder / MASK, *on)
    again = answer(capsys, "prompts", folder / IMAGE, "--support", kept, *on)
    assert drawn == again
    prompts = drawn["labels"]
    assert {row["name"] for row in prompts} == {s.name for s in SEGMENTS.values()}
    assert all(len(row["points"]) == len(row["labels"]) > 0 for row in prompts)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for a child process")
def test_cancelled_leaves_nothing_and_exits_with_130(tmp_path):
    large = abdomen(shape=(120, 96, 96), spacing=(3.3, 3.3, 1.7))
    write_volume(large.image, tmp_path / IMAGE)
    write_labels(large.marked(large.marked_slice()), tmp_path / MASK)
    before = sorted(tmp_path.iterdir())
    process = subprocess.Popen(
        command("segment", tmp_path / IMAGE, "--support-mask", tmp_path / MASK, "-o",
                tmp_path / "out.seg.nrrd", "--report", tmp_path / "out.html"),
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    # The first bar shows that the work has begun.
    process.stderr.read(1)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 130, err.decode("utf-8", "replace")
    assert b"cancelled" in err and b"Traceback" not in err
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.slow
def test_demo_in_a_folder_with_a_space(tmp_path):
    folder = tmp_path / "my demo"
    done = run("demo", "--out", folder, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    mean = float(done.stdout.split("mean")[1].split()[1])
    assert mean > 0.75
    for name in ("report.html", "slices.png", "segmentation.seg.nrrd", "truth.seg.nrrd"):
        assert (folder / name).stat().st_size > 1000
        assert name.startswith(("truth", "segm")) or str(folder / name) in done.stdout
