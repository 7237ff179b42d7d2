"""Which images are found in folders and lists, and what they are called."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from FewShotSAMLib import InputError, Volume
from FewShotSAMLib.apps.batch.names import LONGEST, safe_name, study_names
from FewShotSAMLib.apps.batch.studies import find_studies
from FewShotSAMLib.apps.image_places import Place, image_files
from FewShotSAMLib.data.writing import write_volume


def image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.arange(4 * 6 * 8, dtype=np.int16).reshape(4, 6, 8)
    write_volume(Volume(voxels, modality="MR"), path)
    return path


def dicom_series(folder: Path, uid: str, description: str, count: int, kind="ORIGINAL\\PRIMARY"):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        one = sitk.GetImageFromArray(np.arange(48, dtype=np.int16).reshape(1, 6, 8) + number)
        tags = {
            "0008|0060": "MR", "0020|000e": uid, "0008|103e": description, "0008|0008": kind,
            "0020|0032": f"0\\0\\{number * 3}", "0020|0037": "1\\0\\0\\0\\1\\0",
            "0020|0013": str(number + 1),
        }  # fmt: skip
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        for tag, value in tags.items():
            one.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{description}{number:03d}.dcm"))
        writer.Execute(one)


def names(studies):
    return [study.name for study in studies]


def test_folders_are_looked_through(tmp_path):
    image(tmp_path / "a" / "scan.nii.gz")
    image(tmp_path / "b" / "deep" / "scan.nii.gz")
    image(tmp_path / "b" / ".hidden.nii.gz")
    (tmp_path / "b" / "notes.txt").write_text("no image", encoding="utf-8")
    sitk.WriteImage(sitk.Image(4, 4, 4, sitk.sitkUInt8), str(tmp_path / "mask.seg.nrrd"))
    assert names(find_studies([tmp_path], print)) == ["a_scan", "b_deep_scan"]


def test_dicom_is_taken_by_series_wherever_its_files_lie(tmp_path):
    dicom_series(tmp_path / "study" / "one", "1.2.3", "T1", 3)
    dicom_series(tmp_path / "study" / "two", "1.2.3", "T1", 2)  # a series over two folders
    dicom_series(tmp_path / "study" / "two", "1.2.4", "T2", 3)
    dicom_series(tmp_path / "study", "1.2.5", "scout", 1)
    dicom_series(tmp_path / "study", "1.2.6", "plan", 3, "ORIGINAL\\PRIMARY\\LOCALIZER")
    told = []
    studies = find_studies([tmp_path], told.append)
    assert [(s.series, len(s.files), s.path.name) for s in studies] == [
        ("1.2.3", 5, "study"), ("1.2.4", 3, "two"),
    ]  # fmt: skip
    assert len(told) == 2 and "1 image(s) only" in "".join(told) and "localiser" in "".join(told)
    assert names(find_studies([tmp_path], told.append, series="t2*")) == ["study_two_T2"]


def test_a_csv_from_a_spreadsheet(tmp_path):
    image(tmp_path / "scan 1.nii.gz")
    image(tmp_path / "scan 2.nii.gz")
    image(tmp_path / "kept.nrrd")
    rows = "\ufeffImage;support;output\r\nscan 1.nii.gz;;Über: A\r\nscan 2.nii.gz;kept.nrrd;\r\n"
    path = tmp_path / "list.csv"
    path.write_text(rows, encoding="utf-8")
    first, second = find_studies([path], print)
    assert (first.name, first.supports) == ("Über_ A", ())
    assert (second.name, second.supports) == ("scan 2", (tmp_path / "kept.nrrd",))


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([], "no rows"),
        ([{"image": "gone.nii.gz"}], "gone.nii.gz: no such file"),
        ([{"image": "a.nii.gz", "imgae": "b"}], "'imgae'"),
        ([{"support": "a.nii.gz"}], "row 1 has no image"),
        ([{"image": "a.nii.gz", "mask": "m.nrrd"}], "m.nrrd"),
        ({"image": "a.nii.gz"}, "no list"),
        ([{"image": "a.nii.gz", "output": "x"}, {"image": "b.nii.gz", "output": "X"}], "both"),
    ],
)
def test_what_is_wrong_with_a_list_is_said(tmp_path, rows, says):
    image(tmp_path / "a.nii.gz")
    image(tmp_path / "b.nii.gz")
    path = tmp_path / "list.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    with pytest.raises(InputError, match=says):
        find_studies([path], print)


def test_voxels_beside_a_header_belong_to_it(tmp_path):
    header = image(tmp_path / "a.mha")
    sitk.WriteImage(sitk.ReadImage(str(header)), str(tmp_path / "b.mhd"))
    found = image_files(tmp_path / "b.mhd")
    assert [path.name for path in found] == ["b.mhd", "b.raw"]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(max_size=140), min_size=1, max_size=6))
def test_names_fit_every_file_system(texts):
    root = Path("root")
    places = [Place(root / f"{n}x", (root,), root, str(n), text) for n, text in enumerate(texts)]
    found = study_names(places)
    assert len({name.casefold() for name in found}) == len(found)
    for name in found:
        assert 0 < len(name) <= LONGEST + 9
        assert not set(name) & set('<>:"/\\|?*\0\n') and name == name.strip(" .")


@pytest.mark.parametrize("text", ["CON", "nul.txt", "com1", "..", " ", "a" * 300])
def test_reserved_and_empty_names(text):
    name = safe_name(text)
    assert name.split(".")[0].lower() not in ("con", "nul", "com1", "") and len(name) <= LONGEST
