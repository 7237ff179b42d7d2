"""Results into the scene: a preview while they grow, one change at the end, one undo."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import slicer

from FewShotSAMLib import InputError

from .existing_results import (
    OVERWRITE,
    ExistingOutput,
    cropped,
    save_scene_state,
    segmentation_stamp,
)
from .layer_edits import Region
from .placement import local_to_world, placed_volume, volume_affine
from .preview import Preview, add_display, new_segment, remove_with_parts
from .segments import SegmentInfo, label_image

INTO = ("new", "existing")


class ResultWriter:
    """Shows and writes the result of one run.

    Args:
        volume_node: the volume that is segmented; results are given in its own grid.
        segments: label -> what the structure is called and looks like.
        output: the segmentation node to write into, for ``into="existing"``.
        into: "new" makes a segmentation beside the volume; "existing" adds to ``output``: to its
            segment of the same id and name, else of the same name, else to a new segment.
        overwrite: whose voxels a result may take in an existing segmentation.
            "never": nobody's; it gets free voxels only, and what its segment held stays.
            "unlocked": those of segments whose status is not "completed".
            "all": everybody's.
            With the last two, a segment's own old voxels on the slices that the run answered for
            make way for the result.
        before_change: called once, just before an existing segmentation changes (the Segment
            Editor's ``saveStateForUndo``).
        name: of a new segmentation, numbered where there is one of it already; by default the
            volume's with "FewShotSAM" behind it.

    Raises:
        InputError: an unknown option, no volume or output in the scene, an output of surfaces,
            or a completed segment that the result would change.
    """

    def __init__(
        self,
        volume_node: Any,
        segments: Mapping[int, SegmentInfo],
        *,
        output: Any = None,
        into: str = "new",
        overwrite: str = "never",
        before_change: Callable[[], None] | None = None,
        name: str | None = None,
    ) -> None:
        for what, value, known in (("into", into, INTO), ("overwrite", overwrite, OVERWRITE)):
            if value not in known:
                raise InputError(f"{what} {value!r}: unknown; use one of {', '.join(known)}")
        if into == "existing" and output is None:
            raise InputError("no segmentation to write into; choose one, or a new segmentation")
        self._volume_node = volume_node
        self._segments = dict(segments)
        self._name = name or f"{volume_node.GetName()} FewShotSAM"
        self._before_change = before_change
        self._preview: Preview | None = None
        self._undo: Callable[[], None] | None = None
        self._size = _check_volume(volume_node)
        self._output: ExistingOutput | None = None
        if into == "existing":
            self._output = ExistingOutput(output, self._segments, overwrite)
        self.segment_ids: dict[int, str] = {}
        self.held_back: dict[int, int] = {}

    @property
    def targets(self) -> dict[int, str]:
        """Label -> id of the segment that it will go into, where there is one already."""
        return self._output.targets if self._output is not None else {}

    def preview(self, axis: int, index: int, labels: np.ndarray) -> None:
        """Shows the labels of one slice in a temporary segmentation; see ``Preview.fill``.

        Nothing is shown any more once the volume has left the scene.
        """
        if self._volume_node.GetScene() is None:
            return
        if self._preview is None:
            self._preview = Preview(self._volume_node, self._segments)
        self._preview.fill(axis, index, labels)

    def discard(self) -> None:
        """Leaves the scene as it was before the run."""
        if self._preview is not None:
            self._preview.remove()
            self._preview = None

    def commit(self, labels: np.ndarray, region: Region | None = None) -> Any:
        """Writes the result as one change that one undo takes back.

        Args:
            labels: whole numbers (k, j, i) in the volume node's own grid; keys of ``segments``
                and 0.
            region: (array axis, first slice, last slice), both included, that the run answered
                for; None for all. Outside of it an existing segment keeps all it had.

        Returns:
            The segmentation node.

        Raises:
            InputError: the volume or the output left the scene or changed its size, or a target
                was marked as completed since. The scene is as it was then.
        """
        self.discard()
        self._check(labels)
        highest = max(self._segments, default=0)
        labels = labels.astype(np.uint8 if highest < 256 else np.uint16, copy=False)
        if self._output is None:
            return self._commit_new(labels)
        affine = local_to_world(self._volume_node) @ volume_affine(self._volume_node)
        grid = placed_volume(labels, affine, self._volume_node.GetName())
        written = self._output.write(grid, region, self._before_change)
        self.segment_ids, self.held_back = written.segment_ids, written.held_back
        self._undo = written.undo
        return self._output.node

    def _check(self, labels: np.ndarray) -> None:
        from FewShotSAMLib.data.label_values import present_labels

        if _check_volume(self._volume_node) != self._size:
            raise InputError(f"{self._volume_node.GetName()}: changed its size; segment it again")
        if labels.shape != self._size[::-1]:
            raise ValueError(f"labels of shape {labels.shape} are not the volume's")
        if unknown := sorted(set(present_labels(labels)) - set(self._segments)):
            raise ValueError(f"labels {unknown} are none of the segments {list(self._segments)}")

    def undo(self) -> None:
        """Takes the committed result back: the scene is as it was before ``commit``.

        Raises:
            InputError: nothing was committed, or the segmentation was edited since.
        """
        if self._undo is None:
            raise InputError("there is no result to take back")
        self._undo()
        self._undo = None

    def _commit_new(self, labels: np.ndarray) -> Any:
        volume = self._volume_node
        scene = volume.GetScene()
        save_scene_state(scene)
        voxels, first = cropped(labels)
        image = label_image(voxels, volume_affine(volume), first)
        node = slicer.vtkMRMLSegmentationNode()
        node.SetName(scene.GenerateUniqueName(self._name))
        node.SetUndoEnabled(scene.GetUndoFlag())
        for label, info in self._segments.items():
            node.GetSegmentation().AddSegment(new_segment(info, label, image), info.id)
        add_display(scene, node).SetUndoEnabled(scene.GetUndoFlag())
        node = scene.AddNode(node)
        node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        _place_beside(node, volume)
        self.segment_ids = {label: info.id for label, info in self._segments.items()}
        stamp = segmentation_stamp(node)

        def undo() -> None:
            if node.GetScene() is None or segmentation_stamp(node) != stamp:
                raise InputError(f"{node.GetName()}: was edited since; remove it by hand")
            remove_with_parts(node)

        self._undo = undo
        return node


def _check_volume(volume_node: Any) -> tuple[int, int, int]:
    """The size (i, j, k) of a volume that is in a scene."""
    if volume_node.GetScene() is None:
        raise InputError(f"{volume_node.GetName()}: has left the scene; choose another volume")
    image = volume_node.GetImageData()
    if image is None or 0 in image.GetDimensions():
        raise InputError(f"{volume_node.GetName()}: holds no voxels; choose another volume")
    return tuple(image.GetDimensions())


def _place_beside(node: Any, volume_node: Any) -> None:
    """The node next to the volume in the subject hierarchy, where the volume is in it."""
    hierarchy = node.GetScene().GetSubjectHierarchyNode()
    beside = hierarchy.GetItemByDataNode(volume_node) if hierarchy is not None else 0
    if not beside:
        return
    parent = hierarchy.GetItemParent(beside)
    if item := hierarchy.GetItemByDataNode(node):
        hierarchy.SetItemParent(item, parent)
    else:
        hierarchy.CreateItem(parent, node)
