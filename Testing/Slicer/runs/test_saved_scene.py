"""A scene is saved to files and read again, as on another machine: everything that a person did is
there, and running again gives the same voxels."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core (pip install slicer-core)")
pytest.importorskip("slicer.util", reason="needs slicer-core (pip install slicer-core)")

from FewShotSAMModule.runs import logic  # noqa: E402
from FewShotSAMModule.runs.kept_review import KeptReview  # noqa: E402
from run_scenes import read_back  # noqa: E402
from scene_nodes import new_application  # noqa: E402

from FewShotSAMLib.prompting.point_prompts import PointPrompts  # noqa: E402


def save(scene, folder) -> str:
    """Every node that has a file of its own, then the scene's."""
    scene.SetRootDirectory(str(folder))
    for n in range(scene.GetNumberOfNodes()):
        node = scene.GetNthNode(n)
        ending = {"vtkMRMLScalarVolumeNode": ".nrrd", "vtkMRMLSegmentationNode": ".seg.nrrd"}.get(
            node.GetClassName()
        )
        if ending is None:
            continue
        node.AddDefaultStorageNode()
        node.GetStorageNode().SetFileName(str(folder / f"{node.GetName()}{ending}"))
        assert node.GetStorageNode().WriteData(node)
    path = str(folder / "scene ü.mrml")
    scene.SetURL(path)
    assert scene.Commit()
    return path


def load(path, monkeypatch):
    """The scene of another application."""
    application, logics = new_application()
    scene = application.GetMRMLScene()
    modules = {name: SimpleNamespace(logic=lambda one=one: one) for name, one in logics.items()}
    monkeypatch.setattr(slicer, "mrmlScene", scene)
    monkeypatch.setattr(slicer, "modules", SimpleNamespace(**modules))
    scene.SetURL(path)
    assert scene.Connect()
    logic.forget_sources()
    return application


def test_nothing_that_a_person_did_is_lost(volume, phantom, painted, worker, tmp_path, monkeypatch):
    run = logic.segment(volume, painted, device="cpu", worker=worker, wait=False)
    run.wait()
    review = KeptReview()
    review.take(volume, run, 0.8)
    whole = read_back(run.node, volume, run.segment_ids)
    k = phantom.marked_slice()
    assert whole[k + 1].any() and whole[k - 1].any()
    review.decide(volume, k + 1, "rejected", None)
    review.decide(volume, k - 1, "accepted", None)
    moved = {1: PointPrompts.of([[30.0, 25.0]], [[5.0, 5.0]])}
    review.keep_points((0, k - 1), moved)
    before = read_back(run.node, volume, run.segment_ids)
    names = volume.GetName(), painted.GetName(), run.node.GetName()

    application = load(save(slicer.mrmlScene, tmp_path), monkeypatch)
    volume, painted, node = (application.GetMRMLScene().GetFirstNodeByName(one) for one in names)
    assert np.array_equal(read_back(node, volume, run.segment_ids), before)
    again = KeptReview()
    again.find(volume)
    assert again.node is node and again.segment_ids == run.segment_ids
    assert again.decision((0, k + 1, None)) == "rejected"
    assert again.decision((0, k - 1, None)) == "accepted"
    (points,) = again.points_of((0, k - 1)).values()
    assert points.to_json() == moved[1].to_json() and again.points_of((1, k - 1)) == {}
    again.decide(volume, k + 1, "accepted", None)
    assert np.array_equal(read_back(node, volume, run.segment_ids), whole), "what was rejected"

    rerun = logic.segment(volume, painted, device="cpu", worker=worker, wait=False)
    rerun.wait()
    assert rerun.state == "done", rerun.message
    assert np.array_equal(rerun.result.labels.voxels, run.result.labels.voxels)
    assert np.array_equal(read_back(rerun.node, volume, rerun.segment_ids), whole)


@pytest.mark.parametrize("text", ['{"removed": {"1": ["|u1", [2, 2], "eJ"]}, "points": {}}', "{}"])
def test_work_that_was_edited_by_hand_is_passed_over(scene, text):
    from FewShotSAMModule.runs.kept_review import ATTRIBUTE, work_of

    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    node.SetAttribute(ATTRIBUTE, text)
    assert work_of(node) == ({}, {})
