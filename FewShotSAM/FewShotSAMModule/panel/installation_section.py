"""What a run needs beforehand: asks once, installs and downloads step by step, tells of failures.

What is missing, the words of the question and the steps come from `dependencies`; this file asks
and shows.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from FewShotSAMLib import InputError

from ..installation import dependencies
from ..installation.background import Background, step_line
from ..installation.dependencies import PACKAGE, WEIGHTS
from ..installation.steps import InstallCancelled, InstallError, Step
from ..runs.weights_fetch import fetch_weights
from .context import Context
from .words import breakable

_EVERY_MS = 100


class InstallationSection:
    """The installation section, and the question before the first run."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._wanted: dict[str, str | None] = {}
        self._missing: tuple[dependencies.Missing, ...] = ()
        self._steps: list[Step] = []
        self._step: Step | None = None
        self._background: Background | None = None
        self._then: Callable[[], None] | None = None
        self._cancelled = False
        self._job: Any = None
        self._answer: Callable[[dict[str, Any]], None] | None = None
        self._timer = qt.QTimer()
        self._timer.setInterval(_EVERY_MS)
        self._timer.connect("timeout()", self._on_timer)
        ui = context.ui
        ui.checkInstallationButton.connect("clicked(bool)", lambda _: self.check())
        ui.installButton.connect("clicked(bool)", lambda _: self.ensure(self._wanted, None))
        ui.weightsFileButton.connect("clicked(bool)", lambda _: self._on_weights_file())

    @property
    def busy(self) -> bool:
        """Whether something is being installed or downloaded."""
        return self._step is not None or self._background is not None

    @property
    def packages(self) -> tuple[str, ...]:
        """Names of packages that the chosen networks lack."""
        return tuple(one.name for one in self._missing if one.kind == PACKAGE)

    @property
    def weights(self) -> tuple[str, ...]:
        """Names of weights that the chosen networks lack."""
        return tuple(one.name for one in self._missing if one.kind == WEIGHTS)

    def look(self, wanted: dict[str, str | None], again: bool = False) -> None:
        """Looks what is lacking; quick, and quicker when asked the same as the last time.

        Args:
            wanted: keyword arguments of `dependencies.missing`.
        """
        if wanted == self._wanted and not again:
            return
        self._wanted = dict(wanted)
        try:
            self._missing = dependencies.missing(**wanted)
        except InputError as problem:
            self._missing = ()
            self._context.say(str(problem))

    def ensure(self, wanted: dict[str, str | None], then: Callable[[], None] | None) -> None:
        """Calls ``then`` once everything is there: at once, or after the one question and the
        installation, or never where a person does not agree."""
        self.look(wanted, again=True)
        if not self._missing:
            if then is not None:
                then()
        elif self._agrees():
            self._steps = dependencies.steps(self._missing, fetch=fetch_weights)
            self._then, self._cancelled = then, False
            self._next()
        else:
            self._context.say(_("Nothing was installed or downloaded."))

    def cancel(self) -> None:
        """Stops a download at once, a package when it is installed."""
        self._cancelled = True
        if self._step is not None:
            self._step.cancel()

    def forget(self) -> None:
        """The scene goes away: the installation goes on, and no run follows it."""
        self._then = None

    def greet(self) -> None:
        """Starts the segmentation process in the background and shows its device and memory."""
        if self._job is None and not self._missing and not self._context.running:
            self._ask(self._context.logic.worker().hello(), self._show_device)

    def check(self) -> None:
        """Shows what `fewshotsam doctor` says, or what is missing for that."""
        self.look(self._wanted, again=True)
        text = self._context.ui.installationText
        if self.packages:
            text.plainText = _("Missing: {names}").format(names=", ".join(self.packages))
        else:
            text.plainText = _("Checking...")
            self._ask(self._context.logic.worker().doctor(), self._show_report)
        self._context.refresh()

    def stop(self) -> None:
        """The panel goes away."""
        self.cancel()
        self._timer.stop()
        self._job = self._step = self._then = None
        self._steps = []

    def _agrees(self) -> bool:
        if slicer.app.testingEnabled():  # where every question is answered with yes
            return False
        question = dependencies.consent_text(self._missing)
        return slicer.util.confirmOkCancelDisplay(question, _("FewShotSAM: install"))

    def _next(self) -> None:
        """The next step, then what was to be done with all of them."""
        self._step = None
        if self._cancelled:
            self._end(_("Stopped; pressing the button again goes on from here."))
        elif not self._steps:
            self._end("")
        else:
            self._step = self._steps.pop(0)
            self._context.say(step_line(self._step))
            self._context.refresh()
            if self._step.in_background:
                self._background = Background(self._step.run)
                self._timer.start()
            else:  # the line is painted before the step begins
                qt.QTimer.singleShot(_EVERY_MS, self._run_here)

    def _run_here(self) -> None:
        if self._step is None:  # the panel went away in the meantime
            return
        try:
            if not self._cancelled:
                self._step.run()
        except InstallCancelled:
            self._cancelled = True
        except InstallError as problem:
            self._end(str(problem))
            return
        self._next()

    def _end(self, line: str) -> None:
        then, self._then = self._then, None
        self._step, self._steps = None, []
        self._context.logic.worker().close()  # the next one finds what is new
        self.look(self._wanted, again=True)
        self._context.refresh()
        self._context.say(line or _("Everything is there."))
        if not line and then is not None:
            then()

    def _ask(self, job: Any, answer: Callable[[dict[str, Any]], None]) -> None:
        self._job, self._answer = job, answer
        self._timer.start()

    def _on_timer(self) -> None:
        if self._background is not None:
            self._look_at_step()
        if self._job is not None:
            self._look_at_job()
        if self._background is None and self._job is None:
            self._timer.stop()

    def _look_at_step(self) -> None:
        if not self._background.poll():
            if self._step is not None:
                self._context.say(step_line(self._step))
            return
        ended, self._background = self._background, None
        self._cancelled = self._cancelled or ended.cancelled
        if ended.problem:
            self._end(ended.problem)
        else:
            self._next()

    def _look_at_job(self) -> None:
        job = self._job
        job.poll()
        if not job.over:
            return
        self._job = None
        if job.state == "done":
            self._answer(job.result)
        else:
            self._context.ui.installationText.plainText = job.message

    def _show_device(self, about: dict[str, Any]) -> None:
        text = "{device} ({reason}), {memory}" if about["device"] else "{reason}"
        self._context.ui.deviceText.text = breakable(text.format(**about))

    def _show_report(self, report: dict[str, Any]) -> None:
        self._context.ui.installationText.plainText = report["text"]

    def _on_weights_file(self) -> None:
        folder = qt.QFileDialog.getExistingDirectory(
            slicer.util.mainWindow(),
            _("Folder with the weights of {names}").format(names=", ".join(self.weights)),
        )
        if not folder:
            return
        lacking = [one for one in self._missing if one.kind == WEIGHTS]
        steps = dependencies.steps(lacking, fetch=fetch_weights)

        def take() -> None:
            for step in steps:
                step.use_file(Path(folder))

        self._cancelled, self._then, self._steps = False, None, []
        self._background = Background(take)
        self._context.say(_("Checking the files..."))
        self._timer.start()
        self._context.refresh()
