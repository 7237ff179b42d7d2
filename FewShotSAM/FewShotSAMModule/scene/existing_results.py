"""A result into a segmentation that is there already: who keeps which voxels, and one undo."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer

from FewShotSAMLib import InputError, Volume

from . import layer_edits
from .layer_edits import EditedLayer, Region
from .placement import RAS_TO_LPS, image_affine, local_to_world, placed_volume
from .preview import new_segment
from .segments import (
    LABELMAP,
    SURFACE,
    Layer,
    SegmentInfo,
    is_locked,
    label_image,
    read_layers,
    read_segments,
    set_label_image,
    whole_offset,
)

OVERWRITE = ("never", "unlocked", "all")


@dataclass(frozen=True, eq=False)
class Written:
    """What one change did.

    Attributes:
        segment_ids: label -> id of the segment that it went into.
        held_back: label -> voxels not written, because they belong to another segment.
        undo: takes the change back; raises InputError when there were others since.
    """

    segment_ids: dict[int, str]
    held_back: dict[int, int]
    undo: Callable[[], None]


class ExistingOutput:
    """A segmentation node that results go into.

    Each structure goes to the segment of the same id and name, else of the same name, else to a
    new one. Options and errors are those of ``ResultWriter``.
    """

    def __init__(self, node: Any, segments: Mapping[int, SegmentInfo], overwrite: str) -> None:
        self.node = node
        self._segments, self._overwrite = segments, overwrite
        self._check_node()
        self._targets = target_segments(read_segments(node), segments)
        self._check_locks()

    @property
    def targets(self) -> dict[int, str]:
        """Label -> id of its segment, for labels that have one."""
        return dict(self._targets)

    def write(
        self, labels: Volume, region: Region | None, before_change: Callable[[], None] | None
    ) -> Written:
        """Works out the new voxels of every layer, then puts them into the scene at once.

        Args:
            labels: the result in the world.
            region: the slices that it answers for.
            before_change: called when nothing can be refused any more.
        """
        self._check_node()
        self._check_locks()
        node = self.node
        known = set(node.GetSegmentation().GetSegmentIDs())
        owners, new = self._owners(known)
        protected = protected_segments(node, self._overwrite)
        layers = read_layers(node, None, labels)
        free, held_back = layer_edits.free_part(labels, layers, owners, protected)
        result = labels.with_voxels(free)
        edits = [layer_edits.start(layer) for layer in layers]
        edits, homes = _homes(edits, owners, result, node)
        for edited in edits:
            layer_edits.take(edited, result, owners, protected)
            here = {label: i for label, i in owners.items() if homes[i] is edited}
            if here and self._overwrite != "never":
                layer_edits.clear(edited, list(here.values()), result, region)
            layer_edits.put(edited, here, result)
        undo = self._apply(edits, homes, owners, new, before_change)
        return Written(owners, held_back, undo)

    def _owners(self, known: set[str]) -> tuple[dict[int, str], set[int]]:
        """Label -> id of the segment that takes it, and the labels whose segment is new."""
        # What was found at the start still holds, unless the segment has been removed since.
        owners = {label: i for label, i in self._targets.items() if i in known}
        new = set(self._segments) - set(owners)
        for label in sorted(new):
            owners[label] = _free_id(self._segments[label].id, known | set(owners.values()))
        return owners, new

    def _apply(
        self,
        edits: list[EditedLayer],
        homes: Mapping[str, EditedLayer],
        owners: Mapping[int, str],
        new: set[int],
        before_change: Callable[[], None] | None,
    ) -> Callable[[], None]:
        """The change itself; everything that can be refused has been checked before."""
        node = self.node
        segmentation = node.GetSegmentation()
        history = slicer.vtkSegmentationHistory()
        history.SetSegmentation(segmentation)
        history.SaveState()
        if before_change is not None:
            before_change()
        save_scene_state(node.GetScene())
        had_surface = segmentation.ContainsRepresentation(SURFACE)
        modifying = node.StartModify()
        try:
            for edited in edits:
                _fill_layer(edited)
            for label, segment_id in owners.items():
                info = self._segments[label] if label in new else None
                _settle(segmentation, segment_id, homes[segment_id], info)
            if had_surface:  # does not follow the voxels by itself
                segmentation.CreateRepresentation(SURFACE, True)
        finally:
            node.EndModify(modifying)
        return _undo_of(node, history)

    def _check_node(self) -> None:
        node = self.node
        if node.GetScene() is None:
            raise InputError(f"{node.GetName()}: has left the scene; choose another segmentation")
        segmentation = node.GetSegmentation()
        empty = not segmentation.GetNumberOfSegments()
        if not empty and not segmentation.IsSourceRepresentationImageData():
            raise InputError(
                f"{node.GetName()}: its segments are surfaces; write into a new segmentation, or "
                "make the binary label map its source (Segmentations module, Representations)"
            )

    def _check_locks(self) -> None:
        if self._overwrite == "all":
            return
        known = self.node.GetSegmentation().GetSegmentIDs()
        for label, segment_id in self._targets.items():
            if segment_id in known and is_locked(self.node, segment_id):
                raise InputError(
                    f"{self.node.GetName()}: segment {self._segments[label].name!r} is marked "
                    "as completed; change its status, or write into a new segmentation"
                )


def _fill_layer(edited: EditedLayer) -> None:
    """Gives a layer of the scene its new voxels."""
    if edited.changed:
        image = edited.layer.image
        first = [a + b for a, b in zip(image.GetExtent()[::2], edited.first)]
        set_label_image(image, edited.labels.voxels, first)


def _settle(segmentation: Any, segment_id: str, home: EditedLayer, new: SegmentInfo | None) -> None:
    """Puts a segment into its layer, under its value there; ``new`` makes it first."""
    image, value = home.layer.image, home.values[segment_id]
    if new is not None:
        segmentation.AddSegment(new_segment(new, value, image), segment_id)
        return
    segment = segmentation.GetSegment(segment_id)
    if segment.GetRepresentation(LABELMAP) is not image:
        segment.AddRepresentation(LABELMAP, image)
    segment.SetLabelValue(value)
    # A segmentation does not hear from the label map of its first segment that it has changed;
    # without this its history has nothing to go back to where that segment is the only one.
    segment.Modified()


def _undo_of(node: Any, history: Any) -> Callable[[], None]:
    stamp = segmentation_stamp(node)

    def undo() -> None:
        if node.GetScene() is None or segmentation_stamp(node) != stamp:
            raise InputError(
                f"{node.GetName()}: was edited since; use the undo of the Segment Editor"
            )
        if not history.RestorePreviousState():
            raise InputError(f"{node.GetName()}: Slicer kept no state to go back to")

    return undo


def protected_segments(node: Any, overwrite: str) -> set[str]:
    """Ids of the segments that keep every voxel; `overwrite` as for `ResultWriter`."""
    known = set(node.GetSegmentation().GetSegmentIDs())
    if overwrite == "unlocked":
        return {i for i in known if is_locked(node, i)}
    return known if overwrite == "never" else set()


def target_segments(
    there: Sequence[SegmentInfo], segments: Mapping[int, SegmentInfo]
) -> dict[int, str]:
    """Label -> id of the segment it goes into, for labels that have one.

    Args:
        there: the segments of the segmentation.
        segments: label -> what the result calls it.
    """
    targets: dict[int, str] = {}
    for label, info in segments.items():
        same = [s.id for s in there if s.name == info.name and s.id not in targets.values()]
        if same:
            targets[label] = info.id if info.id in same else same[0]
    return targets


def _homes(
    edits: list[EditedLayer], owners: Mapping[int, str], result: Volume, node: Any
) -> tuple[list[EditedLayer], dict[str, EditedLayer]]:
    """The layer that each target is written into, and all layers.

    A segment with voxels stays in its layer, on its own lattice. One without goes where nothing
    is rounded: into a layer on the volume's lattice, a new one if there is none.
    """
    homes: dict[str, EditedLayer] = {}
    exact = next((e for e in edits if whole_offset(result, e.labels) is not None), None)
    for segment_id in owners.values():
        home = _kept_home(edits, segment_id, result)
        if home is None:
            if exact is None:
                exact = _new_layer(result, node)
                edits = [*edits, exact]
            layer_edits.add_segment(exact, segment_id)
            home = exact
        homes[segment_id] = home
    return edits, homes


def _kept_home(edits: list[EditedLayer], segment_id: str, result: Volume) -> EditedLayer | None:
    """The layer that a segment stays in; it leaves one off the lattice where it has no voxels."""
    home = None
    for edited in edits:
        if (value := edited.values.get(segment_id)) is None:
            continue
        on_lattice = whole_offset(result, edited.labels) is not None
        if on_lattice or (edited.labels.voxels == value).any():
            home = edited
        else:
            del edited.values[segment_id]
    return home


def _new_layer(result: Volume, node: Any) -> EditedLayer:
    """A layer with nothing in it, on the result's grid, in the segmentation's coordinates."""
    local = np.linalg.inv(local_to_world(node)) @ RAS_TO_LPS @ result.affine
    voxels, first = cropped(result.voxels)
    image = label_image(np.zeros_like(voxels), local, first)
    empty = placed_volume(
        np.zeros_like(voxels), local_to_world(node) @ image_affine(image), node.GetName()
    )
    layer = Layer(empty, {}, image)
    return layer_edits.start(layer)


def cropped(labels: np.ndarray) -> tuple[np.ndarray, tuple[int, int, int]]:
    """The part (k, j, i) of labels that holds any, and where (i, j, k) it begins."""
    spans = [np.flatnonzero(labels.any(axis=tuple({0, 1, 2} - {n}))) for n in range(3)]
    if not len(spans[0]):
        return np.zeros((1, 1, 1), labels.dtype), (0, 0, 0)
    box = tuple(slice(s[0], s[-1] + 1) for s in spans)
    return labels[box], tuple(int(s[0]) for s in reversed(spans))


def _free_id(wanted: str, taken: set[str]) -> str:
    number, segment_id = 1, wanted
    while segment_id in taken:
        number += 1
        segment_id = f"{wanted}_{number}"
    return segment_id


def save_scene_state(scene: Any) -> None:
    """One state for the scene's own undo, where the application has switched it on."""
    if scene.GetUndoFlag():
        scene.SaveStateForUndo()


def segmentation_stamp(node: Any) -> tuple[Any, ...]:
    """Changes whenever a segment comes or goes or its voxels are edited."""
    segmentation = node.GetSegmentation()
    ids = segmentation.GetSegmentIDs()
    images = [segmentation.GetSegment(i).GetRepresentation(LABELMAP) for i in ids]
    return tuple((i, image.GetMTime() if image else 0) for i, image in zip(ids, images))
