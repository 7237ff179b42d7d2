"""From painted slice to segmentation in a real scene, through the real process."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core (pip install slicer-core)")
pytest.importorskip("slicer.util", reason="needs slicer-core (pip install slicer-core)")

from FewShotSAMModule.runs import logic  # noqa: E402
from run_scenes import (  # noqa: E402
    LIVER,
    RIGHT_KIDNEY,
    SMALL,
    SPLEEN,
    add_volume,
    contents,
    paint,
    previews,
    read_back,
    read_source,
    read_source_into,
    until,
)

from FewShotSAMLib import (  # noqa: E402
    Segment,
    Support,
    Volume,
    read_labels,
    read_volume,
    write_labels,
    write_volume,
)
from FewShotSAMLib.apps.main import main  # noqa: E402
from FewShotSAMLib.phantom.abdomen import abdomen  # noqa: E402
from FewShotSAMLib.prompting.point_prompts import PointPrompts  # noqa: E402


def command_line(folder: Path, image: Volume, labels: Volume, *options: str) -> np.ndarray:
    """What `fewshotsam segment` makes of the same input, from files."""
    write_volume(image, folder / "image.nrrd")
    write_labels(labels, folder / "mask.nrrd")
    files = [folder / name for name in ("image.nrrd", "mask.nrrd", "out.nrrd")]
    arguments = ["segment", str(files[0]), "--support-mask", str(files[1]), "-o", str(files[2])]
    assert main([*arguments, "--device", "cpu", *options]) == 0
    return read_labels(files[2], like=image).voxels


@pytest.mark.parametrize("strategy", ["propagate", "slices"])
def test_labels_are_those_of_the_command_line(scene, phantom, worker, tmp_path, strategy):
    labels = phantom.marked(phantom.marked_slice())
    expected = command_line(tmp_path, phantom.image, labels, "--strategy", strategy)
    volume = add_volume(phantom.image)
    support = paint(volume, labels)
    run = logic.segment(
        volume, support, device="cpu", strategy=strategy, worker=worker, wait=False
    )
    run.wait()
    assert run.state == "done", run.message
    assert np.array_equal(read_back(run.node, volume, run.segment_ids), expected)
    assert np.array_equal(run.result.labels.voxels, expected)
    assert expected.max() == SPLEEN
    names = [run.node.GetSegmentation().GetSegment(i).GetName() for i in run.segment_ids.values()]
    assert names == ["liver", "right kidney", "left kidney", "spleen"]


def test_a_window_is_that_of_the_command_line(scene, phantom, worker, tmp_path):
    labels = phantom.marked(phantom.marked_slice())
    expected = command_line(tmp_path, phantom.image, labels, "--window=100:500", "--range", "3:5")
    volume = add_volume(phantom.image)
    run = logic.segment(
        volume, paint(volume, labels), device="cpu", worker=worker, wait=False,
        window=(100, 500), range=(3, 5),
    )  # fmt: skip
    run.wait()
    assert np.array_equal(run.result.labels.voxels, expected)


@pytest.mark.slow
def test_an_abdominal_ct(scene, shared_data, worker, tmp_path):
    """The largest organs, painted on one slice."""
    image = read_volume(shared_data / "abdomen_ct" / "ct.nii.gz")
    truth = read_labels(shared_data / "abdomen_ct" / "label.nii.gz", like=image)
    sizes = np.bincount(truth.voxels.ravel())
    organs = [int(v) for v in 1 + np.argsort(-sizes[1:])[:3]]
    along = int(np.argmax(np.abs(image.direction[2])))  # the array axis of axial slices
    axis = 2 - along
    areas = np.isin(truth.voxels, organs).sum(axis=tuple({0, 1, 2} - {axis}))
    index = int(areas.argmax())
    drawn = np.zeros_like(truth.voxels)
    np.moveaxis(drawn, axis, 0)[index] = np.moveaxis(truth.voxels, axis, 0)[index]
    drawn[~np.isin(drawn, organs)] = 0
    here = [v for v in sorted(organs) if (drawn == v).any()]
    segments = {v: Segment(f"organ {v}", (1.0, 0.1 * v % 1, 0.0)) for v in here}
    labels = truth.with_voxels(drawn, segments=segments)
    expected = command_line(tmp_path, image, labels)
    volume = add_volume(image)
    run = logic.segment(
        volume, paint(volume, labels, *here), device="cpu", worker=worker, wait=False
    )
    run.wait()
    assert run.state == "done", run.message
    values = np.concatenate([[0], here])
    found = values[read_back(run.node, volume, run.segment_ids)]
    assert np.array_equal(found, expected)
    from FewShotSAMLib.evaluation.metrics import dice

    scores = [dice(found == v, truth.voxels == v) for v in here]
    assert np.mean(scores) > 0.5, scores


def test_waiting_returns_the_segmentation(volume, painted, worker):
    before, seen, ended = contents(), [], []
    node = logic.segment(
        volume, painted, device="cpu", worker=worker, progress=seen.append, callback=ended.append
    )
    assert node.GetClassName() == "vtkMRMLSegmentationNode" and not previews()
    assert seen[-1].done == seen[-1].total == 8
    assert [run.node for run in ended] == [node]
    ended[0].undo()
    assert contents() == before


def test_not_waiting_shows_slices_first(volume, painted, worker):
    run = logic.segment(volume, painted, device="cpu", worker=worker, wait=False)
    until(run, lambda _: previews())
    assert run.state == "running" and run.node is None and run.volume_node is volume
    assert {label: info.name for label, info in run.segments.items()} == {1: "liver", 2: "spleen"}
    run.wait()
    assert run.state == "done" and not previews()


def test_only_some_segments(volume, painted, worker):
    second = painted.GetSegmentation().GetNthSegmentID(1)
    node = logic.segment(
        volume, painted, segment_ids=[second], range=(3, 5), device="cpu", worker=worker
    )
    segmentation = node.GetSegmentation()
    assert segmentation.GetNumberOfSegments() == 1
    assert segmentation.GetNthSegment(0).GetName() == "spleen"


def test_into_an_existing_segmentation(volume, painted, worker):
    before = contents()
    changed = []
    run = logic.segment(
        volume, painted, painted, range=(2, 5), device="cpu", worker=worker, wait=False,
        before_change=lambda: changed.append(1),
    )  # fmt: skip
    run.wait()
    assert run.state == "done" and run.node is painted and changed == [1]
    labels = read_back(painted, volume, run.segment_ids)
    held = set(labels.any(axis=(1, 2)).nonzero()[0])
    assert len(held) > 1 and held <= {2, 3, 4, 5}
    run.undo()
    assert contents() == before


def test_supports_from_files_and_another_patient(volume, phantom, painted, worker, tmp_path):
    other = abdomen(**SMALL, seed=1)
    Support.from_labels(
        other.image, other.marked(other.marked_slice()), axis="axial",
        keep_labels=[LIVER, RIGHT_KIDNEY],
    ).save(tmp_path / "kept.nrrd")  # fmt: skip
    run = logic.segment(
        volume, painted, supports=[tmp_path / "kept.nrrd"], device="cpu", worker=worker,
        wait=False,
    )  # fmt: skip
    run.wait()
    assert run.state == "done", run.message
    # liver and spleen are painted as 1 and 2; the kidney was 2 in its file.
    assert run.result.names == {1: "liver", 2: "spleen", 3: "right kidney"}
    alone = logic.segment(
        volume, supports=[str(tmp_path / "kept.nrrd")], device="cpu", worker=worker
    )
    assert alone.GetSegmentation().GetNumberOfSegments() == 2


def test_one_slice(volume, phantom, painted, worker):
    before, index = contents(), phantom.marked_slice() - 1
    answer = logic.segment_slice(
        volume, painted, index, commit=False, device="cpu", worker=worker
    )
    assert contents() == before
    assert answer.preview.index == index and set(answer.prompts) == {1, 2}
    run = logic.segment_slice(volume, painted, index, device="cpu", worker=worker, wait=False)
    run.wait()
    labels = read_back(run.node, volume, run.segment_ids)
    assert np.array_equal(labels[index], run.answer.preview.labels) and labels[index].any()
    assert not np.delete(labels, index, axis=0).any()
    points = PointPrompts.of([[30.0, 25.0]])
    moved = logic.segment_slice(
        volume, painted, index, prompts={1: points}, commit=False, device="cpu", worker=worker
    )
    assert np.allclose(moved.prompts[1].points, points.points, atol=1e-3)


def test_what_was_read_is_read_again_when_it_changes(volume, phantom, painted, worker):
    """Painting on, moving or renaming is seen by the next run."""
    index = phantom.marked_slice()

    def labels() -> np.ndarray:
        answer = logic.segment_slice(
            volume, painted, index, commit=False, device="cpu", worker=worker
        )
        return answer.preview.labels

    first = labels()
    assert np.array_equal(labels(), first)
    mask = phantom.marked(index).voxels == LIVER
    mask[:, ::2] = False
    segment = painted.GetSegmentation().GetNthSegmentID(0)
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        mask.astype(np.uint8), painted, segment, volume
    )
    assert np.array_equal(labels() == 1, mask[index]), "drawn slices stay as drawn"
    array = slicer.util.arrayFromVolume(volume)
    array[:] = array[:, :, ::-1]
    slicer.util.arrayFromVolumeModified(volume)
    assert np.array_equal(read_source(volume, painted).volume.voxels, array)


def test_two_runs_at_once(volume, painted, worker):
    runs = [
        logic.segment(volume, painted, range=(n, n + 1), device="cpu", worker=worker, wait=False)
        for n in (2, 4)
    ]
    while not all(run.over for run in runs):
        for run in runs:
            run.poll()
    assert [run.state for run in runs] == ["done", "done"]
    assert runs[0].node is not runs[1].node and not previews()


def test_the_window_never_waits(scene, worker):
    """A large volume: no step on the main thread takes long, but the first look at the preview
    and writing the result, which have to fill arrays of the volume's size."""
    shape = (60, 512, 512)
    voxels = np.full(shape, -1000, np.int16)
    voxels[:, 100:400, 80:440] = np.arange(300)[:, None] % 90
    volume = add_volume(Volume(voxels, (0.8, 0.8, 5.0), name="large"))
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "painted")
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    mask = np.zeros(shape, np.uint8)
    mask[30, 200:300, 200:300] = 1
    segment = node.GetSegmentation().AddEmptySegment("", "box", (1.0, 0.0, 0.0))
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, segment, volume)
    started = time.thread_time()
    run = logic.segment(
        volume, node, range=(29, 31), device="cpu", worker=worker, wait=False
    )
    longest = time.thread_time() - started
    while not run.over and not previews():
        started = time.thread_time()
        run.poll()
        if not previews():
            longest = max(longest, time.thread_time() - started)
    run.cancel()
    run.wait()
    assert longest < 0.05


