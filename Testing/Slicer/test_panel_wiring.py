"""The panel on stand-ins for the application, with the real scene, library and process.

`standin_application` says what this shows and what it does not.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from FewShotSAMModule import choices

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed")
pytest.importorskip("torch", reason="segmenting needs PyTorch")
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import standin_application as application  # noqa: E402
from FewShotSAMModule import logic, sample_data  # noqa: E402
from FewShotSAMModule.slice_edits import read_slice  # noqa: E402
from test_panel_ui import CODE, UI, fields  # noqa: E402

WITH_QT = [path.stem for path in CODE if "\nimport qt\n" in path.read_text(encoding="utf-8")]


@pytest.fixture
def panel(scene, monkeypatch):
    """A panel that is shown, on a small generated abdomen with four organs painted on slice k."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    application.start(scene, monkeypatch)
    parts = ["FewShotSAMModule." + name for name in WITH_QT]
    for name in parts:
        sys.modules.pop(name, None)
    module = importlib.import_module("FewShotSAMModule.panel")
    ui, root = application.widgets(UI)
    console = SimpleNamespace(
        segment=logic.segment, segment_slice=logic.segment_slice, worker=logic.shared_worker
    )
    panel = module.Panel(ui, console)
    volume, painted = sample_data.add_generated_abdomen((16, 96, 96), (3.3, 3.3, 12.5))
    panel.set_parameters(parameters(volume=volume, supportSegmentation=painted, device="cpu"))
    panel.enter()
    settle()
    yield panel
    panel.exit()
    panel.close()
    logic.forget_sources()
    for name in parts:
        sys.modules.pop(name, None)
    root.deleteLater()


@pytest.fixture(scope="module", autouse=True)
def one_process():
    yield
    logic.shared_worker().close()


def parameters(**changes):
    values = {
        "volume": None, "supportSource": choices.SupportSource.segmentation,
        "supportSegmentation": None, "supportFile": "", "skippedStructures": [],
        "preset": choices.Preset.embedded, "into": choices.Into.new, "output": None,
        "overwrite": choices.Overwrite.never, "method": choices.Method.synpo,
        "fobWeights": "", "strategy": choices.Strategy.propagate,
        "axis": choices.Axis.auto, "firstSlice": 0, "lastSlice": -1,
        "device": choices.Device.cpu, "precision": choices.Precision.fp32, "seed": 0,
        "doubtfulBelow": 0.8, "keepWarm": True,
    }  # fmt: skip
    assert set(values) == set(fields())
    return application.Parameters(**{**values, **changes, "device": choices.Device.cpu})


def settle(until=lambda: True, seconds=600.0, least=0.4):
    """Lets timers run, for a moment at least and until a condition holds."""
    start = time.monotonic()
    while time.monotonic() < start + least or not until():
        slicer.app.processEvents()
        time.sleep(0.005)
        assert time.monotonic() < start + seconds, "it takes too long"


def finish(panel):
    settle(lambda: panel.idle, least=0.1)
    return panel.ui.statusText.text


def show(panel, index):
    """The axial view goes to a slice."""
    from FewShotSAMModule.viewing import show_slice

    show_slice(panel.parameters.volume, 0, index, panel.slice_nodes()[0])
    settle()


def segmentations():
    return slicer.util.getNodesByClass("vtkMRMLSegmentationNode")


def found(panel):
    """Labels (k, j, i) of the segmentation under review."""
    review = panel.review
    volume = panel.parameters.volume
    count = volume.GetImageData().GetDimensions()[2]
    return np.stack(
        [read_slice(volume, review.node, review.segment_ids, 0, k) for k in range(count)]
    )


def test_segment_review_reject_accept_and_undo(panel):
    ui, before = panel.ui, len(segmentations())
    assert ui.segmentVolumeButton.enabled
    assert ui.structuresList.count == 4
    ui.segmentVolumeButton.click()
    assert not ui.segmentVolumeButton.enabled
    assert not ui.cancelButton.isHidden()
    said = finish(panel)
    assert said.startswith("Done: liver"), said
    assert len(segmentations()) == before + 1
    assert ui.reviewStrip.columnCount == 16
    labels = found(panel)
    assert len(np.unique(labels)) == 5

    k = int(np.argmax((labels > 0).sum(axis=(1, 2))))
    show(panel, k)
    assert f"Slice {k}:" in ui.reviewText.text
    ui.rejectSliceButton.click()
    rejected = labels.copy()
    rejected[k] = 0
    assert np.array_equal(found(panel), rejected), ui.statusText.text
    assert not ui.rejectSliceButton.enabled
    ui.acceptSliceButton.click()
    assert np.array_equal(found(panel), labels)
    assert "(accepted)" in ui.reviewText.text

    # A review is kept with its segmentation.
    node = panel.review.node
    panel.review.show(None, None)
    panel.review.find()
    assert panel.review.node is node
    assert panel.review.review.decision(k) == "accepted"

    # A click on the strip, or an arrow key, goes to the slice.
    ui.reviewStrip.real.cellClicked.emit(0, 3)
    settle()
    assert panel.place()[1] == 3
    ui.reviewStrip.setCurrentCell(0, 4)
    settle()
    assert panel.place()[1] == 4
    ui.rejectSliceButton.click()
    ui.undoResultButton.click()
    assert np.array_equal(found(panel), labels), ui.statusText.text
    assert panel.review.review.decision(4) == ""
    assert not ui.undoResultButton.enabled


