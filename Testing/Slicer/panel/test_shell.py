"""FewShotSAM.py, opened and closed as Slicer does, and the examples of its logic."""

from __future__ import annotations

import sys
import threading
from types import SimpleNamespace

from FewShotSAMModule.scene import sample_data
from panel_driver import application, parameters, segmentations, settle, slicer
from panel_files import WITH_QT


def test_the_shell_opens_closes_and_reloads(scene, monkeypatch):
    application.start(scene, monkeypatch)
    for name in WITH_QT:
        monkeypatch.delitem(sys.modules, name, raising=False)
    volume, painted = sample_data.add_generated_abdomen((12, 48, 56), (5.0, 6.0, 16.0))
    made = []

    def fresh():
        there = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
        made.append(parameters(volume=volume if there else None, supportSegmentation=None))
        return made[-1]

    module = application.shell(monkeypatch, fresh)
    described = SimpleNamespace()
    module.FewShotSAM(described)
    assert described.categories == ["Segmentation"]
    assert "not a medical device" in described.helpText
    widget = module.FewShotSAMWidget(SimpleNamespace(isEntered=True))
    widget.setup()
    widget.enter()
    settle()
    ui = widget.panel.ui
    assert widget.panel.parameters.supportSegmentation is painted, "there is no other"
    ui.segmentationSelector.setCurrentNode(None)
    settle()
    assert "Choose or create a segmentation" in ui.statusText.text
    ui.segmentationSelector.setCurrentNode(painted)
    settle()
    assert ui.segmentVolumeButton.enabled
    widget.exit()
    widget.enter()
    assert len(made) == 1, "another module and back keeps the choices"
    assert ui.segmentEditor.real.editor_node.GetSingletonTag() == "FewShotSAM"

    scene.Clear(False)
    settle()
    assert len(made) == 2, "a new scene has new parameters"
    assert "Choose a volume" in ui.statusText.text
    widget.cleanup()
    settle()


def test_a_scene_that_is_loaded_is_bound_when_all_of_it_is_there(scene, monkeypatch):
    application.start(scene, monkeypatch)
    for name in WITH_QT:
        monkeypatch.delitem(sys.modules, name, raising=False)
    loaded = []

    def fresh():
        volume, painted = loaded or (None, None)
        return parameters(volume=volume, supportSegmentation=painted)

    module = application.shell(monkeypatch, fresh)
    widget = module.FewShotSAMWidget(SimpleNamespace(isEntered=True))
    widget.setup()
    widget.enter()
    settle()
    scene.StartState(scene.BatchProcessState)
    scene.StartState(scene.ImportState)
    loaded.extend(sample_data.add_generated_abdomen((12, 48, 56), (5.0, 6.0, 16.0)))
    scene.EndState(scene.ImportState)
    scene.EndState(scene.BatchProcessState)
    settle()
    assert widget.panel.ui.segmentEditor.segmentationNode() is loaded[1]
    assert widget.panel.ui.segmentVolumeButton.enabled
    scene.StartState(scene.ImportState)
    scene.EndState(scene.ImportState)
    widget.cleanup()  # before what the scene's end has asked for
    settle()


def test_the_examples_of_the_logic_run(scene, monkeypatch, capsys):
    application.start(scene, monkeypatch)
    module = application.shell(monkeypatch, parameters)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    volume, painted = sample_data.add_generated_abdomen((12, 64, 64), (5.0, 5.0, 16.0))
    volume.SetName("CT")
    painted.SetName("Segmentation")
    lines = module.FewShotSAMLogic.__doc__.splitlines()
    code = "\n".join(line[8:] for line in lines if line.startswith(8 * " "))
    assert code.count("logic.segment(") == 2
    exec(compile(code, "example", "exec"), {"slicer": slicer})
    assert capsys.readouterr().out.startswith("done ")
    assert len(segmentations()) == 3


def threads_of(child) -> list[threading.Thread]:
    """Those that speak with this process; other tests in this one may have left some of others."""
    return [
        one for one in threading.enumerate()
        if getattr(getattr(one, "_target", None), "__self__", None) is child
    ]


def test_reload_reads_every_part_again(scene, monkeypatch):
    """Slicer then reads FewShotSAM.py again, which imports what it needs, leaves first."""
    application.start(scene, monkeypatch)
    module = application.shell(monkeypatch, parameters)
    widget = module.FewShotSAMWidget(SimpleNamespace(isEntered=True))
    widget.setup()
    before = {name: part for name, part in sys.modules.items() if is_part(name)}
    rooms = {name.split(".")[1] for name in before if name.count(".") > 1}
    assert {"scene", "installation", "runs", "panel"} <= rooms
    try:
        worker = module.runs.shared_worker()
        assert worker.hello().wait(600)
        process = worker._child.process
        threads = threads_of(worker._child)
        assert len(threads) >= 3
        old = widget.panel
        widget.enter()
        widget.onReload()
        fresh = slicer.modules.FewShotSAMWidget
        assert fresh is not widget and widget.panel is None
        assert fresh.panel.ui.segmentEditor.real.shown, "it is shown, and knows it"
        settle(lambda: process.poll() is not None)
        settle(lambda: not any(one.is_alive() for one in threads))
        assert not old.runs.watch.busy
        assert sys.modules["FewShotSAMModule.panel.panel"] is not before[
            "FewShotSAMModule.panel.panel"
        ]
        fresh.cleanup()
    finally:
        sys.modules.update(before)


def test_the_self_test_says_what_is_not_installed(scene, monkeypatch):
    from FewShotSAMModule.installation import dependencies

    application.start(scene, monkeypatch)
    module = application.shell(monkeypatch, parameters)
    lacking = dependencies.Missing("torch", "computes", dependencies.PACKAGE, "torch>=2.2")
    monkeypatch.setattr(dependencies, "missing", lambda model: (lacking,))
    test, said = module.FewShotSAMTest(), []
    test.delayDisplay = said.append
    test.runTest()
    assert said == ["Not tested, not installed: torch"]
    monkeypatch.setattr(slicer.app, "testingEnabled", lambda: True)
    test.skipTest = said.append
    test.runTest()
    assert said[1:2] == ["Not tested, not installed: torch"]


def is_part(name):
    return name.split(".")[0] in ("FewShotSAMModule", "FewShotSAMLib")
