"""What an output cannot hold is known before the work; symbolic links stay links."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest

from FewShotSAMLib.data.errors import InputError
from FewShotSAMLib.data.reading import read_labels
from FewShotSAMLib.data.volume import Volume
from FewShotSAMLib.data.writing import check_grid, write_labels


def labels() -> Volume:
    voxels = np.zeros((4, 10, 12), np.uint8)
    voxels[2, 3:7, 4:9] = 1
    return Volume(voxels, name="scan")


def sheared() -> Volume:
    cosines = np.eye(3)
    cosines[:, 2] = (0, 0.3, 0.95)
    return replace(labels(), direction=cosines)


@pytest.mark.parametrize(
    ("volume", "name", "message"),
    [
        (sheared(), "o.nii.gz", "slices of scan are sheared .* use .seg.nrrd"),
        (sheared(), "o.nii", "sheared"),
        (labels(), "o.png", "a PNG holds one slice and scan has 4"),
        (labels(), "o.stl", r"cannot write \.stl"),
        (Volume(np.broadcast_to(np.uint8(0), (1, 1, 40000))), "o.nii.gz", "32767 voxels"),
    ],
)
def test_what_an_output_cannot_hold_is_told_by_the_grid(tmp_path, volume, name, message):
    with pytest.raises(InputError, match=message):
        check_grid(volume, tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["o.seg.nrrd", "o.nrrd", "o.mha"])
def test_what_it_can_hold_passes_and_is_written(tmp_path, name):
    for volume in (labels(), sheared()):
        check_grid(volume, tmp_path / name)
        write_labels(volume, tmp_path / name)
        back = read_labels(tmp_path / name, like=volume)
        np.testing.assert_array_equal(back.voxels, volume.voxels)


def link(path, target) -> None:
    try:
        path.symlink_to(target)
    except OSError:
        pytest.skip("this system allows no symbolic links")


@pytest.mark.parametrize("kind", [".nii.gz", ".seg.nrrd", ".mha"])
def test_a_link_stays_and_its_target_is_written(tmp_path, kind):
    (tmp_path / "far").mkdir()
    target, path = tmp_path / "far" / f"target{kind}", tmp_path / f"link{kind}"
    target.write_text("old", encoding="utf-8")
    link(path, os.path.relpath(target, tmp_path))
    write_labels(labels(), path)
    assert path.is_symlink()
    np.testing.assert_array_equal(read_labels(target).voxels, labels().voxels)
    assert [p.name for p in (tmp_path / "far").iterdir()] == [target.name]


def test_a_link_to_a_file_that_is_not_there_yet_is_followed(tmp_path):
    link(tmp_path / "link.nrrd", tmp_path / "target.nrrd")
    write_labels(labels(), tmp_path / "link.nrrd")
    assert (tmp_path / "link.nrrd").is_symlink() and (tmp_path / "target.nrrd").is_file()


def test_a_link_into_a_folder_that_is_not_there_is_refused(tmp_path):
    link(tmp_path / "link.nrrd", tmp_path / "gone" / "target.nrrd")
    with pytest.raises(InputError, match=r"is a link to .*, whose folder is not there"):
        write_labels(labels(), tmp_path / "link.nrrd")
    assert not (tmp_path / "gone").exists()


def test_a_link_that_leads_to_itself_is_refused(tmp_path):
    link(tmp_path / "link.nrrd", tmp_path / "link.nrrd")
    with pytest.raises(InputError, match="link.nrrd"):
        write_labels(labels(), tmp_path / "link.nrrd")
    assert (tmp_path / "link.nrrd").is_symlink()
