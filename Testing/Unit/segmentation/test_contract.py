"""What callers may count on: seeds, progress, cancelling, prompts, one clear line for errors."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
from small_abdomens import LIVER, SMALL, SPLEEN, STRATEGIES, at_half_size, marked

from FewShotSAMLib.data.errors import InputError
from FewShotSAMLib.data.support import Support
from FewShotSAMLib.data.volume import Segment
from FewShotSAMLib.phantom.abdomen import Phantom, abdomen
from FewShotSAMLib.segmentation.results import Cancelled, Progress
from FewShotSAMLib.segmentation.segmenter import load_segmenter

# ----------------------------------------------------------------- seeds, progress, cancel


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_same_seed_gives_the_same_labels(segmenter, patient, other, strategy):
    support = marked(patient, LIVER)
    some = {"strategy": strategy, "range": (2, 5)}
    first = segmenter.segment(other.image, [support], seed=5, **some)
    segmenter.segment(patient.image, [support], strategy="slices", range=(0, 1))
    fresh = at_half_size(load_segmenter(device="cpu", seed=5))
    again = fresh.segment(other.image, [support], **some)
    assert np.array_equal(first.labels.voxels, again.labels.voxels)
    for a, b in zip(first.slices, again.slices, strict=True):
        assert (a.index, a.label, a.score, a.area_mm2) == (b.index, b.label, b.score, b.area_mm2)
        if a.prompts is not None:
            assert np.array_equal(a.prompts.points, b.prompts.points)


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_progress_grows_and_ends_complete(segmenter, patient, other, strategy, own):
    query = patient if own else other
    seen: list[Progress] = []
    segmenter.segment(
        query.image, [marked(patient, LIVER)], strategy=strategy, progress=seen.append
    )
    assert seen[-1].done == seen[-1].total > 0
    stages = list(dict.fromkeys(p.stage for p in seen))
    assert [p.stage for p in seen] == sorted((p.stage for p in seen), key=stages.index)
    for stage in stages:
        steps = [p for p in seen if p.stage == stage]
        done = [p.done for p in steps]
        assert done == sorted(done)
        assert len({p.total for p in steps}) == 1
        assert all(0 <= p.done <= p.total for p in steps)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("own", [True, False])
def test_progress_of_a_range(segmenter, strategy, own):
    """A range that lies across two batches of slices counts its own slices only."""
    deep = {"shape": (12, 40, 40), "spacing": (8.3, 8.3, 16.7)}
    query = abdomen(**deep)
    support = marked(query if own else abdomen(**deep, seed=2), LIVER)
    seen: list[Progress] = []
    segmenter.segment(
        query.image, [support], strategy=strategy, range=(6, 9), progress=seen.append
    )
    assert all(0 <= p.done <= p.total == 4 for p in seen)
    assert seen[-1].done == 4


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("after", [1, 2])
def test_cancelling_leaves_nothing(segmenter, patient, strategy, after):
    cancel, seen = threading.Event(), []

    def progress(step: Progress) -> None:
        seen.append(step)
        if len(seen) == after:
            cancel.set()

    with pytest.raises(Cancelled):
        segmenter.segment(
            patient.image, [marked(patient, LIVER)], strategy=strategy, progress=progress,
            cancel=cancel,
        )  # fmt: skip
    assert len(seen) == after, "it stops at the next step"


def test_a_cancelled_segmenter_serves_again(segmenter, patient):
    support, index = marked(patient, LIVER), patient.marked_slice()
    some = {"range": (index, index + 1)}
    before = segmenter.segment(patient.image, [support], **some)
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Cancelled):
        segmenter.segment(patient.image, [support], cancel=cancel, **some)
    after = segmenter.segment(patient.image, [support], cancel=threading.Event(), **some)
    assert np.array_equal(before.labels.voxels, after.labels.voxels)


def test_kept_slices_change_nothing(patient, other):
    """One range after the other, another drawing, another volume and back."""
    plain, keeping = (at_half_size(load_segmenter(device="cpu")) for _ in range(2))
    keeping.keeps_slices = True
    index = patient.marked_slice()
    for query, support, chosen in (
        (patient, marked(patient, LIVER), (index - 1, index + 1)),
        (patient, marked(patient, SPLEEN), (index, index + 1)),
        (other, marked(patient, LIVER), (3, 4)),
        (patient, marked(patient, LIVER), (index, index + 2)),
    ):
        one, again = (
            s.segment(query.image, [support], range=chosen).labels.voxels for s in (plain, keeping)
        )
        assert one.any() and np.array_equal(one, again)


def test_cancelling_from_another_thread(segmenter, patient):
    cancel = threading.Event()
    timer = threading.Timer(0.3, cancel.set)
    timer.start()
    try:
        with pytest.raises(Cancelled):
            for _ in range(100):
                segmenter.segment(
                    patient.image, [marked(patient)], strategy="slices", cancel=cancel
                )
    finally:
        timer.cancel()


def test_an_error_in_the_callers_progress_is_the_callers(segmenter, patient):
    def progress(_: Progress) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        segmenter.segment(patient.image, [marked(patient, LIVER)], progress=progress)


# ------------------------------------------------------------------------------- prompts


def test_prompts_of_one_slice_are_those_of_the_segmentation(segmenter, patient, other):
    support = marked(patient, LIVER, SPLEEN)
    index = other.marked_slice()
    prompts = segmenter.prompts(other.image, [support], index)
    assert set(prompts) == {LIVER, SPLEEN}
    result = segmenter.segment(other.image, [support], strategy="slices", range=(index, index))
    for one in result.slices:
        assert np.allclose(one.prompts.points, prompts[one.label].points, atol=1e-4)
        assert np.array_equal(one.prompts.labels, prompts[one.label].labels)
    liver = other.truth.voxels[index] == LIVER
    points = np.rint(prompts[LIVER].positives).astype(int)
    assert liver[points[:, 1], points[:, 0]].mean() > 0.3


# -------------------------------------------------------------------------------- errors


def sagittal(phantom: Phantom) -> Support:
    column = int((phantom.truth.voxels == LIVER).sum((0, 1)).argmax())
    voxels = np.zeros_like(phantom.truth.voxels)
    voxels[:, :, column] = phantom.truth.voxels[:, :, column] == LIVER
    return Support.from_labels(phantom.image, phantom.truth.with_voxels(voxels), axis="sagittal")


def renamed(phantom: Phantom) -> Support:
    support = marked(phantom, LIVER)
    segments = {LIVER: Segment("spleen", (0, 1, 0))}
    return replace(support, labels=replace(support.labels, segments=segments))


@pytest.mark.parametrize(
    ("supports", "options", "says"),
    [
        ([], {}, "no support"),
        ([marked, sagittal], {}, "axial and sagittal"),
        ([lambda p: marked(p, LIVER), renamed], {}, "label 1 is 'liver'"),
        ([marked], {"strategy": "memories"}, "strategy 'memories'"),
        ([marked], {"range": (-1, 3)}, "0 to 7"),
        ([marked], {"range": (2, 8)}, "0 to 7"),
        ([marked], {"range": (5, 4)}, "0 to 7"),
        ([marked], {"window": (300.0, 100.0)}, "window"),
    ],
)
def test_impossible_wishes_are_refused_in_one_line(segmenter, patient, supports, options, says):
    with pytest.raises(InputError) as caught:
        segmenter.segment(patient.image, [make(patient) for make in supports], **options)
    line = str(caught.value)
    assert says in line and "\n" not in line


def test_a_slice_that_is_not_there_has_no_prompts(segmenter, patient):
    with pytest.raises(InputError, match="0 to 7"):
        segmenter.prompts(patient.image, [marked(patient)], 8)


def test_a_constant_volume_is_refused(segmenter, patient):
    flat = patient.image.with_voxels(np.full(SMALL["shape"], 7, np.int16), name="flat.nrrd")
    with pytest.raises(InputError, match="flat.nrrd"):
        segmenter.segment(flat, [marked(patient)])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"model": "huge"}, "model 'huge'"),
        ({"method": "magic"}, "method 'magic'"),
        ({"device": "tpu"}, "device 'tpu'"),
        ({"features": "huge"}, "features 'huge'"),
    ],
)
def test_unknown_names_are_refused_in_one_line(options, says):
    with pytest.raises(InputError) as caught:
        load_segmenter(**({"device": "cpu"} | options))
    line = str(caught.value)
    assert says in line and "use" in line and "\n" not in line


def test_one_encoder_alone_segments_too(patient):
    alone = load_segmenter(device="cpu", features="none")
    result = alone.segment(patient.image, [marked(patient, LIVER)], range=(3, 5))
    assert (result.labels.voxels == LIVER).any()
