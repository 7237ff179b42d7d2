"""What is asked and installed before a run, and what is told of the machine."""

from __future__ import annotations

import pytest
from panel_driver import (
    bare_context,
    choices,
    finish,
    parameters,
    part,
    segmentations,
    settle,
    slicer,
)


def test_weights_of_fob_are_asked_for_when_it_is_chosen(panel, tmp_path, monkeypatch):
    monkeypatch.setenv("FEWSHOTSAM_WEIGHTS", str(tmp_path))
    panel.ui.fobWeightsEdit.currentPath = "fob-ct"
    settle()
    assert "download" not in panel.ui.statusText.text
    panel.parameters.method = choices.Method.auto
    settle()
    assert "download fob-ct first" in panel.ui.statusText.text
    assert panel.ui.installButton.enabled


class Package:
    """Something to install, in no time."""

    title, in_background, progress = "scipy>=1.10", False, None

    def __init__(self, there):
        self._there = there

    def run(self):
        self._there.append(self)

    def cancel(self):
        """Not in the middle."""


@pytest.mark.parametrize("ending", ["go on", "close the scene", "cancel", "close the panel"])
def test_a_run_follows_its_installation(panel, scene, monkeypatch, ending):
    from FewShotSAMModule.installation import dependencies

    there = []
    lacking = dependencies.Missing("scipy", "needed", dependencies.PACKAGE, "scipy>=1.10")
    monkeypatch.setattr(dependencies, "missing", lambda **_: () if there else (lacking,))
    monkeypatch.setattr(dependencies, "steps", lambda _, fetch: [Package(there)])
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda *_: True, raising=False)
    panel.parameters.firstSlice, panel.parameters.lastSlice = 6, 8
    before = len(segmentations())
    panel.ui.segmentVolumeButton.click()
    assert panel.installation.busy
    if ending == "close the scene":
        panel.set_parameters(None)
        scene.Clear(False)
        panel.set_parameters(parameters())
    elif ending == "cancel":
        panel.ui.cancelButton.click()
    elif ending == "close the panel":
        panel.close()
        panel.set_parameters(parameters())
    finish(panel)
    settle()
    assert len(there) == (ending in ("go on", "close the scene"))
    if ending == "go on":
        assert len(segmentations()) == before + 1
    elif ending == "close the scene":
        assert not segmentations()
    else:
        assert len(segmentations()) == before
    if ending == "close the panel":
        panel.enter()


def test_check_installation_shows_what_doctor_says(panel):
    panel.ui.checkInstallationButton.click()
    settle(lambda: "FewShotSAM" in panel.ui.installationText.plainText)
    assert "embedded" in panel.ui.installationText.plainText
    settle(lambda: "GiB" in panel.ui.deviceText.text or panel.installation._job is None)


def test_it_needs_a_context(widgets):
    context, said = bare_context(widgets)
    section = part("installation_section").InstallationSection(context)
    then = []
    section.ensure({"model": "embedded"}, lambda: then.append("at once"))
    assert then == ["at once"] and not section.busy
    section.look({"model": "no such model"})
    assert "no such model" in said[-1]
    section.greet()
    settle(lambda: section._job is None)
    assert "cpu" in widgets.deviceText.text.lower()
    section.stop()
