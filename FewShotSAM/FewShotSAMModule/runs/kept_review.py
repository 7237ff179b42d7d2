"""The result under review, kept with its segmentation: there again when the scene is loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import slicer

from ..scene.slice_edits import clear_slice, fill_slice, segments_by_label
from ..scene.viewing import array_axis
from .kept_work import (
    MovedPoints,
    packed_points,
    packed_slices,
    unpacked_points,
    unpacked_slices,
)
from .review import REJECTED, UNDECIDED, Review, judged

if TYPE_CHECKING:
    import numpy as np

    from FewShotSAMLib.prompting.point_prompts import PointPrompts

    from .run import Run

# Where a review is kept on its segmentation node.
ATTRIBUTE = "FewShotSAM.Review"


def is_result(segmentation_node: Any) -> bool:
    """Whether a segmentation was written by a run."""
    return segmentation_node.GetAttribute(ATTRIBUTE) is not None


@dataclass(frozen=True)
class Change:
    """Something that a person can take back; `undo` raises InputError when it cannot be."""

    undo: Callable[[], None]


def kept_of(segmentation_node: Any) -> tuple[Review, dict[int, str]] | None:
    """The review that a segmentation keeps, and label -> id of its segment; None for none, and for
    one of another version or edited by hand."""
    try:
        content = json.loads(segmentation_node.GetAttribute(ATTRIBUTE) or "")
        ids = {int(label): one for label, one in content["segment_ids"].items()}
        return Review.from_json(content["review"]), ids
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def work_of(segmentation_node: Any) -> tuple[dict[int, np.ndarray], MovedPoints]:
    """What rejected slices of a segmentation held, and the points that were moved in others; both
    empty where it keeps none, or was edited by hand."""
    try:
        content = json.loads(segmentation_node.GetAttribute(ATTRIBUTE) or "")
        return unpacked_slices(content["removed"]), unpacked_points(content["points"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}, {}


class KeptReview:
    """A review, its segmentation, and what a person decides about its slices.

    Attributes:
        node: the segmentation under review, or None.
        review: what is known of its slices, or None.
        segment_ids: label -> id of its segment.
        changed: called when another review is there, or this one says something else.
        written: called when a result or a decision has been put into the scene.
    """

    def __init__(self) -> None:
        self.node: Any = None
        self.review: Review | None = None
        self.segment_ids: dict[int, str] = {}
        self.changed: Callable[[], None] = lambda: None
        self.written: Callable[[], None] = lambda: None
        self._removed: dict[int, np.ndarray] = {}  # what rejected slices held
        self._points: MovedPoints = {}

    @property
    def gone(self) -> bool:
        """Whether the segmentation has left the scene."""
        return self.node is not None and self.node.GetScene() is None

    def take(self, volume: Any, run: Run, doubtful_below: float) -> Callable[[], None]:
        """Reviews the result of a volume; scores (0 to 1) below the limit are in doubt.

        Returns:
            What brings back the review from before, once the result was taken back.
        """
        back = self._way_back(volume, run.node)
        result, axis = run.result, array_axis(volume, run.result.axis)
        review, ids = self._joined(run, axis, doubtful_below)
        same = self.node is run.node
        held, points = (dict(d) if same else {} for d in (self._removed, self._points))
        self.segment_ids = ids
        self.show(run.node, review)
        worked_on = {one.index for one in result.slices}
        self._removed.update({k: v for k, v in held.items() if k not in worked_on})
        self._points.update({k: v for k, v in points.items() if k not in worked_on})
        self._keep()
        return back

    def _joined(self, run: Run, axis: int, below: float) -> tuple[Review, dict[int, str]]:
        """The review of a run, and what was known before of the other slices of the segmentation
        that it went into; and label -> segment."""
        result, ids = run.result, dict(run.segment_ids)
        new = Review.of(result.slices, result.names, axis, below)
        old, old_ids = kept_of(run.node) or (None, {})
        if self.node is run.node and self.review is not None:  # what is kept is rounded
            old, old_ids = self.review, self.segment_ids
        same = all(ids.get(label, i) == i for label, i in old_ids.items())
        if old is None or old.array_axis != axis or not same:
            return new, ids
        if set(old.slices) <= set(new.slices):
            return new, ids
        old.names.update(new.names)
        old.doubtful_below = below
        old.update(judged(result.slices))
        return old, {**old_ids, **ids}

    def take_slice(self, axis: int, run: Run, doubtful_below: float) -> Callable[[], None]:
        """Reviews a slice that was segmented on its own: joins the review at hand, if it is one of
        the same segmentation and direction.

        Returns:
            As `take`.
        """
        back = self._way_back(run.volume_node, run.node)
        entries = judged(run.answer.preview.results)
        if self.node is run.node and self.review and self.review.array_axis == axis:
            self.review.update(entries)
            self.segment_ids.update(run.segment_ids)
            self._removed.pop(run.answer.preview.index, None)
            self._points.pop(run.answer.preview.index, None)
            self.changed()
        else:
            self.segment_ids = dict(run.segment_ids)
            names = {label: info.name for label, info in run.segments.items()}
            self.show(run.node, Review(entries, names, axis, doubtful_below))
        self._keep()
        return back

    def _way_back(self, volume: Any, changed: Any) -> Callable[[], None]:
        """Brings back the review as it is now, and what the segmentation ``changed`` keeps."""
        node, ids, removed = self.node, dict(self.segment_ids), dict(self._removed)
        points = dict(self._points)
        review = self.review.to_json() if self.review else None
        kept = changed.GetAttribute(ATTRIBUTE)

        def back() -> None:
            if changed.GetScene() is not None:
                changed.SetAttribute(ATTRIBUTE, kept)
            if node is not None and node.GetScene() is None:
                self.find(volume)
                return
            self.segment_ids = ids
            self.show(node, Review.from_json(review) if review else None)
            self._removed.update(removed)
            self._points.update(points)

        return back

    def points_of(self, place: tuple[int, int]) -> dict[int, PointPrompts]:
        """By label, the points that a person moved in a slice (array axis, index)."""
        here = self.review is not None and place[0] == self.review.array_axis
        return dict(self._points.get(place[1], {})) if here else {}

    def keep_points(self, place: tuple[int, int], points: dict[int, PointPrompts]) -> None:
        """Keeps the points that the result of a slice was made with."""
        if self.review is not None and place[0] == self.review.array_axis:
            self._points[place[1]] = dict(points)
            self._keep()

    def show(self, node: Any, review: Review | None) -> None:
        """Another review; None for none."""
        self.node, self.review = node, review
        self._removed.clear()
        self._points.clear()
        self.changed()

    def find(self, volume: Any) -> None:
        """The newest review that the scene keeps of a volume, which may be None."""
        self.show(None, None)
        if volume is None:
            return
        for node in reversed(slicer.util.getNodesByClass("vtkMRMLSegmentationNode")):
            if node.GetNodeReference("referenceImageGeometryRef") is not volume:
                continue
            if (kept := kept_of(node)) is not None:
                review, self.segment_ids = kept
                self.show(node, review)
                self._removed, self._points = work_of(node)
                return

    def slice_at(self, place: tuple[int, int, Any] | None) -> int | None:
        """The slice at a place, None where no view shows one of this direction."""
        if self.review is None or place is None or place[0] != self.review.array_axis:
            return None
        return place[1]

    def decision(self, place: tuple[int, int, Any] | None) -> str:
        """What was decided about the slice at a place."""
        index = self.slice_at(place)
        return UNDECIDED if index is None else self.review.decision(index)

    def decide(
        self, volume: Any, index: int, decision: str, before_change: Callable[[], None] | None
    ) -> Change | None:
        """Keeps a decision about a slice. Rejecting takes its voxels out of the segmentation, and
        accepting it after all puts them back.

        Returns:
            What was changed in the scene, or None where nothing was.

        Raises:
            InputError: the segmentation cannot be changed. The review is as it was.
        """
        before, held = self.review.decision(index), self._removed.get(index)
        change = self._edit(volume, index, decision, before_change)
        self._set_decision(index, decision)
        if change is None:
            return None

        def undo() -> None:
            change.undo()
            self._removed.pop(index, None)
            if held is not None:
                self._removed[index] = held
            self._set_decision(index, before)

        return Change(undo)

    def _edit(
        self, volume: Any, index: int, decision: str, before_change: Callable[[], None] | None
    ) -> Any:
        axis = self.review.array_axis
        if decision == REJECTED:
            self._removed[index], change = clear_slice(
                volume, self.node, self.segment_ids, axis, index, before_change
            )
            return change
        if index not in self._removed:
            return None
        segments = segments_by_label(self.node, self.segment_ids)
        change = fill_slice(
            volume, self.node, segments, axis, index, self._removed[index],
            before_change=before_change,
        )  # fmt: skip
        del self._removed[index]
        return change

    def _set_decision(self, index: int, decision: str) -> None:
        self.review.decide(index, decision)
        self._keep()
        self.changed()

    def _keep(self) -> None:
        if self.node is None or self.review is None:
            return
        ids = {str(label): segment_id for label, segment_id in self.segment_ids.items()}
        content = {
            "segment_ids": ids, "review": self.review.to_json(),
            "removed": packed_slices(self._removed), "points": packed_points(self._points),
        }  # fmt: skip
        self.node.SetAttribute(ATTRIBUTE, json.dumps(content))
        self.written()
