"""What is chosen to be segmented: structures, files, weights, and what scripts set."""

from __future__ import annotations

import pytest
from FewShotSAMModule.runs.kept_review import KeptReview
from FewShotSAMModule.scene.results import ResultWriter
from FewShotSAMModule.scene.segments import read_segments
from FewShotSAMModule.scene.viewing import show_slice
from panel_driver import application, bare_context, choices, finish, parameters, part, settle


def test_a_tick_by_keyboard_keeps_its_place(panel):
    real = panel.ui.structuresList.real
    real.setCurrentRow(1)
    item = real.item(1)
    item.setCheckState(application.QtCore.Qt.Unchecked)
    settle()
    assert len(panel.structures.chosen) == 1
    assert real.currentRow() == 1
    panel.parameters.skippedStructures = []
    panel.structures.show(read_segments(panel.parameters.supportSegmentation), [])
    assert real.item(1) is item
    assert len(panel.structures.chosen) == 2
    info = panel.structures.segments[1]
    segment = panel.parameters.supportSegmentation.GetSegmentation().GetSegment(info.id)
    segment.SetName("Niere")
    settle(lambda: panel.structures.segments[1].name == "Niere")
    assert real.item(1).text() == "Niere"


def test_what_a_script_sets_is_shown(panel, tmp_path):
    panel.parameters.fobWeights = "fob-mr"
    panel.parameters.supportFile = str(tmp_path / "liver.nrrd")
    assert panel.ui.fobWeightsEdit.currentPath == "fob-mr"
    assert panel.ui.supportFileEdit.currentPath == str(tmp_path / "liver.nrrd")


def test_a_file_that_is_no_support_is_one_line(panel, tmp_path):
    path = tmp_path / "notes.nrrd"
    path.write_text("no support", encoding="utf-8")
    panel.parameters.supportSource = choices.SupportSource.file
    panel.ui.supportFileEdit.currentPath = str(path)
    settle()
    said = panel.ui.statusText.text.replace("\u200b", "")  # where a long path may be broken
    assert "notes.nrrd" in said
    assert "\n" not in panel.ui.statusText.text


def test_the_structures_of_a_support_file_are_listed(panel, tmp_path):
    panel.supports.save(tmp_path / "organs.nrrd")
    assert not panel.ui.structuresList.visible
    panel.parameters.supportSource = choices.SupportSource.file
    panel.ui.supportFileEdit.currentPath = str(tmp_path / "organs.nrrd")
    settle()
    names = [info.name for info in panel.structures.segments]
    assert names == ["liver", "right kidney"]
    assert not panel.ui.structuresList.isHidden() and not panel.ui.structuresList.enabled
    panel.ui.supportFileEdit.currentPath = str(tmp_path / "none.nrrd")
    settle()
    assert not panel.structures.segments
    panel.parameters.supportSource = choices.SupportSource.segmentation
    panel.inputs._list()
    assert len(panel.structures.segments) == 2


def test_a_list_of_structures_is_there_for_who_wants_to_leave_some_out(panel):
    ui = panel.ui
    assert ui.structuresList.isHidden(), "the editor lists them"
    ui.someStructuresBox.click()
    assert not ui.structuresList.isHidden()
    ui.noStructuresButton.click()
    assert panel.structures.chosen == []
    ui.someStructuresBox.click()
    assert len(panel.structures.chosen) == 2 and ui.structuresList.isHidden()


def test_the_only_painted_segmentation_of_the_volume_is_chosen(panel, scene):
    volume, painted = panel.parameters.volume, panel.parameters.supportSegmentation
    panel.parameters.supportSegmentation = None
    panel.exit()
    panel.enter()
    assert panel.parameters.supportSegmentation is painted
    result = ResultWriter(volume, {1: read_segments(painted)[0]}).commit(
        slicer_array(volume).astype("uint8") * 0
    )
    panel.parameters.supportSegmentation = None
    panel.inputs.choose()
    assert panel.parameters.supportSegmentation is None, "it cannot know which of the two"
    result.SetAttribute("FewShotSAM.Review", "{}")
    panel.inputs.choose()
    assert panel.parameters.supportSegmentation is painted, "what a run wrote is no painting"


