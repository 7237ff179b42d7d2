"""Batches in this process: what is done stays done, and what cannot be done stops nothing."""

from __future__ import annotations

import csv
import threading
import time

import numpy as np
import pytest
from small_abdomens import marked
from small_studies import TINY, manifest, support_of, write_studies

import FewShotSAMLib as fss
from FewShotSAMLib.apps.batch import study_worker
from FewShotSAMLib.apps.batch.manifest import write_manifest
from FewShotSAMLib.apps.batch.records import Records
from FewShotSAMLib.apps.batch.settings import BatchSettings
from FewShotSAMLib.data.writing import write_labels
from FewShotSAMLib.phantom.abdomen import abdomen
from FewShotSAMLib.segmentation.results import Cancelled


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("batch") / "in"
    write_studies(folder, 3)
    (folder / "broken.nii.gz").write_text("no image", encoding="utf-8")
    return folder


@pytest.fixture
def run(studies, segmenter):
    """`segment_many` with the networks that are loaded already."""

    def segment(folder, supports=None, **settings):
        settings = {"device": "cpu", "segmenter": segmenter, **settings}
        return list(fss.segment_many(studies, supports or support_of(studies), folder, **settings))

    return segment


@pytest.fixture(scope="module")
def done(studies, segmenter, tmp_path_factory):
    """A finished batch; not to be changed."""
    folder = tmp_path_factory.mktemp("done")
    settings = {"device": "cpu", "segmenter": segmenter, "statistics": "first-order"}
    found = list(fss.segment_many(studies, support_of(studies), folder, **settings))
    write_manifest(Records(folder))
    return folder, found


def status(found):
    return {one.name: one.status for one in found}


def test_results_are_those_of_single_runs(done, studies, segmenter):
    _, found = done
    support = fss.Support.load(support_of(studies))
    for one in found:
        if one.status == "failed":
            continue
        volume = fss.read_volume(studies / f"{one.name}.nii.gz")
        alone = segmenter.segment(volume, [support])
        written = fss.read_labels(one.outputs[".seg.nrrd"])
        assert np.array_equal(alone.labels.voxels, one.result.labels.voxels)
        assert np.array_equal(alone.labels.voxels, written.voxels)
        assert written.same_grid(volume)


def test_one_bad_study_is_told_and_passed_over(done):
    folder, found = done
    assert status(found) == {"broken": "failed", **{f"patient {n}": "done" for n in range(3)}}
    bad = next(one for one in found if one.status == "failed")
    assert "broken.nii.gz: cannot be read" in bad.error and "\n" not in bad.error
    assert manifest(folder)[0]["study"] == "broken"


def test_manifest_says_what_the_files_say(done):
    folder, found = done
    text = (folder / "manifest.csv").read_text(encoding="utf-8-sig")
    rows = [row for row in csv.DictReader(text.splitlines()) if row["status"] == "done"]
    for one in found:
        if one.status == "failed":
            continue
        labels = fss.read_labels(one.outputs[".seg.nrrd"])
        image = fss.read_volume(one.record["source"])
        own = {int(row["label"]): row for row in rows if row["study"] == one.name}
        assert set(own) == set(one.result.names)
        for label, row in own.items():
            inside = labels.voxels == label
            assert float(row["volume_ml"]) == pytest.approx(
                inside.sum() * np.prod(labels.spacing) / 1000, abs=1e-3
            )
            assert row["state"] in ("found", "doubtful", "not found")
            if inside.any():
                assert float(row["mean"]) == pytest.approx(image.voxels[inside].mean())
                k, j, i = (axis.mean() for axis in np.nonzero(inside))
                centre = labels.index_to_world((i, j, k))
                said = [float(row[f"centroid_{axis}_mm"]) for axis in "lps"]
                assert said == pytest.approx(list(centre), abs=1e-3)


def test_rows_come_by_need_of_review(done):
    needs = [one["status"] != "failed" for one in manifest(done[0])]
    assert needs == sorted(needs)
    least = [
        min(s["confidence"] or 0.0 for s in one["structures"])
        for one in manifest(done[0])
        if one["status"] == "done" and all(s["state"] == "found" for s in one["structures"])
    ]
    assert least == sorted(least)


def test_nothing_is_done_twice(run, tmp_path, studies):
    first = run(tmp_path)
    before = {one.name: one.outputs for one in first}
    times = {p: p.stat().st_mtime_ns for files in before.values() for p in files.values()}
    again = status(run(tmp_path))
    assert again == {"broken": "failed", **{f"patient {n}": "earlier" for n in range(3)}}
    assert {p: p.stat().st_mtime_ns for p in times} == times
    assert Records(tmp_path).read("broken")["tries"] == 2

    next(iter(before["patient 1"].values())).unlink()
    assert status(run(tmp_path))["patient 1"] == "done"


def test_another_content_under_the_same_name_is_done_again(run, tmp_path, studies):
    run(tmp_path)
    path = studies / "patient 0.nii.gz"
    kept = path.read_bytes()
    try:
        path.write_bytes((studies / "patient 1.nii.gz").read_bytes())
        again = run(tmp_path)
        assert status(again)["patient 0"] == "done" and status(again)["patient 1"] == "earlier"
        two = [Records(tmp_path).read(f"patient {n}")["input_sha256"] for n in (0, 1)]
        assert two[0] == two[1]
        path.write_text("no image any more", encoding="utf-8")
        assert status(run(tmp_path))["patient 0"] == "failed"
        assert not (tmp_path / "patient 0.seg.nrrd").exists(), "a result of another image"
    finally:
        path.write_bytes(kept)