def test_names_in_any_script_and_colour_volumes(scene, phantom, worker):
    grey = np.clip(phantom.image.voxels / 4, 0, 255).astype(np.uint8)
    colours = np.stack([grey, grey // 2, 255 - grey], axis=-1)
    image = replace(phantom.image, voxels=colours, modality="RGB", name="Körper 腹部")
    volume = add_volume(image)
    labels = phantom.marked(phantom.marked_slice())
    segments = {LIVER: replace(labels.segments[LIVER], name="Печень «链»")}
    painted = paint(volume, replace(labels, segments=segments), LIVER)
    node = logic.segment(volume, painted, range=(3, 5), device="cpu", worker=worker)
    assert node.GetSegmentation().GetNthSegment(0).GetName() == "Печень «链»"
    assert "Körper 腹部" in node.GetName()


def test_the_application_redraws_while_one_waits(volume, painted, worker, monkeypatch):
    calls = []
    application = SimpleNamespace(processEvents=lambda: calls.append(1))
    monkeypatch.setattr(slicer, "app", application, raising=False)
    logic.segment(volume, painted, range=(3, 4), device="cpu", worker=worker)
    assert len(calls) > 3


@pytest.mark.parametrize(("overwrite", "status"), [("never", ""), ("unlocked", "completed")])
def test_neighbours_lose_no_voxel_and_bound_the_result(
    volume, phantom, painted, worker, overwrite, status
):
    """The liver is cut in halves by a finished segment, on a lattice of its own; the part of it
    that is known keeps its voxels too."""
    liver = phantom.truth.voxels == LIVER
    half = liver & (np.indices(liver.shape)[2] < np.median(np.indices(liver.shape)[2][liver]))
    labels = phantom.truth.with_voxels(
        np.where(half, RIGHT_KIDNEY, 0).astype(np.uint8), segments=phantom.truth.segments
    )
    output = paint(volume, labels, RIGHT_KIDNEY, name="finished")
    neighbour = output.GetSegmentation().GetNthSegmentID(0)
    if status:
        output.GetSegmentation().GetSegment(neighbour).SetTag("Segmentation.Status", status)
    before = read_back(output, volume, {1: neighbour})
    sent = read_source_into(volume, painted, output, overwrite).excluded
    assert np.array_equal(sent.voxels > 0, half)
    run = logic.segment(
        volume, painted, output, overwrite=overwrite, device="cpu", worker=worker, wait=False
    )
    run.wait()
    assert run.state == "done", run.message
    lost = (before > 0) & (read_back(output, volume, {1: neighbour}) == 0)
    assert not lost.any() and before.any()
    assert not run.held_back, "the process knew of them"
    assert not run.result.labels.voxels[half].any() and run.result.labels.voxels.any()
    answer = logic.segment_slice(
        volume, painted, phantom.marked_slice() - 1, output, commit=False, overwrite=overwrite,
        device="cpu", worker=worker,
    )  # fmt: skip
    assert not answer.preview.labels[half[phantom.marked_slice() - 1]].any()


def test_what_may_be_taken_is_not_excluded(volume, phantom, painted):
    """The segment that a structure goes into, and with "all" and "unlocked" those of others."""
    output = paint(volume, phantom.truth, LIVER, RIGHT_KIDNEY, name="before")
    kidney = phantom.truth.voxels == RIGHT_KIDNEY
    sent = read_source_into(volume, painted, output, "never").excluded
    assert np.array_equal(sent.voxels > 0, kidney)
    for overwrite in ("unlocked", "all"):
        assert read_source_into(volume, painted, output, overwrite).excluded is None
    again = read_source_into(volume, painted, output, "never")
    assert again.volume is read_source(volume, painted).volume, "the volume is not read again"
