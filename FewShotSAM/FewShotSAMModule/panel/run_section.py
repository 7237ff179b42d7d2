"""Starts runs and takes their results: a volume, a slice, undo, and supports made from results."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt
import slicer
from slicer.i18n import tr as _

from FewShotSAMLib import InputError

from ..runs.progress_text import done_line
from ..runs.watch import RunWatch
from ..scene.slice_edits import fill_slice, read_slice, segments_by_label
from ..scene.supports import read_supports

if TYPE_CHECKING:
    from .panel import Panel


class RunsPanel:
    """One run at a time.

    Attributes:
        watch: polls the run.
        last: what made the last change, with an `undo`, or None: a run, or a `Change`.
    """

    def __init__(self, panel: Panel) -> None:
        self._panel = panel
        self.watch = RunWatch(panel.ui, panel.say)
        self.last: Any = None
        self._slice_run: tuple[Any, int, int] | None = None
        ui = panel.ui
        ui.saveSupportButton.connect("clicked(bool)", self._on_save_support)
        ui.segmentSliceButton.connect("clicked(bool)", lambda _: self.segment_slice())
        ui.segmentVolumeButton.connect("clicked(bool)", lambda _: self.segment_volume())
        ui.addSupportButton.connect("clicked(bool)", self._on_add_support)
        ui.undoResultButton.connect("clicked(bool)", self._on_undo)
        ui.cancelButton.connect("clicked(bool)", self._on_cancel)

    def drop(self) -> None:
        """The scene goes away."""
        self.watch.drop()
        self._panel.installation.forget()
        self.last = None

    def segment_volume(self) -> None:
        """The volume, or the range of it that was asked for."""
        panel = self._panel
        volume = panel.parameters.volume

        def begin() -> Any:
            inputs = panel.request.inputs()
            return panel.logic.segment(
                volume, **inputs, **panel.request.options(), range=panel.request.range(),
                wait=False, before_change=self.before_change(inputs["output_segmentation"]),
            )  # fmt: skip

        self._start(begin, lambda run: self._volume_done(volume, run))

    def segment_slice(
        self,
        prompts: Any = None,
        *,
        commit: bool = True,
        done: Callable[[Any], None] | None = None,
    ) -> None:
        """The slice that is shown.

        Args:
            prompts: label -> points instead of the chosen ones.
            commit: write it; False only looks.
            done: called with the run when it is done.
        """
        panel = self._panel
        volume, place = panel.parameters.volume, panel.place()
        if place is None:
            return
        axis, index, _view = place
        options = {k: v for k, v in panel.request.options().items() if k != "strategy"}
        options["axis"] = panel.axis()
        inputs = panel.request.inputs()
        if commit:
            self._take_back_same_slice(axis, index)
            if inputs["output_segmentation"] is None and panel.review.node is not None:
                # A slice corrects the result that is being looked at.
                inputs["output_segmentation"] = panel.review.node
                options["overwrite"] = "unlocked"
        self._start(
            lambda: panel.logic.segment_slice(
                volume, slice_index=index, prompts=prompts, commit=commit, wait=False,
                before_change=self.before_change(inputs["output_segmentation"]),
                **inputs, **options,
            ),
            lambda run: self._slice_done(volume, axis, index, run, commit, done),
        )  # fmt: skip

    def before_change(self, node: Any) -> Callable[[], None] | None:
        """Saves the Segment Editor's undo state, where it edits the segmentation ``node``."""
        editor = self._panel.ui.segmentEditor
        if node is None or editor.segmentationNode() is not node:
            return None
        return editor.saveStateForUndo

    def _start(self, begin: Callable[[], Any], over: Callable[[Any], None]) -> None:
        """Begins a run once everything that it needs is there."""
        panel = self._panel
        if panel.idle:
            panel.installation.ensure(panel.request.networks(), lambda: self._begin(begin, over))

    def _begin(self, begin: Callable[[], Any], over: Callable[[Any], None]) -> None:
        panel = self._panel
        try:
            run = begin()
        except InputError as problem:
            panel.say(str(problem))
            return
        panel.say(_("Starting..."))
        self.watch.start(run, lambda run: self._over(run, over))
        panel.refresh()

    def _over(self, run: Any, over: Callable[[Any], None]) -> None:
        panel = self._panel
        if run.state == "done":
            over(run)
        elif run.state == "cancelled":
            panel.say(_("Cancelled: the scene is as it was before."))
        else:
            panel.say(run.message)
        if not panel.parameters.keepWarm:
            panel.logic.worker().close()
        panel.refresh()

    def _volume_done(self, volume: Any, run: Any) -> None:
        panel, result = self._panel, run.result
        self.last = run
        panel.review.take(volume, run)
        panel.ui.deviceText.text = result.device
        found = {
            label: name
            for label, name in result.names.items()
            if any(s.label == label and s.present for s in result.slices)
        }
        review = panel.review.review
        line = done_line(
            found, self.watch.pace.elapsed, result.device, len(review.doubtful) if review else 0
        )
        held = sum(run.held_back.values())
        if held:
            line += " " + _("{n} voxels of other segments were kept.").format(n=held)
        panel.say(" ".join([line, *run.notes]))
        panel.ui.reviewSection.collapsed = False

    def _slice_done(
        self,
        volume: Any,
        axis: int,
        index: int,
        run: Any,
        commit: bool,
        done: Callable[[Any], None] | None,
    ) -> None:
        panel = self._panel
        if commit:
            self.last, self._slice_run = run, (run, axis, index)
            panel.review.take_slice(volume, axis, run)
            results = run.answer.preview.results
            found = [run.segments[r.label].name for r in results if r.present]
            said = ", ".join(found) or _("nothing found")
            panel.say(_("Slice {index}: {said}.").format(index=index, said=said))
        else:
            panel.say("")
        if done is not None:
            done(run)

    def _take_back_same_slice(self, axis: int, index: int) -> None:
        """The slice is segmented again: what the last run wrote there makes way, so that one undo
        still gives back what was there before."""
        if self.last is not None and self._slice_run == (self.last, axis, index):
            with contextlib.suppress(InputError):  # what was edited since stays
                self.last.undo()
            self.last = None
            if self._panel.review.node is not None and self._panel.review.node.GetScene() is None:
                self._panel.review.find()

    def _on_undo(self, _checked: bool) -> None:
        change, self.last = self.last, None
        try:
            change.undo()
            if (node := getattr(change, "node", None)) is not None:
                self._panel.review.forget(node)
            self._panel.refresh()
            self._panel.say(_("The last change was taken back."))
        except InputError as problem:
            self._panel.say(str(problem))
            self._panel.refresh()

    def _on_cancel(self, _checked: bool) -> None:
        self.watch.cancel()
        self._panel.installation.cancel()
        self._panel.refresh()

    def _on_add_support(self, _checked: bool) -> None:
        """Copies the slice shown from the result into the support, and runs again."""
        panel = self._panel
        place, review = panel.place(), panel.review
        if place is None or review.node is None:
            return
        axis, index, _view = place
        volume, support = panel.parameters.volume, panel.parameters.supportSegmentation
        try:
            labels = read_slice(volume, review.node, review.segment_ids, axis, index)
            if not labels.any():
                panel.say(_("Slice {index} holds nothing to mark.").format(index=index))
                return
            self.last = fill_slice(
                volume, support, segments_by_label(review.node, review.segment_ids), axis, index,
                labels, overwrite="unlocked", before_change=self.before_change(support),
            )  # fmt: skip
        except InputError as problem:
            panel.say(str(problem))
            return
        self.segment_volume()

    def _on_save_support(self, _checked: bool) -> None:
        panel, p = self._panel, self._panel.parameters
        path = qt.QFileDialog.getSaveFileName(
            slicer.util.mainWindow(), _("Save support"), f"{p.volume.GetName()} support.nrrd",
            _("Support (*.nrrd)"),
        )  # fmt: skip
        if not path:
            return
        try:
            supports, _segments = read_supports(
                p.volume, p.supportSegmentation, panel.structures.chosen, axis=p.axis.value
            )
            if len(supports) > 1:
                raise InputError(
                    _("The painted segments overlap, and a file holds one label a voxel: tick "
                      "those that do not overlap.")
                )  # fmt: skip
            target = Path(path).with_suffix(".nrrd")
            supports[0].save(target)
            panel.say(_("Saved {path}").format(path=target))
        except InputError as problem:
            panel.say(str(problem))
