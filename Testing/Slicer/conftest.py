"""A real MRML scene for every test: slicer-core, without the application and without Qt."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from scene_nodes import new_application

MODULE = Path(__file__).resolve().parents[2] / "FewShotSAM"
if str(MODULE) not in sys.path:
    sys.path.insert(0, str(MODULE))


@pytest.fixture
def application(monkeypatch):
    """The application logic of an empty scene, with the module logics that nodes need."""
    slicer = pytest.importorskip("slicer", reason="needs slicer-core (pip install slicer-core)")
    pytest.importorskip("slicer.util", reason="needs slicer-core (pip install slicer-core)")
    application, logics = new_application()
    scene = application.GetMRMLScene()
    modules = {
        name: SimpleNamespace(logic=lambda logic=logic: logic) for name, logic in logics.items()
    }
    monkeypatch.setattr(slicer, "mrmlScene", scene, raising=False)
    monkeypatch.setattr(slicer, "modules", SimpleNamespace(**modules), raising=False)
    yield application
    scene.Clear(True)


@pytest.fixture
def scene(application):
    """An empty scene, as ``slicer.mrmlScene``."""
    return application.GetMRMLScene()
