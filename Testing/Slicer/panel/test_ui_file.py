"""The .ui file loads and fits the code: names, parameters, tooltips, keyboard.

The widgets of Slicer are stand-ins (`standin_widgets`): this shows that the file is valid and
complete, not that the panel works in Slicer. `acceptance.md` is for that.
"""

from __future__ import annotations

import os
import re
import sys
from xml.etree import ElementTree

import pytest
from FewShotSAMModule.panel import choices
from FewShotSAMModule.panel.state import Facts, panel_state
from panel_files import CODE, UI, fields

pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed")
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtCore import QPoint, Qt  # noqa: E402
from PySide6.QtWidgets import QLabel, QWidget  # noqa: E402

ROOT = ElementTree.parse(UI).getroot()

# What a person acts on or reads; labels and layouts are not.
ACTED_ON = {
    "QPushButton", "QCheckBox", "QComboBox", "QSpinBox", "QDoubleSpinBox", "QListWidget",
    "QTableWidget", "QPlainTextEdit", "ctkPathLineEdit", "qMRMLNodeComboBox",
    "qMRMLSegmentEditorWidget",
}  # fmt: skip
# Letters that open Slicer's own menus with Alt.
MENU_LETTERS = set("fevh")


def widgets() -> dict[str, ElementTree.Element]:
    return {element.get("name"): element for element in ROOT.iter("widget")}


def value(element: ElementTree.Element, name: str) -> str | None:
    """Text of a property of a widget, or None where the file does not set it."""
    for prop in element.findall("property"):
        if prop.get("name") == name:
            return "".join(prop.itertext()).strip()
    return None


def strings(element: ElementTree.Element, name: str) -> list[str]:
    found = element.find(f"property[@name='{name}']")
    return [string.text for string in found.iter("string")] if found is not None else []


def bound() -> dict[str, str]:
    """Parameter -> the widget that it is bound to."""
    pairs = [(value(e, "SlicerParameterName"), name) for name, e in widgets().items()]
    names = [parameter for parameter, _ in pairs if parameter]
    assert len(set(names)) == len(names), "a parameter is bound twice"
    return {parameter: name for parameter, name in pairs if parameter}


@pytest.fixture(scope="module")
def panel():
    """The loaded panel, and what Qt complained about on the way."""
    from PySide6.QtCore import qInstallMessageHandler
    from PySide6.QtWidgets import QApplication
    from standin_widgets import load_panel

    application = QApplication.instance() or QApplication([])
    said = []
    before = qInstallMessageHandler(lambda kind, context, message: said.append(message))
    root = load_panel(UI)
    qInstallMessageHandler(before)
    yield root, said
    root.deleteLater()
    application.processEvents()


def test_file_loads_and_qt_has_nothing_to_complain_about(panel):
    root, said = panel
    assert type(root).__name__ == "qMRMLWidget"
    assert root.objectName() == "FewShotSAM"
    assert said == []


def test_every_widget_of_the_file_is_there_once_loaded(panel):
    from PySide6.QtWidgets import QWidget

    root, _ = panel
    loaded = {widget.objectName(): widget for widget in root.findChildren(QWidget)}
    for name, element in widgets().items():
        if element.get("class") != "qMRMLWidget":
            assert type(loaded[name]).__name__ == element.get("class"), name


def test_every_name_the_code_uses_is_in_the_file():
    used = {}
    for path in CODE:
        for name in re.findall(r"\bui\.([a-z]\w+)", path.read_text(encoding="utf-8")):
            used.setdefault(name, path.name)
    assert len(used) > 25, "the panel uses its widgets as ui.name"
    missing = {name: where for name, where in used.items() if name not in widgets()}
    assert not missing


def test_every_name_the_decisions_use_is_in_the_file():
    state = panel_state(Facts())
    assert set(state.enabled) | set(state.visible) <= set(widgets())


def test_everything_that_acts_is_used_by_the_code():
    text = "".join(path.read_text(encoding="utf-8") for path in CODE)
    for name, element in widgets().items():
        if element.get("class") in ACTED_ON and not value(element, "SlicerParameterName"):
            assert re.search(rf"\bui\.{name}\b", text), f"nothing uses {name}"