def test_one_undo_takes_a_result_back(panel):
    ui, before = panel.ui, len(segmentations())
    panel.parameters.firstSlice, panel.parameters.lastSlice = 7, 9
    ui.segmentVolumeButton.click()
    assert finish(panel).startswith("Done:")
    assert len(segmentations()) == before + 1
    ui.undoResultButton.click()
    assert len(segmentations()) == before
    assert panel.review.review is None
    assert not ui.undoResultButton.enabled


def test_cancel_leaves_the_scene_and_the_panel_as_they_were(panel):
    ui, before = panel.ui, len(segmentations())
    ui.segmentVolumeButton.click()
    settle(lambda: panel.runs.watch.busy, least=0.05)
    ui.cancelButton.click()
    assert "scene is as it was" in finish(panel)
    assert len(segmentations()) == before
    assert ui.segmentVolumeButton.enabled
    assert ui.cancelButton.isHidden()


def test_points_are_shown_and_a_moved_one_segments_the_slice_again(panel, scene):
    ui = panel.ui
    marked = panel.parameters.supportSegmentation
    k = int(np.argmax([
        read_slice(panel.parameters.volume, marked, {1: "Segment_1"}, 0, k).sum()
        for k in range(16)
    ]))  # fmt: skip
    show(panel, k + 1)
    ui.showPromptsBox.click()
    finish(panel)
    settle()
    lists = slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode")
    assert len(lists) == 2
    assert sum(node.GetNumberOfControlPoints() for node in lists) > 0
    assert ui.promptStructureBox.count >= 1
    inside = next(node for node in lists if node.GetName().endswith("inside"))
    place = [0.0, 0.0, 0.0]
    inside.GetNthControlPointPositionWorld(0, place)
    inside.SetNthControlPointPositionWorld(0, place[0] + 3.0, place[1], place[2])
    before = len(segmentations())
    settle(lambda: panel.runs.last is not None)
    said = finish(panel)
    assert said.startswith(f"Slice {k + 1}:"), said
    assert len(segmentations()) == before + 1
    labels = found(panel)
    assert labels[k + 1].any()
    assert not np.delete(labels, k + 1, axis=0).any()

    ui.showConfidenceBox.click()
    settle()
    composite = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    overlay = scene.GetNodeByID(composite.GetForegroundVolumeID())
    assert overlay.GetName().endswith("confidence")

    # Another module: everything is put away.
    panel.exit()
    assert not slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode")
    assert composite.GetForegroundVolumeID() is None
    assert not ui.showPromptsBox.checked
    panel.enter()


def test_scrolling_while_points_are_looked_up_shows_those_of_the_slice_at_rest(panel):
    show(panel, 5)
    panel.ui.showPromptsBox.click()
    assert panel.runs.watch.busy
    show(panel, 7)
    settle(lambda: panel.prompts.shown)
    settle()
    inside = [
        node for node in slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode")
        if node.GetName().endswith("inside")
    ]  # fmt: skip
    assert len(inside) == 1
    assert panel.prompts._place == (0, 7)


def test_a_tick_by_keyboard_keeps_its_place(panel):
    real = panel.ui.structuresList.real
    real.setCurrentRow(2)
    item = real.item(2)
    item.setCheckState(application.QtCore.Qt.Unchecked)
    settle()
    assert len(panel.structures.chosen) == 3
    assert real.currentRow() == 2
    panel.parameters.skippedStructures = []
    panel.structures.show(panel.parameters.supportSegmentation, [])
    assert real.item(2) is item
    assert len(panel.structures.chosen) == 4
    info = panel.structures.segments[2]
    segment = panel.parameters.supportSegmentation.GetSegmentation().GetSegment(info.id)
    segment.SetName("Milz")
    settle(lambda: panel.structures.segments[2].name == "Milz")
    assert real.item(2).text() == "Milz"


def test_what_a_script_sets_is_shown(panel, tmp_path):
    panel.parameters.fobWeights = "fob-mr"
    panel.parameters.supportFile = str(tmp_path / "liver.nrrd")
    assert panel.ui.fobWeightsEdit.currentPath == "fob-mr"
    assert panel.ui.supportFileEdit.currentPath == str(tmp_path / "liver.nrrd")


