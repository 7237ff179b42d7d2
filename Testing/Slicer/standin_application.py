"""Stand-ins for what slicer-core lacks of the application, to try the panel's wiring with.

Widgets are PySide6's, spoken to as PythonQt does: properties are attributes, signals are connected
by their signature. The scene, the library and the segmentation process are the real ones. What
runs on it has no typing errors and sensible order; that it works in Slicer, only Slicer shows.
"""

from __future__ import annotations

import importlib
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from standin_widgets import load_panel

MODULE = Path(__file__).resolve().parents[2] / "FewShotSAM"


class PythonQt:
    """A QObject as PythonQt shows it."""

    def __init__(self, real: QtCore.QObject) -> None:
        object.__setattr__(self, "real", real)

    def __getattr__(self, name: str) -> Any:
        real = self.real
        if real.metaObject().indexOfProperty(name) >= 0:
            return real.property(name)
        found = getattr(real, name)
        if not callable(found):
            return _shown(found)
        return lambda *arguments: _shown(found(*map(_real, arguments)))

    def __setattr__(self, name: str, value: Any) -> None:
        assert self.real.metaObject().indexOfProperty(name) >= 0, f"no property {name}"
        self.real.setProperty(name, _real(value))

    def connect(self, signature: str, slot: Callable[..., None]) -> None:
        """As in `button.connect("clicked(bool)", f)`."""
        normal = QtCore.QMetaObject.normalizedSignature(signature).data().decode()
        name, own = normal.split("(")[0], ("currentNodeChanged",)
        assert name in own or self.real.metaObject().indexOfSignal(normal) >= 0, signature
        getattr(self.real, name).connect(slot)


def _shown(thing: Any) -> Any:
    if isinstance(thing, list):
        return [_shown(one) for one in thing]
    return PythonQt(thing) if isinstance(thing, QtCore.QObject) else thing


def _real(thing: Any) -> Any:
    if thing is _Widget:
        return QtWidgets.QWidget
    return thing.real if isinstance(thing, PythonQt) else thing


class _Widget(QtWidgets.QWidget):
    @staticmethod
    def setTabOrder(before: PythonQt, after: PythonQt) -> None:
        QtWidgets.QWidget.setTabOrder(_real(before), _real(after))


class _Timer(PythonQt):
    """Known until nobody holds it any more, so that `rings_soon` can ask for it."""

    known: ClassVar[weakref.WeakSet[_Timer]] = weakref.WeakSet()
    shots: ClassVar[list[_Timer]] = []  # which nobody else holds

    def __init__(self) -> None:
        super().__init__(QtCore.QTimer())
        self.known.add(self)

    @classmethod
    def singleShot(cls, milliseconds: int, slot: Callable[[], None]) -> None:
        """Calls ``slot`` once."""
        timer = cls()
        timer.setSingleShot(True)
        timer.connect("timeout()", slot)
        cls.shots[:] = [*(shot for shot in cls.shots if shot.isActive()), timer]
        timer.start(milliseconds)


def rings_soon() -> bool:
    """Whether a timer that rings once was started and has not rung."""
    return any(timer.isActive() and timer.isSingleShot() for timer in list(_Timer.known))


def _qt() -> ModuleType:
    module = ModuleType("qt")
    for name in (
        "QListWidgetItem", "QTableWidgetItem", "QAbstractItemView", "QHeaderView", "QLineEdit",
        "QTableView",
    ):  # fmt: skip
        setattr(module, name, getattr(QtWidgets, name))
    for name in ("QPixmap", "QIcon", "QColor", "QBrush"):
        setattr(module, name, getattr(QtGui, name))
    module.QComboBox, module.QWidget = QtWidgets.QComboBox, _Widget
    module.Qt, module.QTimer = QtCore.Qt, _Timer
    module.QApplication = SimpleNamespace(clipboard=lambda: _Clipboard)
    module.QFileDialog = FileDialog
    return module


class FileDialog:
    """Answers with what a test has put here; "" is Cancel."""

    answer = ""

    @classmethod
    def getSaveFileName(cls, *_: Any) -> str:
        return cls.answer

    getExistingDirectory = getSaveFileName


class _Clipboard:
    text = ""

    @classmethod
    def setText(cls, text: str) -> None:
        cls.text = text


def clipboard() -> str:
    """What was copied last."""
    return _Clipboard.text


class Parameters:
    """A parameter node: attributes, and an event when one changes."""

    def __init__(self, **values: Any) -> None:
        object.__setattr__(self, "events", vtk.vtkObject())
        object.__setattr__(self, "bindings", {})
        self.__dict__.update(values)

    def __setattr__(self, name: str, value: Any) -> None:
        assert name in self.__dict__, name
        if self.__dict__[name] != value:
            self.__dict__[name] = value
            self.events.Modified()

    def AddObserver(self, event: int, method: Callable[..., None], priority: float = 0.0) -> int:
        return self.events.AddObserver(event, method, priority)

    def RemoveObserver(self, tag: int) -> None:
        self.events.RemoveObserver(tag)

    def connectGui(self, ui: Any) -> int:
        """Slicer binds the widgets; here the tests set the values."""
        self.bindings[1] = ui
        return 1

    def disconnectGui(self, tag: int) -> None:
        """Without the tag, Slicer's unbinds nothing and says nothing."""
        del self.bindings[tag]