def test_bound_parameters_are_fields_of_a_kind_the_widget_shows():
    kinds = {
        "QCheckBox": r"bool",
        "QSpinBox": r"Annotated\[int, WithinRange",
        "QDoubleSpinBox": r"Annotated\[float, WithinRange",
        "qMRMLNodeComboBox": r".*vtkMRML\w+Node",
        "QComboBox": "|".join(e.__name__ for e in vars(choices).values() if is_choice(e)),
    }
    known = fields()
    assert len(bound()) >= 14
    for parameter, name in bound().items():
        assert parameter in known, f"{name} is bound to {parameter}"
        pattern = kinds[widgets()[name].get("class")]
        assert re.match(pattern, known[parameter]), f"{name}: {known[parameter]}"


def test_node_selectors_show_the_types_of_their_parameters():
    for parameter, name in bound().items():
        if widgets()[name].get("class") == "qMRMLNodeComboBox":
            types = re.findall(r"vtkMRML\w+Node", fields()[parameter])
            assert strings(widgets()[name], "nodeTypes") == types


def is_choice(thing: object) -> bool:
    return isinstance(thing, type) and issubclass(thing, choices.Choice) and len(thing) > 0


def test_combo_boxes_list_the_choices():
    for parameter, name in bound().items():
        if widgets()[name].get("class") == "QComboBox":
            enum = getattr(choices, fields()[parameter])
            shown = [
                item.find("property/string").text for item in widgets()[name].findall("item")
            ]
            assert shown == [choice.label() for choice in enum], name


def test_node_selectors_get_the_scene():
    connected = {
        c.find("receiver").text
        for c in ROOT.iter("connection")
        if c.find("sender").text == "FewShotSAM"
        and c.find("signal").text == "mrmlSceneChanged(vtkMRMLScene*)"
    }
    selectors = {n for n, e in widgets().items() if e.get("class") == "qMRMLNodeComboBox"}
    assert connected == selectors


def test_everything_says_what_it_is():
    for name, element in widgets().items():
        if element.get("class") in ACTED_ON | {"ctkCollapsibleButton"}:
            tip = value(element, "toolTip") or ""
            assert len(tip.split()) >= 3, f"{name} has no tooltip"


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("firstSliceBox", "counted from 0"),
        ("lastSliceBox", "counted from 0"),
        ("doubtfulBelowBox", "0 to 1"),
        ("reviewText", "0 to 1"),
        ("deviceText", "GiB"),
        ("showConfidenceBox", "0 to 1"),
    ],
)
def test_tooltips_of_numbers_say_their_unit(name, unit):
    assert unit in value(widgets()[name], "toolTip")


def test_everything_is_reached_with_tab_in_the_order_of_the_panel():
    stops = [stop.text for stop in ROOT.iter("tabstop")]
    acted_on = [n for n, e in widgets().items() if e.get("class") in ACTED_ON]
    assert sorted(stops) == sorted(acted_on)
    assert stops == acted_on


def test_letters_with_alt_are_unique_and_leave_slicer_its_menus():
    letters = {}
    for name, element in widgets().items():
        for letter in re.findall(r"&(\w)", value(element, "text") or ""):
            letters.setdefault(letter.lower(), []).append(name)
    assert len(letters) >= 15
    assert {letter: names for letter, names in letters.items() if len(names) > 1} == {}
    assert not set(letters) & MENU_LETTERS


def test_labels_with_a_letter_lead_somewhere():
    for name, element in widgets().items():
        if element.get("class") == "QLabel" and "&" in (value(element, "text") or ""):
            assert value(element, "buddy") in widgets(), name


def test_layout_fits_a_narrow_panel(panel):
    root, _ = panel
    assert root.minimumSizeHint().width() <= 500


def test_no_line_widens_the_panel(panel):
    """Slicer's module panel grows with its widest word and never shrinks."""
    from FewShotSAMModule.panel.words import breakable

    root, _ = panel
    width = root.minimumSizeHint().width()
    path = "/data/somebody/" + "a_folder_with_a_long_name/" * 9 + "x" * 200
    for name in ("statusText", "deviceText", "reviewText"):
        label = root.findChild(QLabel, name)
        label.setText(path)
        assert root.minimumSizeHint().width() == width, name
        label.setText(breakable(path))
        shown = label.heightForWidth(width - 40) / label.fontMetrics().lineSpacing()
        assert shown * (width - 40) > label.fontMetrics().horizontalAdvance(path), "all of it"
    assert breakable(path).replace("\u200b", "") == path
    assert breakable("Done: liver, in 3 s.") == "Done: liver, in 3 s."


