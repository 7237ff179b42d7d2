"""The panel: shows what is chosen, starts runs, and passes their results on.

What may be done when is decided in `panel_state`; this file gathers the facts and applies the
answer. Runs are started by the module's logic and watched from a timer.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from FewShotSAMLib import InputError

from ..installation.needed_networks import is_fob_weights
from ..scene.painted import painted_axis
from ..scene.viewing import array_axis, slice_shown, view_of
from . import state as states
from .choices import Axis, SupportSource
from .installation_section import Installation
from .prompts_section import PromptsPanel
from .request import Request
from .review_section import ReviewPanel
from .run_section import RunsPanel
from .state import Facts, panel_state
from .structures_list import StructuresList


class Panel(slicer.util.VTKObservationMixin):
    """What is chosen and what can be done; `RunsPanel` does it.

    Args:
        ui: the widgets of FewShotSAM.ui, by name.
        logic: a `FewShotSAMLogic`.
    """

    def __init__(self, ui: Any, logic: Any) -> None:
        slicer.util.VTKObservationMixin.__init__(self)
        self.ui, self.logic = ui, logic
        self.parameters: Any = None
        self._bound = None
        self._axis: str | None = None
        self._seen: tuple[Any, Any] = (None, None)
        self._hint = ""
        self.structures = StructuresList(ui, self._on_ticks)
        self.request = Request(self)
        self.runs = RunsPanel(self)
        self.review = ReviewPanel(self)
        self.prompts = PromptsPanel(self)
        self.installation = Installation(self)
        self._soon = qt.QTimer()
        self._soon.setSingleShot(True)
        self._soon.setInterval(50)
        self._soon.connect("timeout()", self.refresh)
        self._list_soon = qt.QTimer()
        self._list_soon.setSingleShot(True)
        self._list_soon.setInterval(200)
        self._list_soon.connect("timeout()", self._list_structures)
        self._connect()

    # Life of the module's widget

    def _connect(self) -> None:
        ui = self.ui
        ui.segmentEditor.defaultTerminologyEntrySettingsKey = "FewShotSAM/DefaultTerminologyEntry"
        ui.segmentationSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._on_segmentation)
        _typed(ui.supportFileEdit).connect("textChanged(QString)", self._on_support_file)
        _typed(ui.fobWeightsEdit).connect("textChanged(QString)", self._on_fob_weights)
        ui.copyPythonButton.connect("clicked(bool)", self._on_copy)
        self.addObserver(
            slicer.mrmlScene, slicer.vtkMRMLScene.NodeRemovedEvent, self._on_node_removed
        )

    def enter(self) -> None:
        """The module is shown."""
        self.ui.segmentEditor.setupViewObservations()
        self.ui.segmentEditor.installKeyboardShortcuts()
        self.removeObservers(self._on_view)
        for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self._on_view)
        self.refresh()
        if self.parameters.keepWarm:
            self.installation.greet()

    def exit(self) -> None:
        """Another module is shown. A run goes on; its points are put away."""
        self.prompts.hide()
        self.ui.segmentEditor.setActiveEffect(None)
        self.ui.segmentEditor.uninstallKeyboardShortcuts()
        self.ui.segmentEditor.removeViewObservations()
        self.removeObservers(self._on_view)

    def close(self) -> None:
        """The widget goes away."""
        self.set_parameters(None)
        self.runs.watch.stop()
        self.installation.stop()
        self.removeObservers()

    def set_parameters(self, parameters: Any | None) -> None:
        """Binds the widgets to another parameter node; None while the scene is closed."""
        if self.parameters is not None:
            self.parameters.disconnectGui(self._bound)
            self.removeObserver(self.parameters, vtk.vtkCommand.ModifiedEvent, self._on_modified)
        if parameters is None:
            self.runs.drop()
            self.prompts.hide()
            self.review.show(None, None)
            self._seen = (None, None)
            self.ui.segmentEditor.setSegmentationNode(None)
            self.ui.segmentEditor.removeViewObservations()
        self.parameters = parameters
        if parameters is None:
            return
        self._bound = parameters.connectGui(self.ui)
        self.addObserver(parameters, vtk.vtkCommand.ModifiedEvent, self._on_modified)
        self._show_unbound()
        if parameters.volume is None:
            # Label maps are scalar volumes too.
            volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
            plain = (v for v in volumes if not v.IsA("vtkMRMLLabelMapVolumeNode"))
            parameters.volume = next(plain, None)
        self._show_inputs()
        self.refresh()

    # What is chosen

    @property
    def idle(self) -> bool:
        return not self.runs.watch.busy and not self.installation.busy

    def say(self, text: str) -> None:
        """One line under the buttons."""
        self.ui.statusText.text = text

    def slice_nodes(self) -> list[Any]:
        """The slice views that are shown now."""
        manager = slicer.app.layoutManager()
        if manager is None:
            return []
        nodes = [manager.sliceWidget(name).mrmlSliceNode() for name in manager.sliceViewNames()]
        return [node for node in nodes if node.IsMappedInLayout()]

    def axis(self) -> str | None:
        """The direction of the painted slices; None while it is not known."""
        chosen = self.parameters.axis
        if chosen is not Axis.auto:
            return chosen.value
        return self._axis

    def place(self) -> tuple[int, int, Any] | None:
        """(array axis, slice, slice node) that is shown of the volume, or None."""
        volume, word = self.parameters.volume, self.axis()
        review = self.review.review
        if volume is None or volume.GetImageData() is None or not (word or review):
            return None
        try:
            axis = array_axis(volume, word) if word else review.array_axis
            view = self.view(axis)
            index = slice_shown(volume, axis, view) if view is not None else None
        except InputError:
            return None
        return None if index is None else (axis, index, view)

    def view(self, axis: int) -> Any | None:
        """The slice view of the volume's slices along an array axis, or None."""
        return view_of(self.parameters.volume, axis, self.slice_nodes())

    def facts(self) -> Facts:
        """What there is at this moment."""
        p = self.parameters
        volume, drawn, output = p.volume, p.supportSegmentation, p.output
        place = self.place()
        job = states.IDLE
        if self.installation.busy:
            job = states.INSTALLING
        elif self.runs.watch.busy:
            job = states.CANCELLING if self.runs.watch.cancelling else states.RUNNING
        return Facts(
            volume=volume.GetName() if volume else "",
            source=p.supportSource,
            segmentation=drawn.GetName() if drawn else "",
            segments=len(self.structures.segments),
            chosen=len(self.structures.chosen),
            support_file=p.supportFile,
            support_file_exists=bool(p.supportFile) and Path(p.supportFile).is_file(),
            method=p.method,
            fob_weights=p.fobWeights,
            fob_weights_known=is_fob_weights(p.fobWeights),
            into=p.into,
            output=output.GetName() if output else "",
            output_is_support=output is not None and output is drawn,
            job=job,
            first=p.firstSlice,
            last=p.lastSlice,
            slices=self.slices(),
            current_slice=place[1] if place else None,
            to_install=self.installation.packages,
            to_download=self.installation.weights,
            reviewed=self.review.review is not None,
            doubtful=len(self.review.review.doubtful) if self.review.review else 0,
            decision=self.review.decision(place),
            has_prompts=self.prompts.shown,
            undoable=self.runs.last is not None,
        )

    def slices(self) -> int:
        """Slices of the volume along the painted direction; 0 while it is not known."""
        volume, word = self.parameters.volume, self.axis()
        if volume is None or volume.GetImageData() is None or word is None:
            return 0
        try:
            return volume.GetImageData().GetDimensions()[2 - array_axis(volume, word)]
        except InputError:
            return 0

    # What is shown

    def refresh(self) -> None:
        """Applies the decisions to the widgets."""
        if self.parameters is None:
            return
        self.installation.look(self.request.networks())
        state = panel_state(self.facts())
        for name, enabled in state.enabled.items():
            getattr(self.ui, name).enabled = enabled
        for name, visible in state.visible.items():
            getattr(self.ui, name).visible = visible
        self.ui.segmentVolumeButton.toolTip = state.hint or _("Segment all slices, or the range")
        self.ui.segmentSliceButton.toolTip = state.slice_hint or _("Segment the slice shown")
        # A hint goes when what it asked for is done; what a run said stays.
        if self.idle and (state.hint or self.ui.statusText.text == self._hint):
            self.say(state.hint)
            self._hint = state.hint
        place = self.place()
        self.review.follow(place)
        self.prompts.follow(place)

    def refresh_soon(self, *_: Any) -> None:
        """Many events, one refresh."""
        self._soon.start()

    def _show_unbound(self) -> None:
        """Shows the parameters that no `SlicerParameterName` binds; a script or a scene that was
        loaded into this one changes them as well."""
        ui, p = self.ui, self.parameters
        ui.segmentationSelector.setCurrentNode(p.supportSegmentation)
        for edit, path in ((ui.supportFileEdit, p.supportFile), (ui.fobWeightsEdit, p.fobWeights)):
            if edit.currentPath != path:  # or the cursor would leave its place
                edit.currentPath = path

    def _show_inputs(self) -> None:
        p = self.parameters
        seen = (p.volume, p.supportSegmentation)
        if seen != self._seen:
            another_volume = seen[0] is not self._seen[0]
            self._seen = seen
            self._show_segmentation()
            editor = self.ui.segmentEditor
            editor.setSegmentationNode(p.supportSegmentation)
            editor.setSourceVolumeNode(p.volume)
            self.prompts.hide()
            if another_volume:
                self.review.find()

    def _show_segmentation(self) -> None:
        node = self.parameters.supportSegmentation
        self.removeObservers(self._on_segments)
        if node is not None:
            segmentation = node.GetSegmentation()
            for event in (
                segmentation.SegmentAdded, segmentation.SegmentRemoved,
                segmentation.SegmentModified, segmentation.SegmentsOrderModified,
                segmentation.SourceRepresentationModified,
            ):  # fmt: skip
                self.addObserver(segmentation, event, self._on_segments)
            volume = self.parameters.volume
            if volume is not None and not segmentation.GetNumberOfSegments():
                node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        self._list_structures()

    def _list_structures(self) -> None:
        """The segments may have changed: their list, and the direction they are painted in."""
        p = self.parameters
        if p is None:
            return
        self.structures.show(p.supportSegmentation, p.skippedStructures)
        self._axis = None
        try:
            if p.supportSource is SupportSource.file:
                self._axis = self._file_axis(p.supportFile)
            elif p.volume is not None and p.supportSegmentation is not None:
                self._axis = painted_axis(p.volume, p.supportSegmentation, self.structures.chosen)
        except InputError as problem:
            self.say(str(problem))
        self.refresh()

    @staticmethod
    def _file_axis(path: str) -> str | None:
        from FewShotSAMLib import Support

        return Support.load(path).axis if path and Path(path).is_file() else None

    # What a person does

    def _on_modified(self, _caller: Any, _event: Any) -> None:
        self._show_unbound()
        self._show_inputs()
        self.refresh_soon()

    def _on_view(self, _caller: Any, _event: Any) -> None:
        self.refresh_soon()

    def _on_node_removed(self, _caller: Any, _event: Any) -> None:
        if self.parameters is None:
            return
        if self.review.node is not None and self.review.node.GetScene() is None:
            self.review.find()
        self.refresh_soon()

    def _on_segments(self, _caller: Any, _event: Any) -> None:
        self._list_soon.start()

    def _on_segmentation(self, node: Any) -> None:
        if self.parameters is not None:
            self.parameters.supportSegmentation = node

    def _on_support_file(self, path: str) -> None:
        if self.parameters is not None:
            self.parameters.supportFile = path
            self._list_structures()

    def _on_fob_weights(self, path: str) -> None:
        if self.parameters is not None:
            self.parameters.fobWeights = path

    def _on_ticks(self, skipped: list[str]) -> None:
        self.parameters.skippedStructures = skipped
        self._list_structures()

    def _on_copy(self, _checked: bool) -> None:
        text = self.request.script(inspect.signature(self.logic.segment))
        qt.QApplication.clipboard().setText(text)
        self.say(_("The script is on the clipboard."))


def _typed(path_edit: Any) -> Any:
    """The line of a ctkPathLineEdit, which itself is silent about a path that does not fit its
    filter, and about one that is cleared."""
    return path_edit.findChildren(qt.QLineEdit)[0]