def test_a_slice_of_the_result_becomes_a_support_and_runs_again(panel):
    ui = panel.ui
    panel.parameters.firstSlice, panel.parameters.lastSlice = 5, 10
    ui.segmentVolumeButton.click()
    finish(panel)
    labels = found(panel)
    painted = panel.parameters.supportSegmentation
    k = next(k for k in (6, 7, 9, 10) if labels[k].any() and not drawn(panel, k).any())
    show(panel, k)
    ui.addSupportButton.click()
    said = finish(panel)
    assert said.startswith("Done:"), said
    assert drawn(panel, k).any()
    assert ui.segmentEditor.real.undo_states == 1
    assert panel.parameters.supportSegmentation is painted
    assert len(segmentations()) == 3


def drawn(panel, k):
    ids = {n + 1: info.id for n, info in enumerate(panel.structures.segments)}
    return read_slice(panel.parameters.volume, panel.parameters.supportSegmentation, ids, 0, k)


def test_a_saved_support_segments_without_a_painted_segmentation(panel, tmp_path, monkeypatch):
    ui, path = panel.ui, tmp_path / "Süd support.nrrd"
    ui.saveSupportButton.click()
    assert not list(tmp_path.iterdir()), "the dialog was cancelled"
    monkeypatch.setattr(application.FileDialog, "answer", str(path))
    ui.saveSupportButton.click()
    assert path.is_file(), ui.statusText.text
    panel.parameters.supportSource = choices.SupportSource.file
    panel.parameters.supportSegmentation = None
    settle()
    assert "Choose a support file" in ui.statusText.text
    ui.supportFileEdit.currentPath = str(path)
    panel.parameters.firstSlice, panel.parameters.lastSlice = 6, 8
    settle()
    assert panel.axis() == "axial"
    ui.segmentVolumeButton.click()
    assert finish(panel).startswith("Done: liver"), ui.statusText.text
    assert len(np.unique(found(panel))) > 2
    ui.copyPythonButton.click()
    assert f"supports=[{str(path)!r}]" in application.clipboard()


def test_a_file_that_is_no_support_is_one_line(panel, tmp_path):
    path = tmp_path / "notes.nrrd"
    path.write_text("no support", encoding="utf-8")
    panel.parameters.supportSource = choices.SupportSource.file
    panel.ui.supportFileEdit.currentPath = str(path)
    settle()
    assert "notes.nrrd" in panel.ui.statusText.text
    assert "\n" not in panel.ui.statusText.text


def save_untrained(path):
    """FoB's small network with random weights: what it finds does not matter here."""
    import torch

    from FewShotSAMLib.models.embedded import load_embedded
    from FewShotSAMLib.models.fob import embedded_config, save_fob
    from FewShotSAMLib.models.fob_network import FobNetwork

    torch.manual_seed(0)
    model, _ = load_embedded(torch.device("cpu"))
    network = FobNetwork(embedded_config(model.network.config))
    save_fob(network, path, {"backbone_sha256": model.card.sha256})


def test_fob_with_weights_of_ones_own(panel, tmp_path):
    ui, path = panel.ui, tmp_path / "fob für mich.safetensors"
    save_untrained(path)
    line = ui.fobWeightsEdit.findChildren(application.QtWidgets.QLineEdit)[0]
    assert not ui.fobWeightsEdit.enabled
    panel.parameters.method = choices.Method.fob
    settle()
    assert ui.fobWeightsEdit.enabled
    ui.fobWeightsEdit.currentPath = str(path)
    settle()
    line.backspace()
    settle()
    assert "there is no such file" in ui.statusText.text
    assert not ui.segmentVolumeButton.enabled
    ui.fobWeightsEdit.currentPath = str(path)
    panel.parameters.firstSlice, panel.parameters.lastSlice = 6, 8
    settle()
    ui.segmentVolumeButton.click()
    finish(panel)
    assert panel.runs.last is not None, ui.statusText.text
    result = panel.runs.last.result
    assert (result.method, result.fob.name) == ("fob", path.stem)

    ui.copyPythonButton.click()
    text = application.clipboard()
    assert "method='fob'" in text
    assert f"fob={str(path)!r}" in text
    line.clear()
    assert panel.parameters.fobWeights == ""
    ui.copyPythonButton.click()
    assert "fob=" not in application.clipboard(), "the weights that belong to the preset"
    ui.fobWeightsEdit.currentPath = str(path)
    panel.parameters.method = choices.Method.synpo
    settle()
    ui.copyPythonButton.click()
    assert "fob" not in application.clipboard(), "weights that nothing uses"


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
    from FewShotSAMModule import dependencies

    there = []
    lacking = dependencies.Missing("scipy", "needed", dependencies.PACKAGE, "scipy>=1.10")
    monkeypatch.setattr(dependencies, "missing", lambda **_: () if there else (lacking,))
    monkeypatch.setattr(dependencies, "steps", lambda _: [Package(there)])
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