class Layout:
    """The layout manager: slice views, and a signal when others are shown."""

    def __init__(self, scene: Any) -> None:
        self._scene, self._views, self._slots = scene, {}, []

    def sliceViewNames(self) -> list[str]:
        return list(self._views)

    def sliceWidget(self, name: str) -> Any:
        return self._views.get(name)

    def connect(self, signature: str, slot: Callable[[int], None]) -> None:
        assert signature == "layoutChanged(int)"
        self._slots.append(slot)

    def disconnect(self, signature: str, slot: Callable[[int], None]) -> None:
        assert signature == "layoutChanged(int)"
        self._slots.remove(slot)

    def add(self, name: str, direction: str) -> Any:
        """Another slice view; returns its node. Says nothing."""
        node = self._scene.AddNewNodeByClass("vtkMRMLSliceNode", name)
        node.SetLayoutName(name)
        node.SetOrientation(direction)
        node.SetMappedInLayout(1)
        composite = self._scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode", name)
        composite.SetLayoutName(name)
        self._views[name] = SimpleNamespace(
            mrmlSliceNode=lambda: node, mrmlSliceCompositeNode=lambda: composite
        )
        return node

    def change(self) -> None:
        """Tells that another layout is shown."""
        for slot in list(self._slots):
            slot(1)


def start(scene: Any, monkeypatch: Any) -> None:
    """Makes `slicer` and `qt` look like the application's, until the test ends."""
    application = QtWidgets.QApplication.instance() or QtWidgets.QApplication([])
    monkeypatch.setitem(sys.modules, "qt", _qt())
    ctk = ModuleType("ctk")
    ctk.ctkPathLineEdit = SimpleNamespace(Dirs=1)
    monkeypatch.setitem(sys.modules, "ctk", ctk)
    words = ModuleType("slicer.i18n")
    words.tr = lambda text: text
    monkeypatch.setitem(sys.modules, "slicer.i18n", words)
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene)
    manager = Layout(scene)
    for name, direction in (("Red", "Axial"), ("Yellow", "Sagittal"), ("Green", "Coronal")):
        manager.add(name, direction)
    monkeypatch.setattr(
        slicer, "app",
        SimpleNamespace(
            layoutManager=lambda: manager, testingEnabled=lambda: False,
            processEvents=application.processEvents,
        ),
        raising=False,
    )  # fmt: skip
    monkeypatch.setattr(slicer.util, "mainWindow", lambda: None, raising=False)


# What stands in for parts of the module itself, and is there again when it is read again.
_of_the_shell: dict[str, ModuleType] = {}


class _ScriptedPart:
    """What the module's classes inherit from."""

    def __init__(self, parent: Any = None) -> None:
        self.parent, self.layout = parent, SimpleNamespace(addWidget=lambda widget: None)
        self.moduleName = type(self).__name__

    def setup(self) -> None:
        """Slicer adds its Reload buttons here."""

    def resourcePath(self, name: str) -> str:
        return str(MODULE / "Resources" / name)

    def getParameterNode(self) -> None:
        """Slicer's node in the scene."""

    def onReload(self) -> None:
        """Slicer reads the file again and sets up a widget of what it finds, in the same place."""
        sys.modules.pop("FewShotSAM", None)
        sys.modules.update(_of_the_shell)
        module = importlib.import_module("FewShotSAM")
        widget = module.FewShotSAMWidget(self.parent)
        widget.setup()
        slicer.modules.FewShotSAMWidget = widget


def shell(monkeypatch: Any, parameters: Callable[[], Parameters]) -> ModuleType:
    """FewShotSAM.py, imported as Slicer does at its start.

    Args:
        parameters: makes what the parameter node holds.
    """
    base = ModuleType("slicer.ScriptedLoadableModule")
    for name in ("", "Logic", "Widget", "Test"):
        made = type(f"ScriptedLoadableModule{name}", (_ScriptedPart,), {})
        setattr(base, made.__name__, made)
    monkeypatch.setitem(sys.modules, base.__name__, base)
    sys.modules["slicer.i18n"].translate = lambda context, text: text
    node = ModuleType("FewShotSAMModule.panel.parameters")
    node.FewShotSAMParameters = lambda _: parameters()
    monkeypatch.setitem(sys.modules, node.__name__, node)
    _of_the_shell[node.__name__] = node
    monkeypatch.setattr(slicer.app, "connect", lambda signal, slot: None, raising=False)
    monkeypatch.setattr(
        slicer.util, "loadUI", lambda path: PythonQt(load_panel(Path(path))), raising=False
    )
    monkeypatch.setattr(slicer.util, "childWidgetVariables", _children, raising=False)
    monkeypatch.delitem(sys.modules, "FewShotSAM", raising=False)
    return importlib.import_module("FewShotSAM")


def _children(root: PythonQt) -> SimpleNamespace:
    named = {w.objectName(): PythonQt(w) for w in root.real.findChildren(QtWidgets.QWidget)}
    return SimpleNamespace(**{name: w for name, w in named.items() if name.isidentifier()})


def widgets(path: Path) -> tuple[SimpleNamespace, QtWidgets.QWidget]:
    """The widgets of a .ui file by name, and their root."""
    root = load_panel(path)
    return _children(PythonQt(root)), root
