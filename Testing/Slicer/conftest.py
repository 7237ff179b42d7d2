"""A real MRML scene for every test: slicer-core, without the application and without Qt."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

MODULE = Path(__file__).resolve().parents[2] / "FewShotSAM"
if str(MODULE) not in sys.path:
    sys.path.insert(0, str(MODULE))


@pytest.fixture
def scene(monkeypatch):
    """An empty scene as the application sets it up, with the logics that nodes need."""
    slicer = pytest.importorskip("slicer", reason="needs slicer-core (pip install slicer-core)")
    pytest.importorskip("slicer.util", reason="needs slicer-core (pip install slicer-core)")
    scene = slicer.vtkMRMLScene()
    application = slicer.vtkSlicerApplicationLogic()
    application.SetMRMLScene(scene)
    logics = {}
    for name, kind in (
        ("colors", slicer.vtkSlicerColorLogic),
        ("volumes", slicer.vtkSlicerVolumesLogic),
        ("segmentations", slicer.vtkSlicerSegmentationsModuleLogic),
        ("markups", slicer.vtkSlicerMarkupsLogic),
        ("sequences", slicer.vtkSlicerSequencesLogic),
    ):
        logic = kind()
        logic.SetMRMLApplicationLogic(application)
        logic.SetMRMLScene(scene)
        application.SetModuleLogic(name.capitalize(), logic)
        logics[name] = SimpleNamespace(logic=lambda logic=logic: logic)
    monkeypatch.setattr(slicer, "mrmlScene", scene, raising=False)
    monkeypatch.setattr(slicer, "modules", SimpleNamespace(**logics), raising=False)
    yield scene
    scene.Clear(True)
