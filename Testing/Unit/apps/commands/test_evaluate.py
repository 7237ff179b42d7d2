"""`evaluate`: which files belong together, and a measured folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from FewShotSAMLib.apps.main import main
from FewShotSAMLib.data.errors import InputError
from FewShotSAMLib.data.writing import write_labels, write_volume
from FewShotSAMLib.evaluation.dataset import find_pairs
from FewShotSAMLib.phantom.abdomen import abdomen


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    return folder


def test_pairs_by_number(tmp_path):
    touch(tmp_path, *(f"{kind}_{n}.nii.gz" for kind in ("image", "label") for n in (1, 10, 2)))
    touch(tmp_path, "README.md")
    pairs = find_pairs(tmp_path)
    assert [name for name, _, _ in pairs] == ["1", "2", "10"]
    assert pairs[2][1].name == "image_10.nii.gz" and pairs[2][2].name == "label_10.nii.gz"


def test_pairs_in_two_folders(tmp_path):
    touch(tmp_path, "images/b.nrrd", "images/a.nrrd", "labels/a.seg.nrrd", "labels/b.seg.nrrd")
    assert [(name, m.name) for name, _, m in find_pairs(tmp_path)] == [
        ("a", "a.seg.nrrd"),
        ("b", "b.seg.nrrd"),
    ]


def test_an_image_without_labels_is_named(tmp_path):
    touch(tmp_path, "image_1.nii.gz", "label_1.nii.gz", "image_2.nii.gz")
    with pytest.raises(InputError, match=r"image_2\.nii\.gz"):
        find_pairs(tmp_path)


@pytest.mark.parametrize("arguments", [["nowhere"], ["."]])
def test_a_folder_without_cases_is_refused(tmp_path, arguments, capsys):
    assert main(["evaluate", str(tmp_path / arguments[0])]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_an_unknown_support_case_is_refused(tmp_path, capsys):
    touch(tmp_path, *(f"{kind}_{n}.nii.gz" for kind in ("image", "label") for n in (1, 2)))
    assert main(["evaluate", str(tmp_path), "--support-case", "7"]) == 2
    assert "1, 2" in capsys.readouterr().err


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two patients")
    for seed in (0, 1):
        phantom = abdomen(shape=(8, 80, 80), spacing=(4.0, 4.0, 25.0), seed=seed)
        write_volume(phantom.image, folder / f"image_{seed}.nii.gz")
        two = np.where(phantom.truth.voxels > 2, 0, phantom.truth.voxels)
        write_labels(phantom.truth.with_voxels(two), folder / f"label_{seed}.nii.gz")
    return folder


@pytest.mark.parametrize(
    ("protocol", "measures"),
    [("given-slices", ["given"]), ("whole-volume", ["given", "whole", "assd", "hd95"])],
)
def test_a_folder_is_measured(dataset, capsys, protocol, measures):
    command = ["evaluate", str(dataset), "--protocol", protocol, "--support-case", "0", "--json"]
    assert main([*command, "--device", "cpu", "--strategy", "slices"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [table["measure"] for table in said["tables"]] == measures
    given = said["tables"][0]
    assert set(given["organs"]) == {"label_1", "label_2"}
    assert all(list(organ["cases"]) == ["1"] for organ in given["organs"].values())
    assert 0.2 < given["organs"]["label_1"]["mean"] <= 1
