"""The copy of a result beside its volume: there after a crash, and nothing else is changed."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("slicer", reason="needs slicer-core (pip install slicer-core)")

from FewShotSAMModule.scene.results import ResultWriter
from FewShotSAMModule.scene.work_copy import copy_path, save_copy
from result_scenes import LIVER, SPLEEN, blocks

from FewShotSAMLib import InputError, read_labels


@pytest.fixture
def saved(scene, volume, tmp_path):
    """The volume, in a file whose name is no easy one."""
    volume.AddDefaultStorageNode()
    volume.GetStorageNode().SetFileName(str(tmp_path / "Bäuche 1.2.nii.gz"))
    return volume


@pytest.mark.parametrize(
    ("file", "copy"),
    [
        ("ct.nrrd", "ct FewShotSAM.seg.nrrd"),
        ("a.b.NII.GZ", "a.b FewShotSAM.seg.nrrd"),
        ("slice.png", "slice FewShotSAM.seg.nrrd"),
    ],
)
def test_it_is_named_after_the_volume(saved, tmp_path, file, copy):
    saved.GetStorageNode().SetFileName(str(tmp_path / file))
    assert copy_path(saved) == tmp_path / copy


def test_it_holds_the_result_and_follows_it(saved, tmp_path):
    saved.SetAndObserveTransformNodeID(None)
    labels = blocks()
    node = ResultWriter(saved, {1: LIVER, 2: SPLEEN}).commit(labels)
    before = node.GetNumberOfStorageNodes()
    for changed in (False, True):
        if changed:
            labels[2] = 0
            writer = ResultWriter(
                saved, {1: LIVER, 2: SPLEEN}, output=node, into="existing", overwrite="all"
            )
            writer.commit(labels)
        path = save_copy(saved, node)
        found = read_labels(path)
        names = {one.name: value for value, one in found.segments.items()}
        for name, label in ((LIVER.name, 1), (SPLEEN.name, 2)):
            count = np.count_nonzero(found.voxels == names[name])
            assert count == np.count_nonzero(labels == label)
    assert [one.name for one in tmp_path.iterdir()] == ["Bäuche 1.2 FewShotSAM.seg.nrrd"]
    assert node.GetNumberOfStorageNodes() == before


def test_where_no_copy_can_be_kept_one_line_says_so(saved, scene, tmp_path):
    node = ResultWriter(saved, {1: LIVER}).commit((blocks() == 1).astype(np.uint8))
    saved.GetStorageNode().SetFileName(str(tmp_path / "gone" / "ct.nrrd"))
    with pytest.raises(InputError, match="save the volume first"):
        save_copy(saved, node)
    saved.GetStorageNode().SetFileName(str(tmp_path / "ct.nrrd"))
    (tmp_path / "ct FewShotSAM.seg.nrrd").mkdir()
    with pytest.raises(InputError, match="cannot be written") as caught:
        save_copy(saved, node)
    assert "\n" not in str(caught.value)
    assert [one.name for one in tmp_path.iterdir()] == ["ct FewShotSAM.seg.nrrd"]
