"""Stand-ins for Slicer's own widget classes, so that PySide6 can load the module's .ui file.

They have the properties that the file sets, and the slots that it connects, and nothing else: a
file that loads with them is valid and complete, which is no proof that the panel works in Slicer.
"""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Property, QObject, Signal, Slot
from PySide6.QtUiTools import QUiLoader
from PySide6.QtWidgets import (
    QComboBox,
    QGridLayout,
    QGroupBox,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QTableView,
    QVBoxLayout,
    QWidget,
)


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
    _collapsed = False

    def _set_collapsed(self, collapsed: bool) -> None:
        self._collapsed = collapsed
        self.setMaximumHeight(26 if collapsed else 16777215)

    collapsed = Property(bool, lambda self: self._collapsed, _set_collapsed)


class ctkPathLineEdit(QWidget):
    """A path. Its own signals are left out: they do not tell of every change."""

    filters = _kept(int, 0)
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


class qMRMLNodeComboBox(QWidget):
    """A node. A box around what takes the keyboard, which takes none itself."""

    nodeTypes = _kept("QStringList", [])
    showChildNodeTypes = _kept(bool, True)
    addEnabled = _kept(bool, True)
    removeEnabled = _kept(bool, True)
    renameEnabled = _kept(bool, False)
    noneEnabled = _kept(bool, False)
    currentNodeChanged = Signal(object)
    node: object = None

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._box = QComboBox()
        row.addWidget(self._box)

    @Slot("vtkMRMLScene*")
    def setMRMLScene(self, scene: object) -> None:
        """Slicer's slot; there is no scene here."""

    def setCurrentNode(self, node: object) -> None:
        """Tells of a change, as Slicer's does."""
        if node is not self.node:
            self.node = node
            self._box.clear()
            self._box.addItem(node.GetName() if node is not None else "None")
            self.currentNodeChanged.emit(node)


# Of Slicer 5.12, as its buttons stand.
EFFECTS = (
    "Threshold", "Paint", "Draw", "Erase", "Level tracing", "Grow from seeds",
    "Fill between slices", "Margin", "Hollow", "Smoothing", "Scissors", "Islands",
    "Logical operators", "Mask volume",
)  # fmt: skip


class qMRMLSegmentEditorWidget(qMRMLWidget):
    """The editor, about as high as Slicer's with the options of the brush."""

    segmentationNodeSelectorVisible = _kept(bool, True)
    sourceVolumeNodeSelectorVisible = _kept(bool, True)
    maximumNumberOfUndoStates = _kept(int, 0)
    defaultTerminologyEntrySettingsKey = _kept(str, "")
    edited: object = None
    source: object = None
    undo_states = 0
    scene: object = None

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.order: list[str] = []
        self._unordered = True
        self.complaints: list[str] = []
        whole = QVBoxLayout(self)
        row = QHBoxLayout()
        for word in ("Add", "Remove", "Show 3D"):
            row.addWidget(QPushButton(word))
        whole.addLayout(row)
        row = QHBoxLayout()
        self._tools = QGridLayout()
        row.addLayout(self._tools)
        self._table = QTableView()
        self._table.setMinimumHeight(60)
        row.addWidget(self._table)
        whole.addLayout(row)
        for word, height in (("Paint", 110), ("Masking", 110)):
            options = QGroupBox(word)
            options.setFixedHeight(height)
            whole.addWidget(options)
        self._show_tools()

    def shown_tools(self) -> list[str]:
        """Names of the buttons that are shown."""
        further = [one for one in EFFECTS if one not in self.order] if self._unordered else []
        return [*self.order, *further]

    def _show_tools(self) -> None:
        while self._tools.count():
            button = self._tools.takeAt(0).widget()
            button.hide()
            button.deleteLater()
        for n, name in enumerate(["None", *self.shown_tools()]):
            button = QPushButton(name[:2])
            button.setFixedSize(30, 28)
            self._tools.addWidget(button, n // 2, n % 2)

    def _set_unordered(self, visible: bool) -> None:
        self._unordered = visible
        self._show_tools()

    unorderedEffectsVisible = Property(bool, lambda self: self._unordered, _set_unordered)

    def setEffectNameOrder(self, names: list[str]) -> None:
        self.order = list(names)
        self._show_tools()

    def setMRMLScene(self, scene: object) -> None:
        self.scene = scene

    def segmentationNode(self) -> object:
        return self.edited

    def setSegmentationNode(self, node: object) -> None:
        """Slicer's does not look while nodes are being added in one go."""
        if self.scene is None or not self.scene.IsBatchProcessing():
            self.edited = node

    def setSourceVolumeNode(self, node: object) -> None:
        """Slicer's takes one together with a segmentation only, and complains otherwise."""
        if self.edited is not None:
            self.source = node
        elif node is not None:
            self.complaints.append("need to set segment editor and segmentation nodes first")

    def setMRMLSegmentEditorNode(self, node: object) -> None:
        self.editor_node = node

    def setActiveEffect(self, effect: object) -> None:
        """It has none."""

    def saveStateForUndo(self) -> None:
        self.undo_states += 1

    shown = False

    def setupViewObservations(self) -> None:
        """The module is shown."""
        self.shown = True

    def removeViewObservations(self) -> None:
        """Another one is."""
        self.shown = False

    def installKeyboardShortcuts(self) -> None:
        """It has none."""

    uninstallKeyboardShortcuts = installKeyboardShortcuts


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
