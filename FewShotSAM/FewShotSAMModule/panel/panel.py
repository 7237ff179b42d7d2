"""The panel: builds its sections, gathers what there is, and applies what may be done.

What may be done when is decided in `state`. Sections know a `Context` and what they are handed
here; none of them knows the panel.
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
from ..runs.kept_review import KeptReview
from ..scene.covered import show_covered
from ..scene.work_copy import save_copy
from . import state as states
from .context import Context
from .editor_tools import EditorTools
from .inputs_section import InputsSection
from .installation_section import InstallationSection
from .keyboard import make_reachable
from .live_section import LiveSection
from .many_section import ManySection
from .prompts_section import PromptsSection
from .request import Request
from .review_section import ReviewSection
from .run_section import RunSection
from .shown_slices import ShownSlices
from .state import Facts, panel_state
from .support_section import SupportSection
from .timers import once_timer
from .words import breakable

_REST_MS = 50
# Several decisions in a row are one copy.
_COPY_MS = 2000


class Panel(slicer.util.VTKObservationMixin):
    """The widgets of the module and what they do.

    Args:
        ui: the widgets of FewShotSAM.ui, by name.
        logic: a `FewShotSAMLogic`.
    """

    def __init__(self, ui: Any, logic: Any) -> None:
        slicer.util.VTKObservationMixin.__init__(self)
        self.ui = ui
        self._bound = None
        self._hint = self._lasting = ""
        self._soon = once_timer(_REST_MS, self.refresh)
        self.review = KeptReview()
        self._copy_soon = once_timer(_COPY_MS, self._keep_copy)
        self.review.written = self._copy_soon.start
        self.shown = ShownSlices(lambda: self.parameters, self.review)
        self.context = Context(
            ui, logic, place=self.shown.place, view=self.shown.view, say=self.say,
            refresh=self.refresh, refresh_soon=self.refresh_soon, job=self.job,
        )  # fmt: skip
        self._build_sections()
        make_reachable(ui)
        self.tools = EditorTools(ui)
        ui.segmentEditor.defaultTerminologyEntrySettingsKey = "FewShotSAM/DefaultTerminologyEntry"
        ui.copyPythonButton.connect("clicked(bool)", self._on_copy)
        ui.cancelButton.connect("clicked(bool)", self._on_cancel)
        self.addObserver(
            slicer.mrmlScene, slicer.vtkMRMLScene.NodeRemovedEvent, self._on_node_removed
        )
        self.addObserver(slicer.mrmlScene, slicer.vtkMRMLScene.NodeAddedEvent, self.refresh_soon)

    def _build_sections(self) -> None:
        context = self.context
        self.inputs = InputsSection(context, self.shown, self._on_other_inputs)
        self.structures = self.inputs.structures
        self.request = Request(context, self.structures, self.shown)
        self.installation = InstallationSection(context)
        self.runs = RunSection(context, self.request, self.review, self.installation.ensure)
        self.live = LiveSection(
            context, self.request,
            lambda: not (self.installation.packages or self.installation.weights),
        )  # fmt: skip
        self.many = ManySection(
            context, self.request, self.runs.watch, self.installation.ensure
        )
        self.supports = SupportSection(
            context, self.structures, self.review, self.runs.segment_volume
        )
        self.review_section = ReviewSection(context, self.review)
        self.prompts = PromptsSection(context, self.runs.segment_slice, self.review)

    # Life of the module's widget

    def enter(self) -> None:
        """The module is shown."""
        self.ui.segmentEditor.setupViewObservations()
        self.ui.segmentEditor.installKeyboardShortcuts()
        self._observe_views()
        if (layout := slicer.app.layoutManager()) is not None:
            layout.connect("layoutChanged(int)", self._on_layout)
        self.inputs.choose()
        self.inputs.show()
        self.refresh()
        if self.parameters.keepWarm:
            self.installation.greet()

    def exit(self) -> None:
        """Another module is shown. A run goes on; its points are put away."""
        self.prompts.hide()
        self.live.stop()
        self.ui.segmentEditor.setActiveEffect(None)
        self.ui.segmentEditor.uninstallKeyboardShortcuts()
        self.ui.segmentEditor.removeViewObservations()
        if (layout := slicer.app.layoutManager()) is not None:
            layout.disconnect("layoutChanged(int)", self._on_layout)
        self.removeObservers(self._on_view)

    def _observe_views(self) -> None:
        self.removeObservers(self._on_view)
        for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self._on_view)

    def _on_layout(self, _layout: int) -> None:
        """Another layout may have views that were not there before."""
        self._observe_views()
        self.refresh_soon()

    def close(self) -> None:
        """The widget goes away."""
        self.set_parameters(None)
        self.runs.watch.stop()
        self.live.close()
        self.installation.stop()
        self.inputs.close()
        self.removeObservers()

    @property
    def parameters(self) -> Any:
        """The `FewShotSAMParameters`; None while the scene is closed."""
        return self.context.parameters

    def set_parameters(self, parameters: Any | None) -> None:
        """Binds the widgets to another parameter node; None while the scene is closed."""
        if self.parameters is not None:
            self.parameters.disconnectGui(self._bound)
            self.removeObserver(self.parameters, vtk.vtkCommand.ModifiedEvent, self._on_modified)
        if parameters is None:
            self._let_go()
        self.context.parameters = parameters
        if parameters is None:
            return
        self._bound = parameters.connectGui(self.ui)
        self.addObserver(parameters, vtk.vtkCommand.ModifiedEvent, self._on_modified)
        self.inputs.show_unbound()
        self.inputs.choose()
        self.inputs.show()
        self.refresh()

    def _let_go(self) -> None:
        self.runs.drop()
        self.live.close()
        self.installation.forget()
        self.prompts.hide()
        self.review.show(None, None)
        self.inputs.forget()
        self.ui.segmentEditor.removeViewObservations()

    # What there is, and what is shown of it

    def job(self) -> str:
        """What is going on, one of the words of `state`."""
        if self.installation.busy:
            return states.INSTALLING
        if not self.runs.watch.busy:
            return states.IDLE
        return states.CANCELLING if self.runs.watch.cancelling else states.RUNNING

    @property
    def idle(self) -> bool:
        """Whether neither a run nor an installation is going on."""
        return self.context.idle

    def say(self, text: str, lasting: bool = False) -> None:
        """One line under the buttons.

        Args:
            lasting: a hint is put behind it and not in its place.
        """
        self._lasting = text if lasting else ""
        self.ui.statusText.text = breakable(text)

    def facts(self) -> Facts:
        """What there is at this moment."""
        place, review = self.shown.place(), self.review.review
        return Facts(
            **self._choices(),
            segments=len(self.structures.segments),
            chosen=len(self.structures.chosen),
            some=bool(self.ui.someStructuresBox.checked),
            job=self.job(),
            slices=self.shown.count(),
            current_slice=place[1] if place else None,
            to_install=self.installation.packages,
            to_download=self.installation.weights,
            reviewed=review is not None,
            marked=self.shown.marked,
            doubtful=len(review.doubtful) if review else 0,
            decision=self.review.decision(place),
            has_prompts=self.prompts.shown,
            undoable=self.context.last is not None,
            many=len(self.many.chosen),
            many_folder=self.many.folder,
            many_output=self.many.output,
        )

    def _choices(self) -> dict[str, Any]:
        """The facts that the parameters say."""
        p = self.parameters
        volume, drawn, output = p.volume, p.supportSegmentation, p.output
        return {
            "volume": volume.GetName() if volume else "",
            "source": p.supportSource,
            "segmentation": drawn.GetName() if drawn else "",
            "support_file": p.supportFile,
            "support_file_exists": bool(p.supportFile) and Path(p.supportFile).is_file(),
            "method": p.method,
            "fob_weights": p.fobWeights,
            "fob_weights_known": is_fob_weights(p.fobWeights),
            "into": p.into,
            "output": output.GetName() if output else "",
            "output_is_support": output is not None and output is drawn,
            "extent": p.extent,
            "first": p.firstSlice,
            "last": p.lastSlice,
        }

    def refresh(self) -> None:
        """Applies the decisions to the widgets."""
        if self.parameters is None:
            return
        self.installation.look(self.request.networks())
        self.many.show()
        self.live.follow()
        state = panel_state(self.facts())
        for name, enabled in state.enabled.items():
            getattr(self.ui, name).enabled = enabled
        for name, visible in state.visible.items():
            getattr(self.ui, name).visible = visible
        self._show_hints(state)
        place = self.shown.place()
        self.review_section.follow(place)
        self.prompts.follow(place)

    def _show_hints(self, state: states.PanelState) -> None:
        self.ui.segmentVolumeButton.toolTip = state.hint or _("Segment all slices, or the range")
        self.ui.segmentSliceButton.toolTip = state.slice_hint or _("Segment the slice shown")
        self.ui.manyButton.toolTip = state.many_hint or _("Segment the ticked volumes")
        # A hint goes when what it asked for is done; what a run said stays.
        if self.idle and (state.hint or self.ui.statusText.text == self._hint):
            kept = self._lasting if state.hint else ""
            self._hint = breakable(f"{kept} {state.hint}".strip())
            self.ui.statusText.text = self._hint

    def refresh_soon(self, *_: Any) -> None:
        """Many events, one refresh."""
        self._soon.start()

    # What happens

    def _on_other_inputs(self, another_volume: bool) -> None:
        self.prompts.hide()
        if another_volume:
            self.review.find(self.context.volume)

    def _on_modified(self, _caller: Any, _event: Any) -> None:
        self.inputs.show_unbound()
        self.inputs.show()
        self.refresh_soon()

    def _on_view(self, _caller: Any, _event: Any) -> None:
        self.refresh_soon()

    def _on_node_removed(self, _caller: Any, _event: Any) -> None:
        if self.parameters is None:
            return
        if self.review.gone:
            show_covered(self.parameters.supportSegmentation)
            self.review.find(self.context.volume)
        self.refresh_soon()

    def _keep_copy(self) -> None:
        """Writes the result under review beside its volume, where a person wants that."""
        p = self.parameters
        if p is None or not p.keepCopy or self.review.node is None or self.review.gone:
            return
        try:
            save_copy(p.volume, self.review.node)
        except InputError as problem:
            self.say(str(problem))

    def _on_cancel(self, _checked: bool) -> None:
        self.runs.watch.cancel()
        self.installation.cancel()
        self.refresh()

    def _on_copy(self, _checked: bool) -> None:
        text = self.request.script(inspect.signature(self.context.logic.segment))
        qt.QApplication.clipboard().setText(text)
        self.say(_("The script is on the clipboard."))
