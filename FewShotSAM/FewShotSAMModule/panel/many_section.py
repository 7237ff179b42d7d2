"""Many volumes by what is marked: those of the scene, or the files of a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ctk
import qt
import slicer
from slicer.i18n import tr as _

from FewShotSAMLib import InputError

from ..runs.many import ManyRuns, segment_many
from ..runs.many_files import result_file, segment_files, volume_files
from ..runs.progress_text import progress_line
from ..runs.watch import RunWatch
from ..scene.supports import read_supports
from .context import Context
from .request import Request

if TYPE_CHECKING:
    from FewShotSAMLib.segmentation.results import Progress

_KEY = qt.Qt.UserRole


class ManySection:
    """Lists volumes, and segments those that are ticked one after the other.

    Args:
        request: what the panel's choices ask for.
        watch: polls; it is the one of the single runs.
        ensure: see `InstallationSection.ensure`.
    """

    def __init__(
        self, context: Context, request: Request, watch: RunWatch, ensure: Callable[..., None]
    ) -> None:
        self._context, self._request, self._watch, self._ensure = context, request, watch, ensure
        self._listed: list[tuple[str, str]] = []
        ui = context.ui
        for edit in (ui.manyFolderEdit, ui.manyOutputEdit):
            edit.filters = ctk.ctkPathLineEdit.Dirs
            line = edit.findChildren(qt.QLineEdit)[0]
            line.connect("textChanged(QString)", lambda _: context.refresh_soon())
        ui.manyList.connect("itemChanged(QListWidgetItem*)", lambda _: context.refresh_soon())
        ui.manyButton.connect("clicked(bool)", lambda _: self.start())

    @property
    def folder(self) -> str:
        """That of the files, "" where the volumes of the scene are listed."""
        return self._context.ui.manyFolderEdit.currentPath.strip()

    @property
    def output(self) -> str:
        """The folder that results of files go into."""
        return self._context.ui.manyOutputEdit.currentPath.strip()

    @property
    def chosen(self) -> list[str]:
        """Ids of the ticked volumes, or paths of the ticked files."""
        listed = self._context.ui.manyList
        items = (listed.item(row) for row in range(listed.count))
        return [one.data(_KEY) for one in items if one.checkState() == qt.Qt.Checked]

    def show(self) -> None:
        """Lists what there is now; what was ticked stays so."""
        if self.folder:
            found = [(str(path), path.name) for path in volume_files(Path(self.folder))]
        else:
            found = [(node.GetID(), node.GetName()) for node in _volumes()]
        if found == self._listed:
            return
        ticked = set(self.chosen)
        listed, self._listed = self._context.ui.manyList, found
        listed.clear()
        for key, name in found:
            item = qt.QListWidgetItem(name)
            item.setData(_KEY, key)
            ours = key in ticked or bool(self.folder)
            item.setCheckState(qt.Qt.Checked if ours else qt.Qt.Unchecked)
            listed.addItem(item)

    def start(self) -> None:
        """Segments the ticked volumes, once everything that networks need is there."""
        if self._context.idle:
            self._ensure(self._request.networks(), self._begin)

    def _begin(self) -> None:
        context = self._context
        try:
            many, names = self._runs()
        except InputError as problem:
            context.say(str(problem))
            return
        if not names:
            context.say(_("Every volume has its result in that folder already."))
            return
        context.say(_("Starting..."))
        self._watch.start(Watched(many, names), lambda run: self._over(many, len(names)))
        context.refresh()

    def _runs(self) -> tuple[ManyRuns, list[str]]:
        """The runs of what is ticked, and what the volumes are called."""
        names, supports = dict(self._listed), self._supports()
        options = {**self._request.options(), "wait": False}
        for of_one in ("segment_ids", "overwrite", "axis"):
            options.pop(of_one)
        if not self.folder:
            nodes = [slicer.mrmlScene.GetNodeByID(one) for one in self.chosen]
            return segment_many(nodes, supports, **options), [names[one] for one in self.chosen]
        results = Path(self.output)
        paths = [Path(one) for one in self.chosen]
        paths = [path for path in paths if not result_file(path, results).exists()]
        return segment_files(paths, results, supports, **options), [path.name for path in paths]

    def _supports(self) -> list[Any]:
        request, p = self._request, self._context.parameters
        if request.from_file:
            return [Path(p.supportFile)]
        segments = request.options()["segment_ids"]
        painted = read_supports(p.volume, p.supportSegmentation, segments, axis=p.axis.value)
        return list(painted[0])

    def _over(self, many: ManyRuns, count: int) -> None:
        context = self._context
        failed = [f"{name}: {line}" for name, line in many.failed.items()]
        said = _("{done} of {count} volumes are segmented.").format(done=many.done, count=count)
        if many.state == "cancelled":
            said = _("Cancelled: {said}").format(said=said)
        context.say(" ".join([said, *failed]), lasting=True)
        if not context.parameters.keepWarm:
            context.logic.worker().close()
        context.refresh()


class Watched:
    """Many runs as `RunWatch` takes one."""

    def __init__(self, many: ManyRuns, names: list[str]) -> None:
        self._many, self._names = many, names
        self.poll, self.abandon = many.poll, many.abandon
        self.cancel = self.keep = many.cancel

    @property
    def state(self) -> str:
        """Of a run's words."""
        return "done" if self._many.state == "over" else self._many.state

    @property
    def progress(self) -> Progress | None:
        """Volumes that are done, and in words what is done of the one at hand."""
        from FewShotSAMLib.segmentation.results import Progress

        done, count = self._many.progress
        if not self._many.runs or done >= count:
            return None
        line = _("Volume {n} of {count}").format(n=done + 1, count=count)
        if (step := self._many.runs[-1].progress) is not None:
            line += f", {progress_line(step.stage, step.done, step.total, None, step.message)}"
        return Progress("volumes", done, count, line)


def _volumes() -> list[Any]:
    """Those of the scene that can be segmented."""
    found = slicer.util.getNodesByClass("vtkMRMLVolumeNode")
    kinds = ("vtkMRMLScalarVolumeNode", "vtkMRMLVectorVolumeNode")
    return [node for node in found if node.GetClassName() in kinds]
