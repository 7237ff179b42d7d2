"""Stand-ins for Slicer's own widget classes, so that PySide6 can load the module's .ui file.

They have the properties that the file sets, and the slots that it connects, and nothing else: a
file that loads with them is valid and complete, which is no proof that the panel works in Slicer.
"""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Property, QObject, Signal, Slot
from PySide6.QtUiTools import QUiLoader
from PySide6.QtWidgets import QComboBox, QGroupBox, QHBoxLayout, QLineEdit, QWidget


class qMRMLWidget(QWidget):
    """The root."""

    mrmlSceneChanged = Signal("vtkMRMLScene*")

    def setMRMLScene(self, scene: object) -> None:
        """Slicer's passes it on to the selectors."""


def _kept(kind: type, start: object) -> Property:
    """A property that keeps what it is given."""
    values: dict[int, object] = {}
    return Property(
        kind,
        lambda self: values.get(id(self), start),
        lambda self, value: values.__setitem__(id(self), value),
    )


class ctkCollapsibleButton(QGroupBox):
    """A section."""

    text = Property(str, QGroupBox.title, QGroupBox.setTitle)
    collapsed = _kept(bool, False)


class ctkPathLineEdit(QWidget):
    """A path. Its own signals are left out: they do not tell of every change."""

    nameFilters = _kept("QStringList", [])

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._line = QLineEdit()
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._line)

    def _path(self) -> str:
        return self._line.text()

    def _set_path(self, path: str) -> None:
        self._line.setText(path)

    currentPath = Property(str, _path, _set_path)


class qMRMLNodeComboBox(QComboBox):
    """A node."""

    nodeTypes = _kept("QStringList", [])
    showChildNodeTypes = _kept(bool, True)
    addEnabled = _kept(bool, True)
    removeEnabled = _kept(bool, True)
    renameEnabled = _kept(bool, False)
    noneEnabled = _kept(bool, False)
    currentNodeChanged = Signal(object)
    node: object = None

    @Slot("vtkMRMLScene*")
    def setMRMLScene(self, scene: object) -> None:
        """Slicer's slot; there is no scene here."""

    def setCurrentNode(self, node: object) -> None:
        """Tells of a change, as Slicer's does."""
        if node is not self.node:
            self.node = node
            self.currentNodeChanged.emit(node)


class qMRMLSegmentEditorWidget(qMRMLWidget):
    """The editor."""

    segmentationNodeSelectorVisible = _kept(bool, True)
    sourceVolumeNodeSelectorVisible = _kept(bool, True)
    maximumNumberOfUndoStates = _kept(int, 0)
    defaultTerminologyEntrySettingsKey = _kept(str, "")
    edited: object = None
    undo_states = 0
    scene: object = None

    def setMRMLScene(self, scene: object) -> None:
        self.scene = scene

    def segmentationNode(self) -> object:
        return self.edited

    def setSegmentationNode(self, node: object) -> None:
        """Slicer's does not look while nodes are being added in one go."""
        if self.scene is None or not self.scene.IsBatchProcessing():
            self.edited = node

    def setSourceVolumeNode(self, node: object) -> None:
        """It edits nothing."""

    def setMRMLSegmentEditorNode(self, node: object) -> None:
        self.editor_node = node

    def setActiveEffect(self, effect: object) -> None:
        """It has none."""

    def saveStateForUndo(self) -> None:
        self.undo_states += 1

    def setupViewObservations(self) -> None:
        """There are no views to observe."""

    removeViewObservations = installKeyboardShortcuts = setupViewObservations
    uninstallKeyboardShortcuts = setupViewObservations


STAND_INS = (
    qMRMLWidget,
    ctkCollapsibleButton,
    ctkPathLineEdit,
    qMRMLNodeComboBox,
    qMRMLSegmentEditorWidget,
)


def load_panel(path: Path) -> QObject:
    """The root widget of a .ui file.

    Raises:
        RuntimeError: PySide6 cannot load it.
    """
    loader = QUiLoader()
    for stand_in in STAND_INS:
        loader.registerCustomWidget(stand_in)
    return loader.load(str(path))
