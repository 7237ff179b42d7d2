"""The prompts of one slice as two point lists that a person can see and move."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer

from .slice_plane import SlicePlane

if TYPE_CHECKING:
    from FewShotSAMLib.prompting.point_prompts import PointPrompts

INSIDE_COLOUR = (0.10, 0.80, 0.20)
OUTSIDE_COLOUR = (0.90, 0.15, 0.15)


class PromptPoints:
    """Positive points in green, negative ones in red, on one slice of a volume.

    The point lists lie under the volume's transform, so they move with it. They are neither
    saved with the scene nor undone with it.

    Args:
        volume_node: the volume whose slices are prompted.

    Attributes:
        positive_node, negative_node: ``vtkMRMLMarkupsFiducialNode``, or None before the first
            ``show`` and after ``remove``.
    """

    def __init__(self, volume_node: Any) -> None:
        self.positive_node: Any = None
        self.negative_node: Any = None
        self._volume_node = volume_node
        self._plane: SlicePlane | None = None
        self._callback: Callable[[], None] | None = None
        self._observed: list[tuple[Any, int]] = []
        self._busy = False
        self._known = (np.zeros((0, 3)), np.zeros((0, 3)))

    def show(self, axis: int, index: int, prompts: PointPrompts) -> None:
        """Shows the prompts of a slice in place of what was shown before. Callbacks stay quiet.

        Args:
            axis: array axis of the volume node's voxels (k, j, i = 0, 1, 2) that counts slices.
            index: of the slice along it.
            prompts: pixels (x, y) of the slice as shown.

        Raises:
            InputError: no such slice, or a transform that is not linear.
        """
        plane = SlicePlane(self._volume_node, axis, index)
        self._busy = True
        try:
            self._make_nodes()
            self._plane = plane
            for node, points in (
                (self.positive_node, prompts.positives),
                (self.negative_node, prompts.negatives),
            ):
                self._put(node, plane.to_world(points))
            self._known = self._places()
        finally:
            self._busy = False

    def _put(self, node: Any, points: np.ndarray) -> None:
        modifying = node.StartModify()
        node.SetAndObserveTransformNodeID(self._volume_node.GetTransformNodeID())
        node.RemoveAllControlPoints()
        for point in points:
            node.AddControlPointWorld(*point)
        node.EndModify(modifying)

    def prompts(self) -> PointPrompts:
        """The points as they lie now, in pixels (x, y) of the slice as shown.

        Points that are still being placed, or lie off the slice, are left out.
        """
        from FewShotSAMLib.prompting.point_prompts import PointPrompts

        self._known = self._places()
        inside, outside = self._on_slice(self.positive_node), self._on_slice(self.negative_node)
        return PointPrompts.of(inside, outside)

    @property
    def changed(self) -> bool:
        """Whether a point was moved, added or deleted since they were last shown or asked for."""
        return not all(map(np.array_equal, self._places(), self._known))

    @property
    def off_slice(self) -> int:
        """How many placed points do not lie on the slice."""
        if self._plane is None:
            return 0
        nodes = (self.positive_node, self.negative_node)
        return sum(int(np.count_nonzero(~self._plane.holds(_placed(node)))) for node in nodes)

    def observe(self, callback: Callable[[], None] | None) -> None:
        """Calls back at every point that a person moves, adds or deletes, many times a second
        while one is dragged. None ends it."""
        self._callback = callback

    def remove(self) -> None:
        """Takes the point lists out of the scene. A second call is fine."""
        for node, tag in self._observed:
            node.RemoveObserver(tag)
        self._observed = []
        for node in (self.positive_node, self.negative_node):
            scene = node.GetScene() if node is not None else None
            if scene is not None:
                display = node.GetDisplayNode()
                scene.RemoveNode(node)
                if display is not None and display.GetScene() is scene:
                    scene.RemoveNode(display)
        self.positive_node = self.negative_node = self._plane = None

    def _places(self) -> tuple[np.ndarray, np.ndarray]:
        return _placed(self.positive_node), _placed(self.negative_node)

    def _on_slice(self, node: Any) -> np.ndarray:
        if self._plane is None or node is None:
            return np.zeros((0, 2))
        points = _placed(node)
        pixels, _ = self._plane.to_pixels(points)
        return pixels[self._plane.holds(points)]

    def _make_nodes(self) -> None:
        there = [self.positive_node, self.negative_node]
        if all(node is not None and node.GetScene() is not None for node in there):
            return
        self.remove()  # one of them was deleted
        name = self._volume_node.GetName()
        with _active_list_kept(self._volume_node.GetScene()):
            self.positive_node = self._add_list(f"{name} inside", INSIDE_COLOUR)
            self.negative_node = self._add_list(f"{name} outside", OUTSIDE_COLOUR)

    def _add_list(self, name: str, colour: tuple[float, float, float]) -> Any:
        node = slicer.vtkMRMLMarkupsFiducialNode()
        node.SetName(name)
        node.SetSaveWithScene(False)
        node.SetUndoEnabled(False)
        node.SetControlPointLabelFormat("")
        node = self._volume_node.GetScene().AddNode(node)
        node.CreateDefaultDisplayNodes()
        _make_balls(node.GetDisplayNode(), colour)
        events = (
            slicer.vtkMRMLMarkupsNode.PointModifiedEvent,
            slicer.vtkMRMLMarkupsNode.PointPositionDefinedEvent,
            slicer.vtkMRMLMarkupsNode.PointRemovedEvent,
        )
        self._observed += [(node, node.AddObserver(event, self._changed)) for event in events]
        return node

    def _changed(self, *_: Any) -> None:
        if not self._busy and self._callback is not None:
            self._callback()


@contextmanager
def _active_list_kept(scene: Any) -> Iterator[None]:
    """A new list becomes the one that new points go to; the one that a person uses stays it."""
    selection = scene.GetSingletonNode("Singleton", "vtkMRMLSelectionNode")
    if selection is None:
        yield
        return
    kind, active = selection.GetActivePlaceNodeClassName(), selection.GetActivePlaceNodeID()
    yield
    selection.SetReferenceActivePlaceNodeClassName(kind)
    selection.SetActivePlaceNodeID(active)


def _make_balls(display: Any, colour: tuple[float, float, float]) -> None:
    """Points without text, which leave no trace in a saved scene."""
    display.SetSaveWithScene(False)
    display.SetUndoEnabled(False)
    display.SetColor(*colour)
    display.SetSelectedColor(*colour)
    display.SetActiveColor(*(0.5 + 0.5 * part for part in colour))
    display.SetTextScale(0.0)
    display.SetGlyphTypeFromString("Sphere3D")
    display.SetUseGlyphScale(True)
    display.SetGlyphScale(2.0)


def _placed(node: Any) -> np.ndarray:
    """RAS millimetres (n, 3) of the world of a list's placed points."""
    if node is None:
        return np.zeros((0, 3))
    defined = slicer.vtkMRMLMarkupsNode.PositionDefined
    points = []
    for n in range(node.GetNumberOfControlPoints()):
        if node.GetNthControlPointPositionStatus(n) == defined:
            point = [0.0, 0.0, 0.0]
            node.GetNthControlPointPositionWorld(n, point)
            points.append(point)
    return np.array(points, float).reshape(-1, 3)
