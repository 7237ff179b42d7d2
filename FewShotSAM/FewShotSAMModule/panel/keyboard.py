"""Everything of the panel is reached with the keyboard, in the order in which it is seen."""

from __future__ import annotations

from typing import Any

import qt

_SELECTORS = {
    "volumeSelector": "volumeLabel",
    "segmentationSelector": "segmentationLabel",
    "outputSelector": "outputLabel",
}
# Where Qt's own chain from the .ui file breaks: before and behind each of Slicer's widgets, which
# are boxes around what takes the keyboard.
_CHAINS = (
    ("volumeSelector", "supportSourceBox", "segmentationSelector", "supportFileEdit",
     "structuresList"),
    ("intoBox", "outputSelector", "overwriteBox"),
    ("liveBox", "segmentEditor", "manyFolderEdit", "manyList", "manyOutputEdit",
     "manyButton", "methodBox", "fobWeightsEdit", "strategyBox"),
)  # fmt: skip


def make_reachable(ui: Any) -> None:
    """Sets what a .ui file cannot say of Slicer's widgets.

    Args:
        ui: the widgets of FewShotSAM.ui, by name.
    """
    for name, label in _SELECTORS.items():
        selector = getattr(ui, name)
        inner = selector.findChildren(qt.QComboBox)[0]
        selector.setFocusProxy(inner)
        getattr(ui, label).setBuddy(inner)
    for table in ui.segmentEditor.findChildren(qt.QTableView):
        table.setTabKeyNavigation(False)  # or Tab goes round within the table
    for chain in _CHAINS:
        stops = [getattr(ui, name) for name in chain]
        for before, after in zip(stops[:-1], stops[1:]):
            qt.QWidget.setTabOrder(_inner(before)[-1], _inner(after)[0])


def _inner(widget: Any) -> list[Any]:
    """What takes the keyboard in a widget, in its own order."""
    if widget.focusPolicy != qt.Qt.NoFocus:
        return [widget]
    parts = [one for one in widget.findChildren(qt.QWidget) if one.focusPolicy != qt.Qt.NoFocus]
    return parts or [widget]
