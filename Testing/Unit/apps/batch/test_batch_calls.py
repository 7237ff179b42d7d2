"""Batches as people call them: names with spaces and umlauts, options in another order, drawings
and earlier results among the images, folders that cannot be written to."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from small_disk import needs_root, small_disk
from small_studies import ROOT, TINY, batch_command, manifest, support_of, write_studies
from written_dicom import STUDY, write_slices

import FewShotSAMLib as fss
from FewShotSAMLib.apps.batch.drawings import is_drawing
from FewShotSAMLib.apps.batch.records import Records
from FewShotSAMLib.apps.batch.studies import find_studies
from FewShotSAMLib.apps.main import main
from FewShotSAMLib.data.writing import write_volume
from FewShotSAMLib.phantom.abdomen import abdomen


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images, a DICOM tree of one study with two series, and the support of another patient."""
    folder = tmp_path_factory.mktemp("Übung mit Leerzeichen")
    write_studies(folder / "Bilder groß", 2)
    for number in (1, 2):
        image = abdomen(**TINY, seed=number).image
        image = image.with_voxels(image.voxels.astype(np.int16))
        write_slices(folder / "DICOM" / "Müller, A" / f"S{number}", image, **STUDY,
                     Modality="MR", SeriesDescription=f"T{number} axial")  # fmt: skip
    return folder


@pytest.fixture
def call(folder, monkeypatch):
    """`fewshotsam batch`, called in the folder with paths relative to it; the exit status."""
    monkeypatch.chdir(folder)

    def run(*words):
        return main(["batch", *map(str, words), "--device", "cpu", "--strategy", "slices"])

    return run


def names(found):
    return sorted(study.name for study in found)


def test_two_series_of_a_study_with_all_that_can_be_written(call, tmp_path):
    pytest.importorskip("highdicom")
    out = tmp_path / "Ergebnisse ä"
    kinds = (".dcm", ".nii.gz", ".seg.nrrd")
    assert call("--report", "DICOM", "--support", "support.nrrd", "-o", out, "--formats", *kinds,
                "--statistics", "first-order") == 0  # fmt: skip
    for number in (1, 2):
        name, series = f"Müller, A_S{number}_T{number} axial", f"DICOM/Müller, A/S{number}"
        image = fss.read_volume(series)
        labels = [fss.read_labels(out / f"{name}{kind}", like=image) for kind in kinds]
        assert labels[1].voxels.any()
        assert all(np.array_equal(one.voxels > 0, labels[1].voxels > 0) for one in labels)
        page = (out / f"{name}.html").read_text(encoding="utf-8")
        assert "Confidence along the slices" in page
    assert 'href="M%C3%BCller%2C' in (out / "index.html").read_text(encoding="utf-8")


def test_a_list_with_paths_relative_to_it(call, folder, tmp_path):
    rows = "image;series;output\nBilder groß/patient 1.nii.gz;;eins\nDICOM;T2*;zwei\n"
    (folder / "Liste.csv").write_text(rows, encoding="utf-8-sig")
    try:
        assert call("Liste.csv", "-o", tmp_path, "--support", "support.nrrd") == 0
    finally:
        (folder / "Liste.csv").unlink()
    assert {one["study"]: one["status"] for one in manifest(tmp_path)} == {
        "eins": "done", "zwei": "done",
    }  # fmt: skip


@pytest.mark.parametrize(("words", "says"), [
    (["--formats", ".nii.gz", "Bilder groß", "-o", "out"], "inputs go in front of --formats"),
    (["DICOM", "-o", "out", "Bilder groß"], "in front of the options"),
    (["DICOM", "-o", "support.nrrd"], "support.nrrd: a file is in the way"),
    (["DICOM", "-o", "support.nrrd/out"], "support.nrrd/out: a file is in the way"),
    (["DICOM", "-o", "out", "--workers", "0"], "--workers: '0' is not above 0"),
    (["DICOM", "-o", "out", "--dicom-web", "http://host"], "name .dcm among the formats"),
    (["DICOM", "-o", "out", "--formats", ".dcm", "--dicom-web", "host"], "is no address"),
])  # fmt: skip
def test_what_is_wrong_with_a_call_is_one_line(call, folder, capsys, words, says):
    try:
        status = call(*words, "--support", "support.nrrd")
    except SystemExit as ended:
        status = ended.code
    said = capsys.readouterr().err.splitlines()
    errors = [line for line in said if "error" in line]
    assert status == 2 and len(errors) == 1 and says in errors[0].replace("\\", "/"), said
    assert not (folder / "out").exists()


