"""What a run needs beforehand: asks once, installs and downloads step by step, tells of failures.

What is missing and the steps come from `dependencies` (packages) and `weights_needed`; this file
asks and shows.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt
import slicer
from slicer.i18n import tr as _

from FewShotSAMLib import InputError

from . import dependencies, weights_needed
from .weights_needed import Fetching

if TYPE_CHECKING:
    from .panel import Panel

_EVERY_MS = 100


class Installation:
    """The installation section, and the question before the first run.

    Attributes:
        packages, weights: names of what the chosen preset lacks.
    """

    def __init__(self, panel: Panel) -> None:
        self._panel = panel
        self._preset = ""
        self._missing: tuple[Any, ...] = ()
        self._files: tuple[Any, ...] = ()
        self._steps: list[Any] = []
        self._then: Callable[[], None] | None = None
        self._fetching: Fetching | None = None
        self._working = False
        self._cancelled = False
        self._job: Any = None
        self._answer: Callable[[dict[str, Any]], None] | None = None
        self._timer = qt.QTimer()
        self._timer.setInterval(_EVERY_MS)
        self._timer.connect("timeout()", self._on_timer)
        ui = panel.ui
        ui.checkInstallationButton.connect("clicked(bool)", lambda _: self.check())
        ui.installButton.connect("clicked(bool)", lambda _: self.ensure(self._preset, None))
        ui.weightsFileButton.connect("clicked(bool)", lambda _: self._on_weights_file())

    @property
    def busy(self) -> bool:
        """Whether something is being installed or downloaded."""
        return self._working

    @property
    def packages(self) -> tuple[str, ...]:
        return tuple(one.name for one in self._missing)

    @property
    def weights(self) -> tuple[str, ...]:
        return tuple(entry.name for entry in self._files)

    def look(self, preset: str, again: bool = False) -> None:
        """Looks what a preset lacks; quick, and quicker when it is the one of the last time."""
        if preset == self._preset and not again:
            return
        self._preset = preset
        try:
            self._missing = tuple(dependencies.missing(preset))
            self._files = weights_needed.missing_weights(preset)
        except InputError as problem:
            self._panel.say(str(problem))

    def ensure(self, preset: str, then: Callable[[], None] | None) -> None:
        """Calls ``then`` once everything is there: at once, or after the one question and the
        installation, or never where a person does not agree."""
        self.look(preset, again=True)
        if not self._missing and not self._files:
            if then is not None:
                then()
            return
        if not self._agrees():
            self._panel.say(_("Nothing was installed or downloaded."))
            return
        self._steps = list(dependencies.steps(self._missing)) if self._missing else []
        self._then, self._cancelled, self._working = then, False, True
        self._panel.refresh()
        self._next()

    def cancel(self) -> None:
        """Stops after the package at hand; a download stops at once."""
        self._cancelled = True
        if self._fetching is not None:
            self._fetching.cancel()

    def greet(self) -> None:
        """Starts the segmentation process in the background and shows its device and memory."""
        self.look(self._panel.parameters.preset.value)
        if self._job is None and not self._missing and not self._panel.runs.watch.busy:
            self._ask(self._panel.logic.worker().hello(), self._show_device)

    def check(self) -> None:
        """Shows what `fewshotsam doctor` says."""
        self.look(self._preset, again=True)
        ui = self._panel.ui
        lacking = [*self.packages, *self.weights]
        ui.installationText.plainText = _("Checking...")
        if self._missing:
            ui.installationText.plainText = _("Missing: {names}").format(names=", ".join(lacking))
            return
        self._ask(self._panel.logic.worker().doctor(), self._show_report)

    def stop(self) -> None:
        """The panel goes away."""
        self.cancel()
        self._timer.stop()
        self._job = None

    def _agrees(self) -> bool:
        if slicer.app.testingEnabled():  # where every question is answered with yes
            return False
        parts = []
        if self._missing:
            parts.append(dependencies.consent_text(self._missing))
        if self._files:
            parts.append(weights_needed.question(self._files))
        return slicer.util.confirmOkCancelDisplay("\n\n".join(parts), _("FewShotSAM: install"))

    def _next(self) -> None:
        """The next package, then the weights, then what was to be done with them."""
        if self._cancelled:
            self._end(_("Stopped; pressing the button again goes on from here."))
        elif self._steps:
            step = self._steps.pop(0)
            self._panel.say(step.title)
            # The line is painted before the step begins.
            qt.QTimer.singleShot(_EVERY_MS, lambda: self._run(step))
        elif self._files:
            self._fetch(None)
        else:
            self._end("")

    def _run(self, step: Any) -> None:
        try:
            step.run()
        except dependencies.InstallError as problem:
            self._end(str(problem))
            return
        self._next()

    def _fetch(self, source: Path | None) -> None:
        self._fetching, self._working = Fetching(self._files, source), True
        self._timer.start()

    def _end(self, line: str) -> None:
        then, self._then = self._then, None
        self._working, self._steps = False, []
        self._panel.logic.worker().close()  # the next one finds what is new
        self.look(self._preset, again=True)
        self._panel.say(line or _("Everything is there."))
        self._panel.refresh()
        if not line and then is not None:
            then()

    def _ask(self, job: Any, answer: Callable[[dict[str, Any]], None]) -> None:
        self._job, self._answer = job, answer
        self._timer.start()

    def _on_timer(self) -> None:
        if self._fetching is not None:
            fetching = self._fetching
            if not fetching.over:
                self._panel.say(fetching.line)
            else:
                self._fetching, self._files = None, ()
                if fetching.problem:
                    self._end(fetching.problem)
                else:
                    self._next()
        if self._job is not None:
            job = self._job
            job.poll()
            if job.over:
                self._job = None
                if job.state == "done":
                    self._answer(job.result)
                else:
                    self._panel.ui.installationText.plainText = job.message
        if self._fetching is None and self._job is None:
            self._timer.stop()

    def _show_device(self, about: dict[str, Any]) -> None:
        if about["device"] is None:
            self._panel.ui.deviceText.text = about["reason"]
            return
        self._panel.ui.deviceText.text = "{device} ({reason}), {memory}".format(**about)

    def _show_report(self, report: dict[str, Any]) -> None:
        self._panel.ui.installationText.plainText = report["text"]

    def _on_weights_file(self) -> None:
        folder = qt.QFileDialog.getExistingDirectory(
            slicer.util.mainWindow(), _("Folder with {files}").format(
                files=", ".join(entry.file for entry in self._files)
            ),
        )  # fmt: skip
        if folder:
            self._cancelled, self._then = False, None
            self._fetch(Path(folder))
            self._panel.refresh()