def test_bindings_go_with_the_parameters(panel):
    first = panel.parameters
    assert first.bindings
    panel.set_parameters(parameters())
    assert not first.bindings
    assert panel.parameters.bindings


def test_result_goes_into_the_chosen_segmentation(panel, scene):
    ui = panel.ui
    organs = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "organs")
    panel.parameters.into = choices.Into.existing
    panel.parameters.output = panel.parameters.supportSegmentation
    settle()
    assert "holds the marked slices" in ui.statusText.text
    panel.parameters.output = organs
    panel.parameters.firstSlice, panel.parameters.lastSlice = 6, 8
    settle()
    before = len(segmentations())
    ui.segmentVolumeButton.click()
    assert finish(panel).startswith("Done:"), ui.statusText.text
    assert len(segmentations()) == before
    assert organs.GetSegmentation().GetNumberOfSegments() == 4
    ui.undoResultButton.click()
    assert organs.GetSegmentation().GetNumberOfSegments() == 0
    assert panel.review.review is None


def test_sudden_death_of_the_process_is_told_and_the_next_run_works(panel):
    ui, before = panel.ui, len(segmentations())
    panel.parameters.firstSlice, panel.parameters.lastSlice = 6, 8
    ui.segmentVolumeButton.click()
    settle(lambda: logic.shared_worker().pid is not None, least=0.2)
    psutil.Process(logic.shared_worker().pid).kill()
    said = finish(panel)
    assert "ended unexpectedly" in said
    assert len(segmentations()) == before
    ui.segmentVolumeButton.click()
    assert finish(panel).startswith("Done:")


def test_pressing_twice_runs_once(panel):
    panel.parameters.firstSlice, panel.parameters.lastSlice = 6, 8
    before = len(segmentations())
    panel.ui.segmentVolumeButton.click()
    panel.runs.segment_volume()
    panel.runs.segment_slice()
    finish(panel)
    assert len(segmentations()) == before + 1


def test_unticked_structures_are_left_out_and_the_script_says_so(panel):
    ui = panel.ui
    ui.structuresList.item(1).setCheckState(application.QtCore.Qt.Unchecked)
    settle()
    assert len(panel.structures.chosen) == 3
    panel.parameters.firstSlice = 6
    panel.parameters.lastSlice = 8
    settle()
    ui.copyPythonButton.click()
    text = application.clipboard()
    assert f"segment_ids={panel.structures.chosen!r}" in text
    assert "range=(6, 8)" in text
    assert "device='cpu'" in text
    assert "model=" not in text, "the default need not be said"
    compile(text, "script", "exec")
    ui.noStructuresButton.click()
    settle()
    assert "Tick at least one structure" in ui.statusText.text
    assert not ui.segmentVolumeButton.enabled
    ui.allStructuresButton.click()
    settle()
    assert ui.statusText.text == "", "a hint goes when it was followed"
    assert ui.segmentVolumeButton.enabled


def test_closing_the_scene_during_a_run(panel, scene):
    panel.ui.segmentVolumeButton.click()
    settle(lambda: panel.runs.watch.busy, least=0.05)
    panel.set_parameters(None)
    scene.Clear(False)
    settle(lambda: not panel.runs.watch.busy)
    assert not segmentations()
    assert panel.review.review is None


def test_closing_the_panel_during_a_run_leaves_nothing_behind(panel):
    before = [node.GetID() for node in segmentations()]
    panel.ui.segmentVolumeButton.click()
    settle(lambda: panel.runs.watch.busy, least=1.0)
    panel.close()
    assert [node.GetID() for node in segmentations()] == before
    assert not panel.runs.watch.busy
    panel.set_parameters(parameters())  # so that the fixture can close it once more
    panel.enter()


def test_deleting_the_volume_says_what_is_missing(panel, scene):
    scene.RemoveNode(panel.parameters.volume)
    panel.parameters.volume = None  # Slicer's parameter node does this by itself
    settle()
    assert "Choose a volume" in panel.ui.statusText.text
    assert not panel.ui.segmentVolumeButton.enabled


def test_check_installation_shows_what_doctor_says(panel):
    panel.ui.checkInstallationButton.click()
    settle(lambda: "FewShotSAM" in panel.ui.installationText.plainText)
    assert "embedded" in panel.ui.installationText.plainText
    settle(lambda: "GiB" in panel.ui.deviceText.text or panel.installation._job is None)


def test_the_shell_opens_closes_and_reloads(scene, monkeypatch):
    application.start(scene, monkeypatch)
    for name in WITH_QT:
        monkeypatch.delitem(sys.modules, "FewShotSAMModule." + name, raising=False)
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
