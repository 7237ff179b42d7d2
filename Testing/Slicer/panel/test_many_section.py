"""Many volumes: those of the scene, and the files of a folder."""

from __future__ import annotations

import numpy as np
import pytest
from FewShotSAMModule.panel.choices import SupportSource
from FewShotSAMModule.panel.state import RUNNING, Facts, panel_state
from panel_driver import finish, segmentations, settle, slicer

from FewShotSAMLib import read_labels, write_volume
from FewShotSAMLib.phantom.abdomen import abdomen as generated

pytestmark = pytest.mark.slow
SMALL = {"shape": (8, 64, 64), "spacing": (5.2, 5.2, 25.0)}


@pytest.fixture
def another(panel):
    """A second volume in the scene, of another patient."""
    from FewShotSAMModule.scene import sample_data

    volume, painted = sample_data.add_generated_abdomen((8, 64, 64), (5.2, 5.2, 25.0), seed=3)
    slicer.mrmlScene.RemoveNode(painted)
    volume.SetName("another")
    settle()
    return volume


def rows(panel) -> dict[str, object]:
    items = [panel.ui.manyList.real.item(n) for n in range(panel.ui.manyList.count)]
    return {item.text(): item for item in items}


def tick(panel, *names: str) -> None:
    from PySide6.QtCore import Qt

    for name, item in rows(panel).items():
        item.setCheckState(Qt.Checked if name in names else Qt.Unchecked)
    settle()


def test_volumes_of_the_scene_each_get_a_segmentation(panel, another):
    ui = panel.ui
    assert set(rows(panel)) == {panel.parameters.volume.GetName(), "another"}
    assert not ui.manyButton.enabled and "Tick at least one volume" in ui.manyButton.toolTip
    tick(panel, "another")
    assert ui.manyButton.enabled
    before = len(segmentations())
    ui.manyButton.click()
    assert not ui.manyButton.enabled and not ui.segmentVolumeButton.enabled
    assert ui.cancelButton.enabled
    assert finish(panel) == "1 of 1 volumes are segmented."
    assert len(segmentations()) == before + 1
    made = next(one for one in segmentations() if one.GetName().startswith("another"))
    assert made.GetSegmentation().GetNumberOfSegments() == 2


def test_a_volume_that_goes_leaves_the_list(panel, another):
    tick(panel, "another")
    slicer.mrmlScene.RemoveNode(another)
    settle()
    assert set(rows(panel)) == {panel.parameters.volume.GetName()}
    assert not panel.ui.manyButton.enabled


def test_a_folder_of_files(panel, tmp_path):
    """Each is written; one that is done is left alone, one that cannot be read is told of, and
    nothing of them stays in the scene."""
    ui, volumes, results = panel.ui, tmp_path / "Bäuche", tmp_path / "results"
    volumes.mkdir()
    patient = generated(**SMALL, seed=3)
    write_volume(patient.image, volumes / "a b.nii.gz")
    write_volume(patient.image, volumes / "done.nrrd")
    (volumes / "broken.nrrd").write_bytes(b"NRRD0004\nno header\n")
    (volumes / "notes.txt").write_text("nothing", encoding="utf-8")
    results.mkdir()
    (results / "done.seg.nrrd").write_bytes(b"kept")
    assert not ui.manyOutputEdit.visible
    ui.manyFolderEdit.currentPath = str(volumes)
    settle()
    assert set(rows(panel)) == {"a b.nii.gz", "broken.nrrd", "done.nrrd"}
    assert "folder that the results go into" in ui.manyButton.toolTip
    ui.manyOutputEdit.currentPath = str(results)
    settle()
    assert ui.manyButton.enabled, ui.manyButton.toolTip
    count = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLVolumeNode"), len(segmentations())
    ui.manyButton.click()
    said = finish(panel)
    assert said.startswith("1 of 2 volumes are segmented. broken.nrrd: "), said
    assert (results / "done.seg.nrrd").read_bytes() == b"kept"
    labels = read_labels(results / "a b.seg.nrrd", like=patient.image)
    assert len(np.unique(labels.voxels)) > 2
    assert sorted(path.name for path in results.iterdir()) == ["a b.seg.nrrd", "done.seg.nrrd"]
    assert count == (
        slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLVolumeNode"), len(segmentations())
    )


def test_cancel_keeps_what_is_done(panel, another):
    ui, before = panel.ui, len(segmentations())
    tick(panel, *rows(panel))
    ui.manyButton.click()
    settle(lambda: "Volume 1 of 2" in ui.statusText.text or panel.idle)
    settle(lambda: "Volume 2 of 2" in ui.statusText.text or panel.idle)
    ui.cancelButton.click()
    assert finish(panel) == "Cancelled: 1 of 2 volumes are segmented."
    assert len(segmentations()) == before + 1


def test_what_is_missing_is_said():
    def hint(**facts: object) -> str:
        return panel_state(Facts(**facts)).many_hint

    drawn = {"volume": "CT", "segmentation": "s", "segments": 1, "chosen": 1}
    assert "Choose the volume that was painted on" in hint()
    assert "Add a segment" in hint(**{**drawn, "segments": 0, "chosen": 0})
    assert "Choose a support file" in hint(source=SupportSource.file)
    assert hint(**drawn, many=1) == ""
    assert not panel_state(Facts(**drawn, many=1, job=RUNNING)).enabled["manyButton"]
