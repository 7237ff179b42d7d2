"""What is segmented and what is painted: the choices, the list of structures, the direction."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer

from FewShotSAMLib import InputError

from ..runs.kept_review import is_result
from ..scene.covered import show_covered
from ..scene.painted import painted_axis, painted_range
from ..scene.preview import PREVIEW_ATTRIBUTE
from ..scene.segments import read_segments
from ..scene.structures import support_segments
from ..scene.viewing import array_axis
from .choices import SupportSource
from .context import Context
from .shown_slices import ShownSlices
from .structures_list import StructuresList
from .timers import once_timer

_REST_MS = 200


class InputsSection(slicer.util.VTKObservationMixin):
    """Follows the parameters, and the segments of what is painted.

    Attributes:
        structures: the list.

    Args:
        shown: is told the painted direction.
        another: called when another volume or segmentation is chosen, with whether it is the
            volume.
    """

    def __init__(
        self, context: Context, shown: ShownSlices, another: Callable[[bool], None]
    ) -> None:
        slicer.util.VTKObservationMixin.__init__(self)
        self._context, self._shown, self._another = context, shown, another
        self._seen: tuple[Any, Any] = (None, None)
        self._list_soon = once_timer(_REST_MS, self._list)
        ui = context.ui
        self.structures = StructuresList(ui, self._on_ticks)
        ui.segmentationSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._on_segmentation)
        _typed(ui.supportFileEdit).connect("textChanged(QString)", self._on_support_file)
        _typed(ui.fobWeightsEdit).connect("textChanged(QString)", self._on_fob_weights)

    def choose(self) -> None:
        """Where nothing is chosen: the first volume of the scene, and the segmentation of that
        volume if there is exactly one."""
        p = self._context.parameters
        if p.volume is None:
            # Label maps are scalar volumes too.
            volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
            plain = (v for v in volumes if not v.IsA("vtkMRMLLabelMapVolumeNode"))
            p.volume = next(plain, None)
        if p.volume is not None and p.supportSegmentation is None:
            painted = [one for one in _segmentations_of(p.volume) if not is_result(one)]
            if len(painted) == 1:
                p.supportSegmentation = painted[0]

    def show_unbound(self) -> None:
        """Shows the parameters that no `SlicerParameterName` binds; a script or a scene that was
        loaded into this one changes them as well."""
        ui, p = self._context.ui, self._context.parameters
        ui.segmentationSelector.setCurrentNode(p.supportSegmentation)
        for edit, path in ((ui.supportFileEdit, p.supportFile), (ui.fobWeightsEdit, p.fobWeights)):
            if edit.currentPath != path:  # or the cursor would leave its place
                edit.currentPath = path

    def show(self) -> None:
        """Shows the chosen volume and segmentation, where they are others than before."""
        p = self._context.parameters
        before, self._seen = self._seen, (p.volume, p.supportSegmentation)
        if self._seen != before:
            self._show_segmentation()
            self._edit(p.supportSegmentation, p.volume)
            self._another(p.volume is not before[0])

    def forget(self) -> None:
        """The scene goes away."""
        self._seen = (None, None)
        self._context.ui.segmentEditor.setActiveEffect(None)
        self._edit(None, None)

    def _edit(self, segmentation: Any, volume: Any) -> None:
        """Hands the editor what it works on. It takes a volume only together with a segmentation,
        and one that it kept without it would ask for in vain later."""
        editor = self._context.ui.segmentEditor
        if segmentation is None and editor.segmentationNode() is not None:
            editor.setSourceVolumeNode(None)
        editor.setSegmentationNode(segmentation)
        if segmentation is not None:
            editor.setSourceVolumeNode(volume)

    def close(self) -> None:
        """The widget goes away."""
        self.removeObservers()

    def _show_segmentation(self) -> None:
        node = self._context.parameters.supportSegmentation
        self.removeObservers()
        if node is not None:
            segmentation = node.GetSegmentation()
            for event in (
                segmentation.SegmentAdded, segmentation.SegmentRemoved,
                segmentation.SegmentModified, segmentation.SegmentsOrderModified,
                segmentation.SourceRepresentationModified,
            ):  # fmt: skip
                self.addObserver(segmentation, event, self._on_segments)
            volume = self._context.volume
            if volume is not None and not segmentation.GetNumberOfSegments():
                node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        self._list()

    def _list(self) -> None:
        """The segments may have changed: their list, and the direction they are painted in."""
        p = self._context.parameters
        if p is None:
            return
        self._shown.painted = self._shown.marked = None
        try:
            if p.supportSource is SupportSource.file:
                self._list_file(Path(p.supportFile))
            else:
                self._list_segments()
        except InputError as problem:
            self._context.say(str(problem))
        self._context.refresh()

    def _list_file(self, path: Path) -> None:
        from FewShotSAMLib import Support

        self.structures.show([], ())
        if path.is_file():
            support = Support.load(path)
            self.structures.show(support_segments(support), ())
            self._shown.painted = support.axis

    def _list_segments(self) -> None:
        p = self._context.parameters
        drawn = p.supportSegmentation
        self.structures.show(read_segments(drawn) if drawn else [], p.skippedStructures)
        if p.volume is not None and drawn is not None:
            chosen = self.structures.chosen
            self._shown.painted = painted_axis(p.volume, drawn, chosen)
            if (word := self._shown.axis()) is not None:
                axis = array_axis(p.volume, word)
                self._shown.marked = painted_range(p.volume, drawn, chosen, axis)

    def _on_segments(self, _caller: Any, _event: Any) -> None:
        if (p := self._context.parameters) is not None:
            show_covered(p.supportSegmentation)  # to be seen while painting
        self._list_soon.start()

    def _on_segmentation(self, node: Any) -> None:
        if self._context.parameters is not None:
            self._context.parameters.supportSegmentation = node

    def _on_support_file(self, path: str) -> None:
        if self._context.parameters is not None:
            self._context.parameters.supportFile = path
            self._list()

    def _on_fob_weights(self, path: str) -> None:
        if self._context.parameters is not None:
            self._context.parameters.fobWeights = path

    def _on_ticks(self, skipped: list[str]) -> None:
        self._context.parameters.skippedStructures = skipped
        self._list()


def _segmentations_of(volume: Any) -> list[Any]:
    """Those that were painted on a volume, but for the previews of runs."""
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    return [
        node for node in nodes
        if node.GetNodeReference(role) is volume and not node.GetAttribute(PREVIEW_ATTRIBUTE)
    ]  # fmt: skip


def _typed(path_edit: Any) -> Any:
    """The line of a ctkPathLineEdit, which itself is silent about a path that does not fit its
    filter, and about one that is cleared."""
    return path_edit.findChildren(qt.QLineEdit)[0]
