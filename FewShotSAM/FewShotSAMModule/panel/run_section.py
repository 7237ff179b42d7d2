"""Starts runs and takes their results: a volume, a slice, and undo."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from slicer.i18n import tr as _

from FewShotSAMLib import InputError

from ..runs.kept_review import KeptReview
from ..runs.progress_text import done_line, doubts_line
from ..runs.review import DRAWN
from ..runs.watch import RunWatch
from ..scene.covered import hide_covered, show_covered
from .context import Context
from .request import Request
from .words import breakable

# Calls what is handed over once everything is there that networks need.
Ensure = Callable[[dict[str, "str | None"], Callable[[], None]], None]


def _nothing() -> None:
    """Nobody else has to go back."""


@dataclass(frozen=True, eq=False)
class Written:
    """The result of a run, which a person can take back together with all that followed it.

    Attributes:
        run: it wrote into the scene.
        review: brings back the review from before.
        asked: brings back what was asked for, such as where the points were.
        place: (array axis, slice) of a slice; None for a volume.
    """

    run: Any
    review: Callable[[], None]
    asked: Callable[[], None] = _nothing
    place: tuple[int, int] | None = None

    @property
    def node(self) -> Any:
        """The segmentation that was written to."""
        return self.run.node

    def undo(self) -> None:
        """Takes it back. Raises InputError, having changed nothing, where that cannot be done."""
        self.run.undo()
        self.review()
        self.asked()


class RunSection:
    """One run at a time.

    Attributes:
        watch: polls the run.

    Args:
        request: what the panel's choices ask for.
        review: takes results.
        ensure: see `InstallationSection.ensure`.
    """

    def __init__(
        self, context: Context, request: Request, review: KeptReview, ensure: Ensure
    ) -> None:
        self._context, self._request, self._review, self._ensure = context, request, review, ensure
        self.watch = RunWatch(context.ui, context.say)
        ui = context.ui
        ui.segmentSliceButton.connect("clicked(bool)", lambda _: self.segment_slice())
        ui.segmentVolumeButton.connect("clicked(bool)", lambda _: self.segment_volume())
        ui.stopButton.connect("clicked(bool)", lambda _: self._keep())
        ui.undoResultButton.connect("clicked(bool)", self._on_undo)

    def drop(self) -> None:
        """The scene goes away."""
        self.watch.drop(self._dropped)
        self._context.last = None

    def _dropped(self) -> None:
        """The run of a scene that went away is over; another scene may be there by now."""
        self._context.say("")
        self._context.refresh()

    def _keep(self) -> None:
        self.watch.keep()
        self._context.refresh()

    def segment_volume(self) -> None:
        """The volume, or the range of it that was asked for."""
        context, request = self._context, self._request
        volume = context.volume

        def begin() -> Any:
            inputs = request.inputs()
            return context.logic.segment(
                volume, **inputs, **request.options(), range=request.range(), wait=False,
                before_change=context.before_change(inputs["output_segmentation"]),
            )  # fmt: skip

        self._start(begin, lambda run: self._volume_done(volume, run))

    def segment_slice(
        self,
        prompts: Any = None,
        *,
        commit: bool = True,
        done: Callable[[Any], None] = lambda run: None,
        undone: Callable[[], None] = _nothing,
    ) -> None:
        """The slice that is shown.

        Args:
            prompts: label -> points instead of the chosen ones.
            commit: write it; False only looks.
            done: called with the run when it is done.
            undone: called when what it wrote was taken back.
        """
        context = self._context
        volume, place = context.volume, context.place()
        if place is None:
            return
        axis, index, _view = place
        if commit:
            undone = self._take_back_same_slice(axis, index) or undone
        asked = self._asked_of_slice(commit)

        def begin() -> Any:
            return context.logic.segment_slice(
                volume, slice_index=index, prompts=prompts, commit=commit, wait=False,
                before_change=context.before_change(asked["output_segmentation"]), **asked,
            )  # fmt: skip

        def over(run: Any) -> None:
            if commit:
                self._slice_done(axis, index, run, undone)
            else:
                context.say("")
            done(run)

        self._start(begin, over)

    def _asked_of_slice(self, commit: bool) -> dict[str, Any]:
        asked = {**self._request.slice_options(), **self._request.inputs()}
        if commit and asked["output_segmentation"] is None and self._review.node is not None:
            # A slice corrects the result that is being looked at.
            asked["output_segmentation"] = self._review.node
            asked["overwrite"] = "unlocked"
        return asked

    def _start(self, begin: Callable[[], Any], over: Callable[[Any], None]) -> None:
        """Begins a run once everything that it needs is there."""
        if self._context.idle:
            self._ensure(self._request.networks(), lambda: self._begin(begin, over))

    def _begin(self, begin: Callable[[], Any], over: Callable[[Any], None]) -> None:
        context = self._context
        try:
            run = begin()
        except InputError as problem:
            context.say(str(problem))
            return
        context.say(_("Starting..."))
        self.watch.start(run, lambda run: self._over(run, over))
        context.refresh()

    def _over(self, run: Any, over: Callable[[Any], None]) -> None:
        context = self._context
        if run.state == "done":
            over(run)
        elif run.state == "cancelled":
            context.say(_("Cancelled: the scene is as it was before."))
        else:
            context.say(run.message, lasting=True)
        if not context.parameters.keepWarm:
            context.logic.worker().close()
        context.refresh()

    def _volume_done(self, volume: Any, run: Any) -> None:
        context, result = self._context, run.result
        painted = context.parameters.supportSegmentation
        context.last = Written(
            run,
            self._review.take(volume, run, context.parameters.doubtfulBelow),
            lambda: show_covered(painted),
        )
        if not self._request.from_file and run.node is not painted:
            covered = {one.label for one in result.slices if one.present and one.source == DRAWN}
            hide_covered(painted, [run.segments[label].id for label in sorted(covered)])
        if run.partial:
            said = _("Stopped: {n} slices are kept. Undo takes them back.").format(n=result.count)
        else:
            context.ui.deviceText.text = breakable(result.device)
            said = self._said_of(run)
        context.say(said)
        context.ui.reviewSection.collapsed = False

    def _said_of(self, run: Any) -> str:
        """One line on a volume's result."""
        result, review = run.result, self._review.review
        present = {one.label for one in result.slices if one.present}
        found = {label: name for label, name in result.names.items() if label in present}
        doubtful = len(review.doubtful) if review else 0
        line = done_line(found, self.watch.pace.elapsed, result.device, doubtful)
        held = sum(run.held_back.values())
        if held:
            line += " " + _("{n} voxels of other segments were kept.").format(n=held)
        said = [doubts_line(result.structures), line, *run.notes]
        return " ".join(one for one in said if one)

    def _slice_done(self, axis: int, index: int, run: Any, undone: Callable[[], None]) -> None:
        context = self._context
        review = self._review.take_slice(axis, run, context.parameters.doubtfulBelow)
        context.last = Written(run, review, undone, (axis, index))
        results = run.answer.preview.results
        found = [run.segments[r.label].name for r in results if r.present]
        said = ", ".join(found) or _("nothing found")
        context.say(_("Slice {index}: {said}.").format(index=index, said=said))

    def _take_back_same_slice(self, axis: int, index: int) -> Callable[[], None] | None:
        """The slice is segmented again: what the last run wrote there makes way, so that one undo
        still gives back what was there before.

        Returns:
            What brings back what was asked for before that run; None where nothing made way.
        """
        last = self._context.last
        if not isinstance(last, Written) or last.place != (axis, index):
            return None
        self._context.last = None
        with contextlib.suppress(InputError):  # what was edited since stays
            last.run.undo()
            last.review()
            return last.asked
        return None

    def _on_undo(self, _checked: bool) -> None:
        context = self._context
        change, context.last = context.last, None
        try:
            change.undo()
            context.refresh()
            context.say(_("The last change was taken back."))
        except InputError as problem:
            context.say(str(problem))
            context.refresh()
