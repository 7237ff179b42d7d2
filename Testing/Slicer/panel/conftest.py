"""A panel that is shown, on a small generated abdomen, and the process that it asks."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture(scope="session", autouse=True)
def one_process():
    """The same for all tests of the panel; it takes seconds to start."""
    yield
    if (logic := sys.modules.get("FewShotSAMModule.runs.logic")) is not None:
        logic.shared_worker().close()


@pytest.fixture
def widgets(scene, monkeypatch):
    """The widgets of the .ui by name, on stand-ins for Qt and the application."""
    import panel_driver

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    ui, root = panel_driver.start(scene, monkeypatch)
    yield ui
    panel_driver.forget()
    root.deleteLater()


@pytest.fixture
def abdomen(widgets):
    """The volume and the segmentation node: two organs painted on one axial slice."""
    from FewShotSAMModule.scene import sample_data

    volume, painted = sample_data.add_generated_abdomen((16, 96, 96), (3.3, 3.3, 12.5))
    for further in ("Segment_3", "Segment_4"):
        painted.GetSegmentation().RemoveSegment(further)
    return volume, painted


@pytest.fixture
def panel(widgets, abdomen):
    """A panel that is shown."""
    import panel_driver
    from FewShotSAMModule.runs import logic

    panel = panel_driver.part("panel").Panel(widgets, panel_driver.console())
    volume, painted = abdomen
    panel.set_parameters(panel_driver.parameters(volume=volume, supportSegmentation=painted))
    panel.enter()
    panel_driver.settle()
    yield panel
    panel.exit()
    panel.close()
    logic.forget_sources()
