"""`evaluate`: which files belong together, and a measured folder."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import fob_files_literal as literal
import numpy as np
import pytest
import SimpleITK as sitk

from FewShotSAMLib.apps.main import command_parser, main
from FewShotSAMLib.data.errors import InputError
from FewShotSAMLib.data.volume import Volume
from FewShotSAMLib.data.writing import write_labels, write_volume
from FewShotSAMLib.evaluation.dataset import find_pairs
from FewShotSAMLib.evaluation.presets import PRESETS
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
def twenty(tmp_path_factory):
    """Twenty small patients: one picture, each with more slices than the one before and organs
    that begin and end elsewhere."""
    folder = tmp_path_factory.mktemp("twenty patients")
    rng = np.random.default_rng(0)
    for number in range(20):
        depth = int(rng.integers(9, 15))
        labels = np.zeros((depth, 48, 48), np.uint8)
        for label in range(1, 6):
            first, count = rng.integers(0, 3), rng.integers(4, depth - 3)
            row, column = 4 + 9 * (label - 1), 6 + 6 * label
            labels[first : first + count, row : row + 8, column : column + 9] = label
        grey = rng.normal(100, 8, labels.shape) + 60 * (labels > 0) + 20.0 * labels
        grey[:, :2] = grey[:, -2:] = 0
        for kind, voxels in (("image", grey.astype(np.float32)), ("label", labels)):
            volume = Volume(voxels, (3.0, 3.0, 7.0), modality="MR" if kind == "image" else "other")
            write = write_volume if kind == "image" else write_labels
            write(volume, folder / f"{kind}_{2 * number + 1}.nii.gz")
    return folder


def literal_loop(folder: Path, labels: list[int], predict) -> dict[int, list[float]]:
    """The published loop over folds, organs, queries and thirds: Dice by organ, one a fold.

    Args:
        predict: (support case, its slice, query case, its slice, label) -> (H, W) bool.
    """
    def number(path: Path) -> int:
        return int(path.name.split("_")[1].split(".")[0])

    paths = sorted(folder.glob("label_*.nii.gz"), key=number)
    truth = {p: sitk.GetArrayFromImage(sitk.ReadImage(str(p))) for p in paths}
    result: dict[int, list[float]] = {label: [] for label in labels}
    for fold in literal.folds(len(paths)):
        queries = [paths[n] for n in fold]
        support = queries.pop(2)
        for label in labels:
            marked = np.flatnonzero((truth[support] == label).any((1, 2)))
            marked = [marked[n] for n in literal.support_indices(len(marked))]
            scores = []
            for query in queries:
                given = np.flatnonzero((truth[query] == label).any((1, 2)))
                wanted = truth[query][given] == label
                found = np.zeros_like(wanted)
                borders = literal.chunk_borders(len(given))
                for part in range(3):
                    for place in range(borders[part], borders[part + 1]):
                        found[place] = predict(
                            number(support), int(marked[part]), number(query),
                            int(given[place]), label,
                        )
                scores.append(2 * (found & wanted).sum() / (found.sum() + wanted.sum()))
            result[label].append(float(np.mean(scores)))
    return result


def guess(shape: tuple[int, int], *what: int) -> np.ndarray:
    """A mask that depends on who is segmented from whom, and on nothing else."""
    return np.random.default_rng(what).random(shape) < 0.3


def test_folds_organs_thirds_and_means_are_those_of_the_published_loop(
    twenty, capsys, monkeypatch
):
    """The product's whole command; only what is inside of a mask is made up on both sides, from
    the support, its slice, the query, its slice and the organ."""
    from FewShotSAMLib.apps.commands import evaluate

    def slices(self, case, label, indices, support):
        (marked,) = support.slices
        source = int(support.volume.name.split("_")[1].split(".")[0])
        return np.stack([
            guess((48, 48), source, marked, int(case.name), index, label)
            for index in indices
        ])

    monkeypatch.setattr(evaluate._Adapter, "slices", slices)
    command = ["evaluate", str(twenty), "--preset", "fob-paper", "--model", "embedded"]
    assert main([*command, "--fob", "embedded", "--device", "cpu", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    wanted = literal_loop(twenty, [1, 2, 3, 4], lambda *what: guess((48, 48), *what))
    assert (said["preset"], said["method"], said["strategy"]) == ("fob-paper", "fob", "slices")
    assert [fold["support_case"] for fold in said["folds"]] == ["5", "13", "21", "29", "35"]
    (table,) = said["tables"]
    assert list(table["organs"]) == ["liver", "right kidney", "left kidney", "spleen"]
    for organ, folds in zip(table["organs"].values(), wanted.values(), strict=True):
        assert list(organ["cases"].values()) == pytest.approx(folds, abs=1e-9)
    assert table["mean"] == pytest.approx(np.mean(list(wanted.values())), abs=1e-9)


@pytest.mark.parametrize(("arguments", "reason"), [
    (["--folds", "--support-case", "1"], "--support-case"),
    (["--folds", "--support-case", "each"], "--support-case"),
    (["--folds"], "at least 10 cases, not 2"),
    (["--fob", "cv{fold}.pth"], "--folds"),
    (["--label", "9"], "no case has label 9; use 1, 2"),
])  # fmt: skip
def test_impossible_choices_are_refused_in_one_line(dataset, capsys, arguments, reason):
    assert main(["evaluate", str(dataset), *arguments]) == 2
    said = capsys.readouterr().err
    assert reason in said and said.count("\n") == 1


def test_only_chosen_organs_count(dataset, capsys):
    command = ["evaluate", str(dataset), "--protocol", "given-slices", "--support-case", "0"]
    assert main([*command, "--label", "2", "--device", "cpu", "--strategy", "slices"]) == 0
    said = capsys.readouterr().out
    assert "label_2" in said and "label_1" not in said


def test_options_after_a_preset_change_it():
    args = command_parser().parse_args(
        ["evaluate", "data", "--preset", "synpo-paper", "--model", "fast", "--label", "1"]
    )
    assert (args.model, args.method, args.protocol) == ("fast", "synpo", "given-slices")
    assert args.folds and args.label == [1] and args.strategy == "slices"


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_names_options_that_there_are(preset):
    known = vars(command_parser().parse_args(["evaluate", "data"]))
    assert PRESETS[preset].keys() <= known.keys()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two patients")
    for seed in (0, 1):
        phantom = abdomen(shape=(6, 64, 64), spacing=(5.0, 5.0, 33.0), seed=seed)
        write_volume(phantom.image, folder / f"image_{seed}.nii.gz")
        two = np.where(phantom.truth.voxels > 2, 0, phantom.truth.voxels)
        write_labels(phantom.truth.with_voxels(two), folder / f"label_{seed}.nii.gz")
    return folder


@pytest.mark.parametrize(
    ("protocol", "measures"),
    [("given-slices", ["given"]), ("whole-volume", ["given", "whole", "nsd", "assd", "hd95"])],
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


@pytest.fixture(scope="module")
def alone(tmp_path_factory, dataset):
    """A folder with the first of the two patients."""
    folder = tmp_path_factory.mktemp("one patient")
    for kind in ("image", "label"):
        (folder / f"{kind}_0.nii.gz").write_bytes((dataset / f"{kind}_0.nii.gz").read_bytes())
    return folder


def test_one_patient_cannot_be_each_support(alone, capsys):
    assert main(["evaluate", str(alone), "--support-case", "each"]) == 2
    said = capsys.readouterr().err
    assert "one case only" in said and said.count("\n") == 1


@pytest.mark.parametrize(
    ("protocol", "measure"), [("given-slices", "given"), ("whole-volume", "whole")]
)
def test_every_patient_takes_a_turn_as_support(dataset, tmp_path, capsys, protocol, measure):
    command = ["evaluate", str(dataset), "--protocol", protocol, "--support-case", "each", "--json"]
    rows = tmp_path / "scores.csv"
    options = ["--device", "cpu", "--strategy", "slices", "--label", "1", "--csv", str(rows)]
    assert main([*command, *options]) == 0
    caught = capsys.readouterr()
    said, bars = json.loads(caught.out), caught.err.replace("\r", "\n").split("\n")
    assert any("2/2" in line for line in bars) and all("patients:" in line for line in bars if line)
    with rows.open(encoding="utf-8", newline="") as file:
        scores = [row for row in csv.DictReader(file) if row["support"]]
    assert [(row["support"], row["case"]) for row in scores] == [("0", "1"), ("1", "0")]
    values = [float(row[measure]) for row in scores]
    table = next(table for table in said["tables"] if table["measure"] == measure)
    columns = table["organs"]["label_1"]["cases"]
    assert columns == pytest.approx({"from 0": values[0], "from 1": values[1]}, rel=1e-5)
    assert said["overall"]["mean"] == pytest.approx(np.mean(values), rel=1e-5)
    assert said["overall"]["worst"]["dice"] == pytest.approx(min(values), rel=1e-5)
    assert [part["support_case"] for part in said["supports"]] == ["0", "1"]
