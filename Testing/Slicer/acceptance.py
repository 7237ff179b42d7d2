"""Acceptance in the application: does the steps, checks what can be checked, prints a table.

    Slicer --no-splash --python-script Testing/Slicer/acceptance.py

Needs the module and its packages installed (see `acceptance.md`, which has the steps for eyes and
hands). For each step the table says whether it passed, its seconds, the longest time that the main
thread was not at hand, and how many errors the application's log got. The exit status is the number
of steps that failed.
"""

from __future__ import annotations

import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer

# Seconds that a step may take in all; a laptop's CPU needs a minute for the volume.
PATIENCE = 600.0
_ERRORS = ("[CRITICAL]", "[ERROR]", "[FATAL]")


class Session:
    """The module as a person has it in front of them.

    Args:
        panel: of the module's widget, which is shown.

    Attributes:
        longest: seconds that the main thread was away from its events at the most.
    """

    def __init__(self, panel: Any) -> None:
        self.panel, self.ui = panel, panel.ui
        self.longest = 0.0

    @property
    def said(self) -> str:
        """The line under the buttons."""
        return self.ui.statusText.text

    def until(self, happened: Callable[[], bool], seconds: float = PATIENCE) -> None:
        """Lets the application go on until something has happened."""
        end = time.monotonic() + seconds
        while not happened():
            self.breathe()
            assert time.monotonic() < end, f"not within {seconds:.0f} s; it says: {self.said}"

    def breathe(self) -> None:
        """One round of the application's events."""
        before = time.monotonic()
        slicer.app.processEvents()
        self.longest = max(self.longest, time.monotonic() - before)
        time.sleep(0.002)

    def rest(self, seconds: float = 0.6) -> None:
        """Lets timers ring."""
        end = time.monotonic() + seconds
        self.until(lambda: time.monotonic() > end)

    def press(self, button: Any) -> None:
        """Clicks, once that is possible."""
        self.until(lambda: button.enabled)
        before = time.monotonic()
        button.click()
        self.longest = max(self.longest, time.monotonic() - before)

    def finish(self) -> str:
        """Waits for the run; returns what is said of it."""
        self.until(lambda: self.panel.idle)
        return self.said


def segment_slice_and_undo(session: Session) -> None:
    """A slice is segmented, and one undo takes it back."""
    before = nodes()
    session.press(session.ui.segmentSliceButton)
    said = session.finish()
    assert said.startswith("Slice "), said
    assert len(nodes()) > len(before)
    session.press(session.ui.undoResultButton)
    assert nodes() == before


def cancel(session: Session) -> None:
    """A cancelled run leaves the scene as it was, within two seconds."""
    before = nodes()
    session.press(session.ui.segmentVolumeButton)
    session.until(lambda: session.panel.runs.watch.busy)
    session.rest(1.0)
    began = time.monotonic()
    if session.panel.runs.watch.busy:
        session.press(session.ui.cancelButton)
        said = session.finish()
        assert "scene is as it was" in said, said
        assert time.monotonic() - began < 2.0, f"{time.monotonic() - began:.1f} s"
        assert nodes() == before
    else:
        session.press(session.ui.undoResultButton)


def end_the_process(session: Session) -> None:
    """The segmentation process is killed in a run: one line, and the next run works."""
    before = nodes()
    worker = session.panel.context.logic.worker()
    session.press(session.ui.segmentVolumeButton)
    session.until(lambda: worker.alive)
    session.rest(1.0)  # a process that ends before it was asked is only started again
    if not session.panel.runs.watch.busy:
        session.press(session.ui.undoResultButton)
        return
    worker.kill()
    said = session.finish()
    assert "\n" not in said and "process" in said, said
    assert nodes() == before


def segment_volume(session: Session) -> None:
    """The volume is segmented into a new segmentation; no preview is left."""
    before = len(nodes())
    session.press(session.ui.segmentVolumeButton)
    said = session.finish()
    assert said.startswith("Done:"), said
    names = [name for _, name in nodes()]
    assert len(names) == before + 1, names
    assert not [name for name in names if name.endswith("preview")]
    assert session.ui.reviewStrip.columnCount > 0


def review(session: Session) -> None:
    """A slice is rejected, accepted after all, and the decision taken back."""
    panel = session.panel
    place = panel.shown.place()
    assert place is not None, "no view shows a slice of the result"
    for button, decision in (("rejectSliceButton", "rejected"), ("acceptSliceButton", "accepted")):
        session.press(getattr(session.ui, button))
        session.rest()
        assert panel.review.decision(place) == decision, session.said
    session.press(session.ui.undoResultButton)
    assert panel.review.decision(place) == "rejected"
    session.press(session.ui.acceptSliceButton)


def points(session: Session) -> None:
    """Points are shown; a mouse that passes by in place mode causes no run; they go again."""
    before = len(nodes())
    session.press(session.ui.showPromptsBox)
    session.until(lambda: session.panel.prompts.shown)
    session.finish()
    lists = slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode")
    inside = next(node for node in lists if node.GetName().endswith("inside"))
    number = inside.AddControlPointWorld([0.0, 0.0, 0.0])
    inside.SetNthControlPointPositionWorld(number, [1.0, 1.0, 1.0], inside.PositionPreview)
    session.rest(1.5)
    assert session.panel.idle, "a run that nobody asked for"
    session.press(session.ui.showPromptsBox)
    session.rest()
    assert not session.panel.prompts.shown
    assert len(nodes()) == before