def test_a_scheduler_without_a_port(call, tmp_path, capsys):
    pytest.importorskip("distributed", reason="the extra `batch` brings Dask")
    assert call("DICOM", "-o", tmp_path, "--support", "support.nrrd", "--scheduler", "node7") == 2
    assert "node7: is no address of a Dask scheduler" in capsys.readouterr().err


def test_an_image_in_place_of_a_support(call, tmp_path, capsys):
    image = Path("Bilder groß", "patient 0.nii.gz")
    assert call("DICOM", "-o", tmp_path / "out", "--support", image) == 2
    assert "patient 0.nii.gz: holds no support; make one with" in capsys.readouterr().err


def test_a_format_that_fits_no_study_is_said_before_the_work(call, tmp_path, capsys):
    kinds = ["--formats", ".nii.gz", ".dcm"]
    assert call("Bilder groß", "-o", tmp_path, "--support", "support.nrrd", *kinds) == 3
    assert capsys.readouterr().err.count("is no DICOM series") == 2
    assert all("in read\n" in one["traceback"] for one in Records(tmp_path).all())


@pytest.mark.parametrize("name", ["case-label", "labelsTr/case", "liver mask", "segmentations/x"])
def test_drawings_among_images_are_left_out(tmp_path, name):
    patient, told = abdomen(**TINY), []
    drawing = tmp_path / f"{name}.nii.gz"
    drawing.parent.mkdir(exist_ok=True)
    write_volume(patient.image, tmp_path / "case.nii.gz")
    fss.write_labels(patient.marked(2), drawing)
    assert names(find_studies([tmp_path], told.append)) == ["case"]
    assert len(told) == 1 and str(drawing) in told[0]
    assert len(find_studies([drawing], told.append)) == 1, "a file that is named is taken"


def test_images_that_are_called_as_drawings_are_images(tmp_path):
    image = abdomen(**TINY).image
    for kind in (np.int16, np.float32, np.uint8):
        path = tmp_path / f"labels {np.dtype(kind).name}.nii.gz"
        voxels = image.voxels * 250 / image.voxels.max()
        write_volume(image.with_voxels(voxels.astype(kind)), path)
        assert not is_drawing(path, tmp_path)
    assert not is_drawing(tmp_path / "case.nii.gz", tmp_path), "nothing is read for its name"


def test_results_of_other_batches_are_no_images(folder, tmp_path):
    inputs, support, told = tmp_path / "in", fss.Support.load(support_of(folder / "in")), []
    shutil.copytree(folder / "Bilder groß", inputs)
    one = {"device": "cpu", "strategy": "slices", "formats": [".nii.gz"]}
    for place in (inputs / "out", inputs / "out 2"):
        found = list(fss.segment_many(inputs, support, place, **one, tell=told.append))
        assert [study.status for study in found] == ["done"] * 2
    assert len(told) == 1 and str(inputs / "out") in told[0]
    with pytest.raises(fss.InputError, match="no image or DICOM series is there"):
        find_studies([inputs / "out"], told.append)


@needs_root
def test_a_folder_that_cannot_be_written_to(call, tmp_path, capsys):
    disk = tmp_path / "disk"
    with small_disk(disk, "ro"):
        assert call("Bilder groß", "-o", disk / "out", "--support", "support.nrrd") == 2
        assert "out: cannot be written to (Read-only file system)" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for a child process")
def test_ctrl_c_in_the_middle(folder, tmp_path):
    inputs, out = tmp_path / "in", tmp_path / "out"
    write_studies(inputs, 6)
    command = batch_command(inputs, "--support", support_of(inputs), "-o", out, "--report")
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        encoding="utf-8",
    )  # fmt: skip
    while not any(out.glob("records/*.json")) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130 and "Traceback" not in said, said
    assert f"cancelled; what is done stays in {out}" in said
    assert not list(out.glob("records/*.partial"))
    done = {one["study"] for one in manifest(out)}
    assert 0 < len(done) < 6
    assert {path.name.split(".")[0] for path in out.glob("patient*.seg.nrrd")} == done
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.seg.nrrd")}
    assert main([*command[3:]]) == 0
    assert len(manifest(out)) == 6
    assert {path: path.stat().st_mtime_ns for path in before} == before