# Pixels of the module panel that are left to the module in Slicer 5.12 on Linux, measured on
# pictures of it: without menus, tool bars, the module's own head, Data Probe and status bar.
ROOM = {"1920 x 1080": 900, "1366 x 768": 590}


@pytest.mark.parametrize("screen", ROOM)
def test_the_run_is_in_sight_while_the_editor_is_open(screen, scene, monkeypatch):
    import standin_application as application

    application.start(scene, monkeypatch)
    root, area = shown_panel(ROOM[screen])
    for name in ("segmentVolumeButton", "cancelButton", "progressBar", "statusText"):
        widget = root.findChild(QWidget, name)
        bottom = widget.mapTo(area.viewport(), QPoint(0, widget.height())).y()
        assert bottom < area.viewport().height(), f"{name} ends at {bottom}"
    editor = root.findChild(QWidget, "segmentEditor")
    top = editor.mapTo(area.viewport(), QPoint(0, 0)).y()
    seen = min(area.viewport().height() - top, editor.height())
    assert seen >= (editor.height() if screen == "1920 x 1080" else 100), seen
    area.deleteLater()


def shown_panel(height, width=480):
    """The panel as it is after painting, in a window with that much room."""
    import standin_application as application
    from FewShotSAMModule.panel.editor_tools import EditorTools
    from PySide6.QtWidgets import QApplication, QScrollArea

    ui, root = application.widgets(UI)
    EditorTools(ui)
    for name, visible in panel_state(Facts(volume="CT", segmentation="s", segments=2, chosen=2,
                                           job="running")).visible.items():  # fmt: skip
        getattr(ui, name).visible = visible
    for name in ("reviewSection", "manySection", "advancedSection", "installationSection"):
        getattr(ui, name).collapsed = True
    ui.statusText.text = "Following the structures: 3 of 24 done, 21 slices left, 1 min to go"
    area = QScrollArea()
    area.setWidgetResizable(True)
    area.setWidget(root)
    area.resize(width, height)
    area.show()
    QApplication.processEvents()
    return root, area


def test_slicers_own_widgets_are_reached_and_left_with_tab(monkeypatch, scene):
    import standin_application as application
    from PySide6.QtWidgets import QApplication, QTableView

    application.start(scene, monkeypatch)
    from FewShotSAMModule.panel import keyboard

    monkeypatch.setattr(keyboard, "qt", sys.modules["qt"])
    ui, root = application.widgets(UI)
    keyboard.make_reachable(ui)
    for box in root.findChildren(QWidget):
        box.setEnabled(True)
        box.setVisible(True)
    root.show()
    root.activateWindow()
    QApplication.processEvents()
    order, here = [], ui.volumeSelector.real
    here = here.focusProxy()
    for _ in range(200):
        order.append(here)
        here = here.nextInFocusChain()
        while here.focusPolicy() == Qt.NoFocus or not here.isVisible():
            here = here.nextInFocusChain()
        if here is order[0]:
            break
    stops = [[name for name in owners(one) if name in STOPS] for one in order]
    names = [found[0] for found in stops if found]
    places = [names.index(name) for name in (
        "volumeSelector", "supportSourceBox", "segmentationSelector", "supportFileEdit",
        "presetBox", "intoBox", "outputSelector", "overwriteBox", "segmentVolumeButton",
        "segmentEditor", "manyFolderEdit", "manyList", "manyOutputEdit", "manyButton", "methodBox",
        "fobWeightsEdit", "strategyBox", "copyPythonButton",
    )]  # fmt: skip
    assert places == sorted(places), names
    tables = ui.segmentEditor.real.findChildren(QTableView)
    assert tables and not any(table.tabKeyNavigation() for table in tables)
    assert ui.volumeLabel.real.buddy() is ui.volumeSelector.real.focusProxy()
    root.deleteLater()


STOPS = {stop.text for stop in ROOT.iter("tabstop")}


def owners(widget):
    """Names of a widget and of what it is a part of, from inside."""
    while widget is not None:
        yield widget.objectName()
        widget = widget.parentWidget()