def test_other_settings_make_a_new_run_and_keep_the_old_results(run, tmp_path, studies):
    first, told = run(tmp_path), []
    before = {p.name: p.read_bytes() for one in first for p in one.outputs.values()}
    again = run(tmp_path, strategy="slices", tell=told.append)
    assert set(status(again).values()) == {"done", "failed"}
    assert "strategy propagate, now slices" in "".join(told)
    (earlier,) = (tmp_path / "earlier").iterdir()
    for name, content in before.items():
        assert (earlier / name).read_bytes() == content
    other = marked(abdomen(**TINY), 1, 2)
    told.clear()
    assert "done" in status(run(tmp_path, other, strategy="slices", tell=told.append)).values()
    assert "other supports" in "".join(told)


def test_a_list_gives_studies_supports_of_their_own(studies, segmenter, tmp_path):
    phantom = abdomen(**TINY, seed=1)
    write_labels(phantom.marked(2), tmp_path / "drawn.seg.nrrd")
    (tmp_path / "list.csv").write_text(
        f"image,mask,output\n{studies / 'patient 0.nii.gz'},drawn.seg.nrrd,mine\n", encoding="utf-8"
    )
    (one,) = fss.segment_many(tmp_path / "list.csv", [], tmp_path / "out", device="cpu",
                              segmenter=segmenter)  # fmt: skip
    assert (one.name, one.status) == ("mine", "done")
    assert np.array_equal(one.result.labels.voxels[2], phantom.truth.voxels[2])
    (tmp_path / "list.csv").write_text(f"image\n{studies / 'patient 0.nii.gz'}\n", encoding="utf-8")
    with pytest.raises(fss.InputError, match="has no support"):
        list(fss.segment_many(tmp_path / "list.csv", [], tmp_path / "out"))


def test_cancel_between_two_steps_leaves_what_is_done(run, tmp_path):
    cancel, seen = threading.Event(), []
    with pytest.raises(Cancelled):
        for one in _iterate(run, tmp_path, cancel):
            seen.append(one.name)
    assert len(seen) < 4
    assert not list((tmp_path / "records").glob("*.partial"))
    assert "done" in status(run(tmp_path)).values()


def _iterate(run, folder, cancel):
    def stop(progress):
        if progress.stage != "prepare" and Records(folder).all():
            cancel.set()

    return run(folder, cancel=cancel, progress=stop)


def test_one_batch_at_a_time_in_a_folder(run, tmp_path):
    with Records(tmp_path).opened(), pytest.raises(fss.InputError, match="another batch"):
        run(tmp_path)


def test_a_study_that_ended_the_process_comes_last(run, tmp_path):
    (tmp_path / "records" / "patient 0.partial").mkdir(parents=True)
    found = run(tmp_path)
    assert [one.name for one in found][-1] == "patient 0" and found[-1].status == "done"


def test_any_error_of_a_study_stays_with_it(run, tmp_path, monkeypatch):
    """An error that nobody thought of, in the real chain of reading, segmenting and writing."""
    real = study_worker.write_outputs

    def write(records, study, *rest):
        if study.name == "patient 1":
            raise RuntimeError("CUDA error: unspecified launch failure")
        return real(records, study, *rest)

    monkeypatch.setattr(study_worker, "write_outputs", write)
    found = {one.name: one for one in run(tmp_path)}
    assert found["patient 1"].error.startswith("RuntimeError: CUDA error")
    assert found["patient 2"].status == "done"


def test_reading_and_writing_happen_beside_segmenting(run, tmp_path, monkeypatch):
    spans = {"read": [], "segment": []}
    for name in spans:
        monkeypatch.setattr(
            study_worker.StudyWorker, name, _timed(getattr(study_worker.StudyWorker, name), spans)
        )
    run(tmp_path)
    overlap = [
        1 for a, b in spans["read"] for c, d in spans["segment"] if max(a, c) < min(b, d)
    ]
    assert overlap


def test_seconds_of_a_study_are_those_of_the_work_on_it(run, tmp_path, monkeypatch):
    real = study_worker.StudyWorker.segment

    def segment(self, *args):
        time.sleep(1.0)  # long, beside reading and writing
        return real(self, *args)

    monkeypatch.setattr(study_worker.StudyWorker, "segment", segment)
    began = time.perf_counter()
    found = run(tmp_path, strategy="slices")
    whole = time.perf_counter() - began
    assert sum(one.record["seconds"] for one in found) < 1.3 * whole  # waiting counted: 1.7


def _timed(method, spans):
    def timed(self, *args):
        begin = time.perf_counter()
        try:
            return method(self, *args)
        finally:
            spans[method.__name__].append((begin, time.perf_counter()))

    return timed


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"formats": ()}, "no format"),
        ({"formats": (".xyz",)}, ".xyz"),
        ({"statistics": "all"}, "first-order"),
        ({"strategy": "memory"}, "'embedded' has no memory of slices; use model"),
    ],
)
def test_unusable_settings(settings, says):
    with pytest.raises(fss.InputError, match=says):
        BatchSettings(**settings)
