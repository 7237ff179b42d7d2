"""A DICOM SEG sent to a server that is a process of its own on this machine."""

from __future__ import annotations

import logging
import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_abdomens import LIVER, marked
from stow_server import storing
from written_dicom import STUDY, phantom, write_slices

from FewShotSAMLib import InputError, Segment, read_labels, read_volume, write_labels
from FewShotSAMLib.apps.main import main
from FewShotSAMLib.data.dicom_web import TOKEN, check_server, store
from FewShotSAMLib.evaluation.metrics import dice
from FewShotSAMLib.phantom.abdomen import abdomen

pytest.importorskip("highdicom", reason="the extra `dicomweb` brings highdicom")
pytest.importorskip("dicomweb_client", reason="the extra `dicomweb` brings dicomweb-client")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Address and folder of a server."""
    folder = tmp_path_factory.mktemp("stored")
    with storing(folder) as url:
        yield url, folder


def study(folder: Path, shape=(5, 24, 20)):
    """A DICOM series, and labels on it written as a SEG."""
    write_slices(folder / "series", phantom(shape), **STUDY)
    image = read_volume(folder / "series")
    voxels = np.random.default_rng(0).choice([0, 2, 7], size=image.shape).astype(np.uint8)
    labels = replace(image, voxels=voxels, modality="other", segments={
        2: Segment("liver", (0.8, 0.4, 0.2)), 7: Segment("Läsion", (0.1, 0.9, 0.3)),
    })  # fmt: skip
    write_labels(labels, folder / "out.dcm", sources=[folder / "series"])
    return image, labels, folder / "out.dcm"


# The second is above a megabyte, which is sent in chunks.
@pytest.mark.parametrize("shape", [(5, 24, 20), (20, 512, 512)])
def test_what_arrives_is_what_was_written(server, tmp_path, shape):
    url, stored = server
    image, labels, path = study(tmp_path, shape)
    before = set(stored.glob("*.dcm"))
    store(path, f"{url}/dicom-web")
    (arrived,) = set(stored.glob("*.dcm")) - before
    found = read_labels(arrived, like=image)
    numbers = {segment.name: value for value, segment in found.segments.items()}
    for value, segment in labels.segments.items():
        assert dice(found.voxels == numbers[segment.name], labels.voxels == value) == 1


@pytest.mark.parametrize(("below", "reason"), [
    ("status/401", f"answered 401 Unauthorized; set {TOKEN}"),
    ("status/409", "answered 409 Conflict"),
    ("status/503", "answered 503 Service Unavailable"),
    ("status/302", "sends to another address"),
    ("nowhere", "answered 404 Not Found"),
    ("failing", "did not store it (failure reason A700H)"),
    ("page", "did not answer as a DICOMweb server does"),
    ("garbage", "did not answer as a DICOMweb server does"),
])  # fmt: skip
def test_a_server_that_refuses_is_told_in_one_line(server, tmp_path, below, reason):
    _, _, path = study(tmp_path)
    before = path.read_bytes()
    with pytest.raises(InputError) as told:
        store(path, f"{server[0]}/{below}")
    assert reason in str(told.value) and "\n" not in str(told.value)
    assert path.read_bytes() == before


def test_no_server_is_told_in_one_line(tmp_path):
    _, _, path = study(tmp_path)
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(InputError, match="cannot be reached"):
            store(path, f"http://127.0.0.1:{taken.getsockname()[1]}/dicom-web")


@pytest.mark.parametrize("url", ["", "host/dicom", "ftp://host", "http://", "http://host:port/x",
                                 "http://host/x?key=1"])  # fmt: skip
def test_what_is_no_address_is_refused(url):
    with pytest.raises(InputError, match="no address"):
        check_server(url)


def test_the_token_reaches_the_server_and_nothing_else(server, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv(TOKEN, "very-secret")
    _, _, path = study(tmp_path)
    store(path, f"{server[0]}/dicom-web")
    with pytest.raises(InputError) as told:
        store(path, f"{server[0]}/status/403")
    asked = (server[1] / "authorization.txt").read_text(encoding="utf-8").splitlines()
    assert asked[-2:] == ["Bearer very-secret"] * 2
    assert caplog.text and "very-secret" not in caplog.text + str(told.value)
    with pytest.raises(InputError) as told:
        check_server("https://me:very-secret@host/dicom-web")
    assert "very-secret" not in str(told.value)


def test_the_command_sends_and_keeps_its_file(server, tmp_path, capsys):
    patient = abdomen(shape=(5, 48, 48), spacing=(7.0, 7.0, 40.0))
    image = patient.image.with_voxels(patient.image.voxels.astype(np.int16))
    write_slices(tmp_path / "series", image, Modality="MR", **STUDY)
    marked(patient, LIVER).save(tmp_path / "support.nrrd")
    command = ["segment", str(tmp_path / "series"), "--support", str(tmp_path / "support.nrrd")]
    command += ["--device", "cpu", "--strategy", "slices", "-o"]
    there = ["--dicom-web", f"{server[0]}/status/507"]
    assert main([*command, str(tmp_path / "out.nii.gz"), *there]) == 2
    assert "end the name in .dcm" in capsys.readouterr().err
    assert main([*command, str(tmp_path / "out.dcm"), *there]) == 2
    said = capsys.readouterr().err.splitlines()
    assert "out.dcm was written, but not sent" in said[-1] and "507" in said[-1]
    assert read_labels(tmp_path / "out.dcm").voxels.any()
