"""A run that does not end well leaves the scene as it was: cancelled, killed, deleted, closed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core (pip install slicer-core)")
pytest.importorskip("slicer.util", reason="needs slicer-core (pip install slicer-core)")

from FewShotSAMModule.runs import logic  # noqa: E402
from FewShotSAMModule.runs.job import JobError  # noqa: E402
from FewShotSAMModule.runs.worker import Worker  # noqa: E402
from run_scenes import LEFT_KIDNEY, contents, paint, previews, until, voxels  # noqa: E402

from FewShotSAMLib import InputError  # noqa: E402
from FewShotSAMLib.segmentation.results import Cancelled  # noqa: E402


def test_cancel_leaves_the_scene_as_it_was(volume, painted, worker):
    before, ended = contents(), []
    run = logic.segment(
        volume, painted, device="cpu", worker=worker, wait=False, callback=ended.append
    )
    until(run, lambda _: previews())
    run.cancel()
    run.wait()
    assert (run.state, run.message, run.node) == ("cancelled", "cancelled", None)
    assert contents() == before and ended == [run]
    with pytest.raises(Cancelled):
        run.check()
    assert logic.segment(volume, painted, range=(3, 4), device="cpu", worker=worker)


def test_a_killed_process_leaves_the_scene_as_it_was(volume, painted):
    worker, before = Worker(environment={"OMP_NUM_THREADS": "1"}), contents()
    run = logic.segment(volume, painted, painted, device="cpu", worker=worker, wait=False)
    until(run, lambda _: previews())
    if hasattr(signal, "SIGKILL"):
        os.kill(worker.pid, signal.SIGKILL)
    else:
        worker.kill()
    run.wait()
    assert run.state == "failed" and "ended unexpectedly" in run.message
    assert "\n" not in run.message
    assert contents() == before
    with pytest.raises(JobError):
        run.check()
    assert logic.segment(volume, painted, range=(3, 4), device="cpu", worker=worker)
    worker.close()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"range": (5, 50)}, "0 to 7"),
        ({"model": "huge"}, "model 'huge'"),
        ({"strategy": "magic"}, "strategy 'magic'"),
        ({"overwrite": "perhaps"}, "overwrite 'perhaps'"),
        ({"into": "existing"}, "no segmentation to write into"),
        ({"axis": "oblique"}, "oblique"),
        ({"segment_ids": ["none"]}, "none"),
        ({"supports": [Path("no-such-file.nrrd")]}, "no-such-file.nrrd"),
    ],
)
def test_unusable_input_is_one_line_and_changes_nothing(volume, painted, worker, options, says):
    before = contents()
    with pytest.raises(InputError) as caught:
        logic.segment(volume, painted, device="cpu", worker=worker, **options)
    assert says in str(caught.value) and "\n" not in str(caught.value)
    assert contents() == before


def test_nothing_chosen(volume, worker):
    with pytest.raises(InputError, match="no volume"):
        logic.segment(None, None, worker=worker)
    with pytest.raises(InputError, match="nothing is painted"):
        logic.segment(volume, None, worker=worker)


@pytest.mark.parametrize("which", ["volume", "painted", "output"])
def test_a_node_is_deleted_meanwhile(volume, painted, phantom, worker, which):
    output = paint(volume, phantom.marked(phantom.marked_slice()), LEFT_KIDNEY, name="output")
    nodes = {"volume": volume, "painted": painted, "output": output}
    run = logic.segment(volume, painted, output, device="cpu", worker=worker, wait=False)
    until(run, lambda _: previews())
    slicer.mrmlScene.RemoveNode(nodes[which])
    before = {i: c for i, c in contents().items() if not c[0].endswith("preview")}
    run.wait()
    assert run.state == "failed" and "was removed" in run.message
    assert nodes[which].GetName() in run.message
    assert not previews()
    gone = set(before) - set(contents())
    assert all("Display" in before[i][1] for i in gone), "of the preview"
    assert all(contents()[i] == before[i] for i in set(before) - gone)


def test_the_scene_is_closed_meanwhile(scene, volume, painted, worker):
    run = logic.segment(volume, painted, device="cpu", worker=worker, wait=False)
    until(run, lambda _: previews())
    scene.Clear(False)
    after = contents()
    run.wait()
    assert run.state == "failed" and "was removed" in run.message
    assert contents() == after and not previews()


def test_ctrl_c_leaves_the_scene_as_it_was(volume, painted, worker):
    before = contents()

    def interrupt(_) -> None:
        if previews():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        logic.segment(volume, painted, device="cpu", worker=worker, progress=interrupt)
    assert contents() == before
    assert logic.segment(volume, painted, range=(3, 4), device="cpu", worker=worker)


def test_an_abandoned_run_leaves_nothing(volume, painted, worker):
    """The panel goes away while a run is on its way."""
    before, ended = contents(), []
    run = logic.segment(
        volume, painted, device="cpu", worker=worker, wait=False, callback=ended.append
    )
    until(run, lambda _: previews())
    run.abandon()
    assert contents() == before and run.state == "cancelled" and not ended
    assert logic.segment(volume, painted, range=(3, 4), device="cpu", worker=worker)


def test_a_result_that_cannot_be_written_changes_nothing(volume, painted, worker):
    """Its segment was marked as completed while the job ran."""
    run = logic.segment(volume, painted, painted, device="cpu", worker=worker, wait=False)
    until(run, lambda _: previews())
    segmentation = painted.GetSegmentation()
    segmentation.GetNthSegment(0).SetTag("Segmentation.Status", "completed")
    before = {i: c for i, c in contents().items() if "preview" not in c[0]}
    run.wait()
    assert run.state == "failed" and run.kind == "input" and run.node is None
    assert "liver" in run.message or "completed" in run.message
    assert {i: c for i, c in contents().items() if i in before and c[1] == before[i][1]}
    assert voxels(segmentation, segmentation.GetNthSegmentID(0)) == before[painted.GetID()][2][0][2]


def test_cancel_and_closing_before_it_has_been_read(scene, volume, painted, worker):
    before = contents()
    run = logic.segment(volume, painted, device="cpu", worker=worker, wait=False)
    run.cancel()
    run.poll()
    assert run.state == "cancelled" and contents() == before
    run = logic.segment(volume, painted, device="cpu", worker=worker, wait=False)
    scene.Clear(False)
    run.poll()
    assert run.state == "failed" and "was removed" in run.message
