"""Results on their way to a DICOMweb server, a process of its own on this machine."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys

import numpy as np
import pydicom
import pytest
from small_abdomens import LIVER, marked
from small_studies import ROOT, TINY, batch_command, manifest
from stow_server import storing
from written_dicom import STUDY, write_slices

import FewShotSAMLib as fss
from FewShotSAMLib.apps.main import main
from FewShotSAMLib.phantom.abdomen import abdomen

COUNT = 4  # one more than a server that does not answer is asked for

pytest.importorskip("highdicom", reason="the extra `dicomweb` brings highdicom")
pytest.importorskip("dicomweb_client", reason="the extra `dicomweb` brings dicomweb-client")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """DICOM series and the support of another patient."""
    folder = tmp_path_factory.mktemp("sending")
    for number in range(COUNT):
        image = abdomen(**TINY, seed=number + 1).image
        image = image.with_voxels(image.voxels.astype(np.int16))
        own = {**STUDY, "StudyInstanceUID": f"1.2.3.{number}", "Modality": "MR"}
        write_slices(folder / "in" / f"patient {number}", image, **own)
    marked(abdomen(**TINY), LIVER, overview=False).save(folder / "support.nrrd")
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Address and folder of a server."""
    stored = tmp_path_factory.mktemp("stored")
    with storing(stored) as url:
        yield url, stored


@pytest.fixture
def batch(folder, tmp_path):
    """`fewshotsam batch` to a server's address; the exit status."""

    def run(url, *options):
        command = ["batch", str(folder / "in"), "--support", str(folder / "support.nrrd"), "-o",
                   str(tmp_path / "out"), "--device", "cpu", "--strategy", "slices",
                   "--formats", ".dcm", ".nii.gz"]  # fmt: skip
        return main([*command, *(["--dicom-web", url] if url else []), *options])

    return run


def arrived(stored):
    return {pydicom.dcmread(path).StudyInstanceUID for path in stored.glob("*.dcm")}


def written(out):
    return {path: path.stat().st_mtime_ns for path in out.glob("*.dcm")}


def test_each_study_is_sent_once(batch, server, tmp_path, capsys):
    url, stored = server
    assert batch(f"{url}/dicom-web/", "--report") == 0
    assert arrived(stored) == {f"1.2.3.{number}" for number in range(COUNT)}
    files = {pydicom.dcmread(path).SOPInstanceUID for path in (tmp_path / "out").glob("*.dcm")}
    assert {path.stem for path in stored.glob("*.dcm")} == files
    assert "0 not sent to" in capsys.readouterr().out

    asked = (stored / "authorization.txt").read_text(encoding="utf-8").count("\n")
    assert batch(f"{url}/dicom-web") == 0
    assert (stored / "authorization.txt").read_text(encoding="utf-8").count("\n") == asked
    assert batch(f"{url}/dicom-web", "--dry-run") == 0
    assert "4 studies, 0 to do, 0 to send" in capsys.readouterr().out


@pytest.mark.parametrize(("below", "why"), [
    ("status/507", "answered 507 Insufficient Storage"),
    ("failing", "did not store it (failure reason A700H)"),
])  # fmt: skip
def test_a_server_that_refuses_costs_nobody_the_result(batch, server, tmp_path, capsys, below, why):
    url, stored = server
    out = tmp_path / "out"
    assert batch(f"{url}/{below}", "--report") == 3
    said = capsys.readouterr()
    assert "4 done, 0 earlier, 0 failed, 4 not sent to" in said.out
    assert said.err.count(f"done, but not sent: patient 0_test: {url}/{below} {why}") == 1
    before = written(out)
    assert len(before) == COUNT
    assert all(fss.read_labels(path).voxels.any() for path in before)
    assert [one["status"] for one in manifest(out)] == ["done"] * COUNT
    assert all(why in one["not_sent"] for one in manifest(out))
    assert why in (out / "manifest.csv").read_text(encoding="utf-8-sig")
    assert "Not sent: 4 studies;" in (out / "index.html").read_text(encoding="utf-8")
    assert why in (out / "batch.log").read_text(encoding="utf-8")

    assert batch(f"{url}/dicom-web", "--dry-run") == 0
    assert "4 studies, 0 to do, 4 to send" in capsys.readouterr().out
    assert batch(f"{url}/dicom-web", "--report", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["earlier"], told["not_sent"]) == (COUNT, 0)
    assert written(out) == before, "segmented again"
    files = {pydicom.dcmread(path).SOPInstanceUID for path in before}
    assert files <= {path.stem for path in stored.glob("*.dcm")}
    assert not any("not_sent" in one for one in manifest(out))
    assert "ot sent" not in (out / "index.html").read_text(encoding="utf-8")


def test_a_server_that_is_down_is_not_asked_for_ever(batch, tmp_path, capsys):
    with storing(tmp_path) as url:
        pass  # it ends, and nobody listens there any more
    assert batch(f"{url}/dicom-web") == 3
    said = capsys.readouterr().err
    assert said.count("cannot be reached") == 3 and said.count("no answer 3 times") == 1
    with storing(tmp_path) as url:
        assert batch(f"{url}/dicom-web") == 0
        assert arrived(tmp_path) == {f"1.2.3.{number}" for number in range(COUNT)}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for a child process")
def test_a_server_that_never_answers_does_not_hold_ctrl_c(folder, tmp_path):
    out = tmp_path / "out"
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes what comes and says nothing
        port = silent.getsockname()[1]
        process = subprocess.Popen(
            batch_command(
                folder / "in", "--support", folder / "support.nrrd", "-o", out, "--strategy",
                "slices", "--formats", ".dcm", "--dicom-web", f"http://127.0.0.1:{port}/dicom-web",
            ),
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
        )  # fmt: skip
        silent.settimeout(120)
        connection, _ = silent.accept()
        with connection:
            connection.recv(1)  # the first study is on its way
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=40)  # the client waits 60 s for an answer
    assert process.returncode == 130 and "Traceback" not in said, said
    assert not list(out.glob("records/*.partial"))
