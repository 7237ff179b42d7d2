"""FewShotSAM in 3D Slicer: mark a structure on one slice, get the segmentation of the volume.

This file is the shell that Slicer looks for; the parts lie in FewShotSAMModule, and what they
compute with in FewShotSAMLib, which knows nothing of Slicer.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

try:
    import FewShotSAMLib  # noqa: F401 installed beside this module
except ImportError:  # a source checkout, where it lies one folder up
    sys.path.append(str(Path(__file__).resolve().parents[1]))

from FewShotSAMModule.runs import logic as runs
from FewShotSAMModule.runs import many
from FewShotSAMModule.runs.sample_abdomen import register_sample_data


class FewShotSAM(ScriptedLoadableModule):
    """What Slicer knows of the module before it is opened."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = "FewShotSAM"
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = ["Segmentations", "SubjectHierarchy", "Volumes"]
        parent.contributors = ["FewShotSAM developers"]
        parent.helpText = _(
            "Paint a structure on one slice and press Segment volume: the other slices are "
            "segmented by prompting a segment-anything model, and the result can be edited like "
            "any segmentation. Review shows the slices to look at first. The embedded model needs "
            "no download and no GPU. For research, not a medical device. "
            '<a href="https://github.com/FewShotSAM/FewShotSAM#in-3d-slicer">Documentation</a>'
        )
        parent.acknowledgementText = _(
            "Prompts after SynPo (MICCAI 2025) and FoB (CVPR 2026). Networks: the embedded ones of "
            "this project, Segment Anything 1 and 2.1 and DINOv2 (Meta)."
        )
        slicer.app.connect("startupCompleted()", register_sample_data)


class FewShotSAMWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Binds the panel to the scene; everything else is in FewShotSAMModule.panel."""

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: FewShotSAMLogic | None = None
        self.panel: Any = None

    def setup(self) -> None:
        """The module is opened for the first time."""
        from FewShotSAMModule.panel.panel import Panel

        ScriptedLoadableModuleWidget.setup(self)
        root = slicer.util.loadUI(self.resourcePath("UI/FewShotSAM.ui"))
        self.layout.addWidget(root)
        ui = slicer.util.childWidgetVariables(root)
        self.logic = FewShotSAMLogic()
        ui.segmentEditor.setMRMLSegmentEditorNode(_editor_node())
        ui.segmentEditor.setMRMLScene(slicer.mrmlScene)
        root.setMRMLScene(slicer.mrmlScene)
        self.panel = Panel(ui, self.logic)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self._on_scene_closes)
        self.addObserver(scene, scene.EndCloseEvent, self._on_scene_is_there)
        self.addObserver(scene, scene.EndImportEvent, self._on_scene_is_there)
        self._bind()

    def enter(self) -> None:
        """The module is shown."""
        if self.panel is None:  # reloaded: another widget is there
            return
        if self.panel.parameters is None:
            self._bind()
        self.panel.enter()

    def exit(self) -> None:
        """Another module is shown."""
        if self.panel is not None:
            self.panel.exit()

    def cleanup(self) -> None:
        """The widget goes away: the module is reloaded, or Slicer ends."""
        self.removeObservers()
        if self.panel is not None:
            self.panel.close()
            self.panel = None
            self.logic.close()

    def onReload(self) -> None:
        """Developers' Reload: the parts are read again as well, and what they had going ends."""
        self.cleanup()
        for name in list(sys.modules):
            if name.split(".")[0] in ("FewShotSAMModule", "FewShotSAMLib"):
                del sys.modules[name]
        super().onReload()
        # Slicer shows the new widget and tells it nothing.
        fresh = getattr(slicer.modules, "FewShotSAMWidget", None)
        if fresh is not None and fresh is not self:
            fresh.enter()

    def _bind(self) -> None:
        from FewShotSAMModule.panel.parameters import FewShotSAMParameters

        self.panel.ui.segmentEditor.setMRMLSegmentEditorNode(_editor_node())
        self.panel.set_parameters(FewShotSAMParameters(self.logic.getParameterNode()))

    def _on_scene_closes(self, _caller: Any, _event: Any) -> None:
        self.panel.set_parameters(None)
        runs.forget_sources()

    def _on_scene_is_there(self, _caller: Any, _event: Any) -> None:
        import qt

        # The event comes while nodes are still being added in one go, when widgets do not look.
        qt.QTimer.singleShot(0, self._bind_if_shown)

    def _bind_if_shown(self) -> None:
        if self.panel is not None and self.parent.isEntered:
            self._bind()


def _editor_node() -> Any:
    """What the module's own Segment Editor remembers."""
    scene, kind = slicer.mrmlScene, "vtkMRMLSegmentEditorNode"
    node = scene.GetSingletonNode("FewShotSAM", kind)
    if node is None:
        node = scene.CreateNodeByClass(kind)
        node.UnRegister(None)
        node.SetSingletonTag("FewShotSAM")
        node = scene.AddNode(node)
    return node


class FewShotSAMLogic(ScriptedLoadableModuleLogic):
    """Segmentation for the console, scripts and other modules, with and without a window.

    `segment` fills a volume from one painted slice, `segment_slice` does one slice, and
    `segment_many` (or `segmentMany`) many volumes by saved supports. `help()` of each says every
    parameter, and they have the library's names and defaults. For example, with a structure
    painted on one slice in the segmentation "Segmentation" of the volume "CT":

        from FewShotSAM import FewShotSAMLogic
        volume = slicer.util.getNode("CT")
        painted = slicer.util.getNode("Segmentation")
        logic = FewShotSAMLogic()
        result = logic.segment(volume, painted)

    Without waiting, polled from a timer or a loop:

        run = logic.segment(volume, painted, wait=False)
        while not run.over:
            run.poll()
            slicer.app.processEvents()
        print(run.state, run.message, run.node)

    An unusable input raises `FewShotSAMLib.InputError` with one line; whatever happens, the scene
    is either as it was or has the whole result.
    """

    segment = staticmethod(runs.segment)
    segment_slice = staticmethod(runs.segment_slice)
    segment_many = segmentMany = staticmethod(many.segment_many)
    worker = staticmethod(runs.shared_worker)

    def close(self) -> None:
        """Lets the segmentation process and the last volume's copy go; a run starts it again."""
        runs.forget_sources()
        runs.shared_worker().close()


class FewShotSAMTest(ScriptedLoadableModuleTest):
    """The self test of Slicer's Reload & Test; needs PyTorch installed and no download."""

    def setUp(self) -> None:
        """An empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        """Every step, each in a scene of its own."""
        from FewShotSAMModule import self_test
        from FewShotSAMModule.installation import dependencies

        if lacking := dependencies.missing("embedded"):
            line = f"Not tested, not installed: {', '.join(one.name for one in lacking)}"
            if slicer.app.testingEnabled():
                self.skipTest(line)
            self.delayDisplay(line)
            return
        for step in self_test.STEPS:
            self.setUp()
            self.delayDisplay(step.__doc__.splitlines()[0])
            step(FewShotSAMLogic())
        self.delayDisplay("All steps passed")