def test_another_volume_after_the_scene_was_closed_from_another_module(panel, scene):
    volume = panel.parameters.volume
    panel.exit()
    panel.parameters.volume = panel.parameters.supportSegmentation = None
    panel.enter()
    assert panel.parameters.volume is volume


def slicer_array(volume):
    import slicer

    return slicer.util.arrayFromVolume(volume)


def test_the_editor_is_never_given_a_volume_alone(panel):
    editor = panel.ui.segmentEditor.real
    assert editor.source is panel.parameters.volume
    panel.parameters.supportSegmentation = None
    panel.inputs.forget()
    assert editor.source is None and editor.edited is None, "or it asks for the volume later"
    panel.inputs.show()
    assert editor.complaints == []


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
    assert panel.context.last is not None, ui.statusText.text
    result = panel.context.last.run.result
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


def test_unticked_structures_are_left_out_and_the_script_says_so(panel):
    ui = panel.ui
    ui.structuresList.item(1).setCheckState(application.QtCore.Qt.Unchecked)
    settle()
    assert len(panel.structures.chosen) == 1
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


def test_deleting_the_volume_says_what_is_missing(panel, scene):
    scene.RemoveNode(panel.parameters.volume)
    panel.parameters.volume = None  # Slicer's parameter node does this by itself
    settle()
    assert "Choose a volume" in panel.ui.statusText.text
    assert not panel.ui.segmentVolumeButton.enabled


def test_bindings_go_with_the_parameters(panel):
    first = panel.parameters
    assert first.bindings
    panel.set_parameters(parameters())
    assert not first.bindings
    assert panel.parameters.bindings


def test_it_needs_a_context_and_what_is_shown(widgets, abdomen):
    volume, painted = abdomen
    context, _said = bare_context(widgets)
    context.parameters = parameters(supportSegmentation=painted)
    shown = part("shown_slices").ShownSlices(lambda: context.parameters, KeptReview())
    others = []
    section = part("inputs_section").InputsSection(context, shown, others.append)
    section.choose()
    assert context.volume is volume
    section.show()
    section.show()
    assert others == [True], "the same inputs are told once"
    assert len(section.structures.chosen) == widgets.structuresList.count == 2
    assert (shown.axis(), shown.count()) == ("axial", 16)
    assert shown.view(0) is shown.nodes()[0]
    painted.GetSegmentation().AddEmptySegment("bile", "bile")
    settle(lambda: widgets.structuresList.count == 3)
    widgets.supportFileEdit.currentPath = "liver.nrrd"
    assert context.parameters.supportFile == "liver.nrrd"
    section.forget()
    section.close()


@pytest.mark.parametrize(("chosen", "index"), [("axial", 5), ("coronal", 40), ("sagittal", 60)])
def test_the_shown_slice_is_that_of_the_chosen_direction(widgets, abdomen, chosen, index):
    volume, _painted = abdomen
    given = parameters(volume=volume, axis=choices.Axis[chosen])
    shown = part("shown_slices").ShownSlices(lambda: given, KeptReview())
    axis = {"axial": 0, "coronal": 1, "sagittal": 2}[chosen]
    show_slice(volume, axis, index, shown.view(axis))
    assert shown.place() == (axis, index, shown.view(axis))
    given.volume = None
    assert shown.place() is None and shown.count() == 0


def test_undo_states_are_of_the_segmentation_that_the_editor_shows(widgets, abdomen):
    _volume, painted = abdomen
    context, _said = bare_context(widgets)
    assert context.before_change(painted) is None
    widgets.segmentEditor.setSegmentationNode(painted)
    context.before_change(painted)()
    assert widgets.segmentEditor.real.undo_states == 1
    assert context.before_change(None) is None