def live(session: Session) -> None:
    """Live: a stroke of the brush is followed by a preview, and nothing of it stays."""
    before, painted = nodes(), session.panel.parameters.supportSegmentation
    session.press(session.ui.liveBox)
    session.until(lambda: len(nodes()) > len(before), 60.0)
    session.until(lambda: not session.panel.live.busy)
    began = time.monotonic()
    painted.GetSegmentation().InvokeEvent(painted.GetSegmentation().SourceRepresentationModified)
    session.until(lambda: session.panel.live.busy)
    session.until(lambda: not session.panel.live.busy)
    print(f"Live: {time.monotonic() - began:.2f} s from stroke to preview")
    assert session.panel.idle
    session.press(session.ui.liveBox)
    session.rest()
    assert nodes() == before


def many_volumes(session: Session) -> None:
    """Many volumes: the ticked one of the scene gets a segmentation of its own."""
    import qt

    before, listed = len(nodes()), session.ui.manyList
    listed.item(0).setCheckState(qt.Qt.Checked)
    session.until(lambda: session.ui.manyButton.enabled)
    session.press(session.ui.manyButton)
    session.finish()
    assert session.said.startswith("1 of 1 volumes"), session.said
    assert len(nodes()) == before + 1


def save_and_load(session: Session) -> None:
    """A saved scene has the result and its review when it is loaded again."""
    kept = session.panel.review.review.to_json()
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "scene ü.mrb")
        assert slicer.util.saveScene(path)
        slicer.mrmlScene.Clear(False)
        session.rest()
        assert slicer.util.loadScene(path)
        session.until(lambda: session.panel.review.review is not None, 60.0)
    assert session.panel.review.review.to_json() == kept
    assert session.ui.segmentEditor.segmentationNode() is not None, "the editor is empty"


def close_the_scene(session: Session) -> None:
    """The scene is closed in a run: the panel is empty and can be used."""
    session.press(session.ui.segmentVolumeButton)
    session.until(lambda: session.panel.runs.watch.busy)
    slicer.mrmlScene.Clear(False)
    session.until(lambda: not session.panel.runs.watch.busy)
    session.rest()
    assert session.ui.volumeSelector.enabled and session.said.startswith("Choose a volume")


# The last two need the application's own input and output.
STEPS = (
    segment_slice_and_undo, cancel, end_the_process, segment_volume, review, points, live,
    many_volumes, save_and_load, close_the_scene,
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """What a step came to; `problem` is "" where it passed."""

    step: str
    seconds: float
    longest_block: float
    errors: int
    problem: str


def do(session: Session, step: Callable[[Session], None]) -> Row:
    """One step, whatever happens in it."""
    session.longest, began, errors = 0.0, time.monotonic(), logged_errors()
    problem = ""
    try:
        step(session)
    except Exception as error:
        traceback.print_exc()
        problem = f"{type(error).__name__}: {error}".splitlines()[0]
    return Row(
        step.__doc__.splitlines()[0], time.monotonic() - began, session.longest,
        logged_errors() - errors, problem,
    )  # fmt: skip


def table(rows: list[Row]) -> str:
    """For people and for a closing note."""
    lines = ["| step | result | seconds | longest block, ms | errors in the log |",
             "|---|---|---|---|---|"]  # fmt: skip
    lines += [
        f"| {row.step} | {row.problem or 'passed'} | {row.seconds:.1f} | "
        f"{1000 * row.longest_block:.0f} | {row.errors} |"
        for row in rows
    ]
    return "\n".join(lines)


def nodes() -> list[tuple[str, str]]:
    """Ids and names of the segmentations of the scene."""
    found = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    return [(node.GetID(), node.GetName()) for node in found]


def logged_errors() -> int:
    """Lines of errors in the application's log so far; 0 where there is none."""
    model = getattr(slicer.app, "errorLogModel", lambda: None)()
    path = Path(model.filePath) if model is not None else None
    if path is None or not path.is_file():
        return 0
    text = path.read_text(encoding="utf-8", errors="replace")
    return sum(any(word in line for word in _ERRORS) for line in text.splitlines())


def open_module() -> Session:
    """FewShotSAM with its sample data, as a person finds it."""
    from FewShotSAMModule.runs.sample_abdomen import show_generated_abdomen

    show_generated_abdomen()
    slicer.util.selectModule("FewShotSAM")
    session = Session(slicer.modules.FewShotSAMWidget.panel)
    session.rest()
    assert session.ui.segmentVolumeButton.enabled, session.said
    return session


def main() -> int:
    """All steps; returns how many failed."""
    session = open_module()
    rows = [do(session, step) for step in STEPS]
    print(f"Slicer {slicer.app.applicationVersion}, Python {sys.version.split()[0]}")
    print(table(rows))
    return sum(bool(row.problem) for row in rows)


if __name__ == "__main__":
    status = 1
    try:
        status = main()
    except BaseException:
        traceback.print_exc()
    finally:
        slicer.util.exit(status)
