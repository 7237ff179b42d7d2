"""A note that is made when something is read is shown: on the terminal, in JSON, in the report and
by the process that works for the panel."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from FewShotSAMLib.apps.main import main
from FewShotSAMLib.apps.option_names import in_options
from FewShotSAMLib.apps.worker.parcels import pack_result, unpack_result
from FewShotSAMLib.data.drawn_supports import draw_supports
from FewShotSAMLib.data.label_reading import read_label_maps
from FewShotSAMLib.data.volume import Segment, Volume
from FewShotSAMLib.data.writing import write_labels, write_volume

SHAPE = (6, 48, 44)


def image() -> Volume:
    k, j, i = np.indices(SHAPE)
    bright = (j - 24) ** 2 + (i - 20) ** 2 < 81
    noise = np.random.default_rng(0).normal(0, 12, SHAPE)
    voxels = np.where((j - 24) ** 2 + (i - 22) ** 2 < 400, 300, 0) + 300 * bright + noise
    return Volume(voxels.astype(np.int16), (3.0, 3.0, 5.0), modality="MR", name="image.nrrd")


def half_outside() -> Volume:
    """A drawing on slice 3, half of it to the left of where the image ends."""
    voxels = np.zeros(SHAPE, np.uint8)
    voxels[3, 16:32, 12:28] = 1
    moved = image().index_to_world((-20, 0, 0))
    return Volume(voxels, image().spacing, tuple(moved), segments={1: Segment("blob", (1, 0, 0))})


@pytest.fixture
def files(tmp_path):
    write_volume(image(), tmp_path / "image.nrrd")
    write_labels(half_outside(), tmp_path / "mask.seg.nrrd")
    return tmp_path


def test_the_support_command_prints_the_notes_of_the_mask(files, capsys):
    paths = [str(files / name) for name in ("image.nrrd", "mask.seg.nrrd", "support.nrrd")]
    assert main(["support", *paths[:2], "-o", paths[2]]) == 0
    error = capsys.readouterr().err
    assert "fewshotsam: note: mask.seg.nrrd: " in error
    assert "% of the labelled voxels lie outside of the image" in error


def test_notes_in_json_and_report(files, capsys):
    image_path, mask, out, report = (
        str(files / name) for name in ("image.nrrd", "mask.seg.nrrd", "out.nrrd", "report.html")
    )
    command = ["segment", image_path, "--support-mask", mask, "-o", out, "--report", report]
    assert main([*command, "--device", "cpu", "--json", "--range", "3:4"]) == 0
    said = capsys.readouterr()
    notes = json.loads(said.out)["notes"]
    assert len(notes) == 1 and notes[0].startswith("mask.seg.nrrd: ")
    assert "lie outside of the image" in notes[0] and notes[0] in said.err
    assert notes[0] in (files / "report.html").read_text(encoding="utf-8")


def test_a_result_carries_the_notes_to_another_process(files, segmenter):
    volume = replace(image(), notes=("its slices were interpolated",))
    maps = read_label_maps(files / "mask.seg.nrrd", like=volume)
    result = segmenter.segment(volume, draw_supports(volume, maps), range=(3, 3))
    assert result.notes[0] == "image.nrrd: its slices were interpolated"
    assert "lie outside of the image" in result.notes[1]
    assert unpack_result(pack_result(result)).notes == result.notes


def test_messages_name_options_that_exist(files, capsys):
    from FewShotSAMLib.apps.main import command_parser
    from FewShotSAMLib.apps.option_names import OPTIONS

    known = command_parser().parse_args(["segment", "q", "-o", "o"])
    for option in OPTIONS.values():
        assert hasattr(known, option.removeprefix("--").replace("-", "_"))
    assert in_options("choose one with component= 0 to 3") == "choose one with --component 0 to 3"
    assert in_options("a=b, subaxis= 3") == "a=b, subaxis= 3"
