"""Slices are shown as they get labels, and one slice can be asked for on its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_abdomens import LIVER, SPLEEN, STRATEGIES, marked

from FewShotSAMLib.data.errors import InputError
from FewShotSAMLib.data.support import Support
from FewShotSAMLib.data.volume import Volume
from FewShotSAMLib.evaluation.metrics import dice
from FewShotSAMLib.prompting.point_prompts import PointPrompts
from FewShotSAMLib.segmentation.results import SlicePreview


def turned(volume: Volume) -> Volume:
    """The same patient, stored with k along the patient's left and with j reversed."""
    voxels = np.ascontiguousarray(volume.voxels.transpose(2, 1, 0)[:, ::-1])
    origin = volume.index_to_world([0, volume.size[1] - 1, 0])
    direction = volume.direction[:, [2, 1, 0]] * (1, -1, 1)
    return replace(
        volume, voxels=voxels, spacing=volume.spacing[::-1], origin=tuple(origin),
        direction=direction,
    )  # fmt: skip


# ------------------------------------------------------------------------------- previews


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_slice_with_labels_is_shown(segmenter, patient, other, strategy, own):
    query, shown = (patient if own else other).image, []
    support = [marked(patient, LIVER, SPLEEN)]
    plain = segmenter.segment(query, support, strategy=strategy)
    seen = segmenter.segment(query, support, strategy=strategy, preview=shown.append)
    assert np.array_equal(plain.labels.voxels, seen.labels.voxels), "looking changes nothing"
    last: dict[int, SlicePreview] = {one.index: one for one in shown}
    held = {int(k) for k in seen.labels.voxels.any(axis=(1, 2)).nonzero()[0]}
    assert held and held <= set(last)
    for index, one in last.items():
        assert (one.axis, one.labels.shape, one.labels.dtype) == (0, (64, 64), np.uint8)
        assert np.array_equal(one.labels, seen.labels.voxels[index])
        assert [(r.index, r.label) for r in one.results] == [(index, LIVER), (index, SPLEEN)]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_previews_lie_as_the_file_does(segmenter, patient, strategy):
    """Axial slices of a volume whose array's last axis runs upwards."""
    query, shown = turned(patient.image), []
    labels = turned(patient.marked(patient.marked_slice()))
    support = Support.from_labels(query, labels, axis="axial", keep_labels=[LIVER])
    result = segmenter.segment(
        query, support, strategy=strategy, range=(2, 5), preview=shown.append
    )
    assert {one.axis for one in shown} == {2}
    assert {one.index for one in shown} <= {2, 3, 4, 5} and len(shown) >= 3
    for one in {one.index: one for one in shown}.values():
        assert np.array_equal(one.labels, result.labels.voxels[:, :, one.index])


def test_a_shown_slice_is_the_callers_own(segmenter, patient):
    """Scribbling on it changes no result."""
    support = marked(patient, LIVER)
    expected = segmenter.segment(patient.image, support).labels.voxels

    def scribble(one: SlicePreview) -> None:
        one.labels[:] = 9

    found = segmenter.segment(patient.image, support, preview=scribble)
    assert np.array_equal(found.labels.voxels, expected)


# ------------------------------------------------------------------- one slice on its own


def test_one_slice_is_what_the_whole_volume_gives(segmenter, patient, other):
    support, index = marked(patient, LIVER, SPLEEN), other.marked_slice()
    answer = segmenter.segment_slice(other.image, support, index)
    whole = segmenter.segment(other.image, support, strategy="slices", range=(index, index))
    assert (answer.preview.axis, answer.preview.index) == (0, index)
    assert dice(answer.preview.labels > 0, whole.labels.voxels[index] > 0) > 0.98
    prompts = segmenter.prompts(other.image, support, index)
    assert set(answer.prompts) == set(prompts) == {LIVER, SPLEEN}
    for label, points in prompts.items():
        assert np.allclose(answer.prompts[label].points, points.points, atol=1e-3)
        assert answer.confidence[label].shape == answer.preview.labels.shape
        assert answer.confidence[label].dtype == np.float32
    liver = other.truth.voxels[index] == LIVER
    body = other.image.voxels[index] > 100
    likeness = answer.confidence[LIVER]
    assert likeness[liver].mean() > likeness[body & ~liver].mean()


def test_given_points_say_what_is_meant(segmenter, patient, other):
    """Points of the spleen under the liver's label find the spleen."""
    support, index = marked(patient, LIVER), other.marked_slice()
    spleen = other.truth.voxels[index] == SPLEEN
    y, x = np.argwhere(spleen).mean(0)
    points = PointPrompts.of([[x, y]], [p[::-1] for p in np.argwhere(
        other.truth.voxels[index] == LIVER)[::60]])
    before = segmenter.segment_slice(other.image, support, index).preview.labels == LIVER
    answer = segmenter.segment_slice(other.image, support, index, prompts={LIVER: points})
    after = answer.preview.labels == LIVER
    assert dice(after, spleen) > dice(before, spleen) + 0.3
    assert np.allclose(answer.prompts[LIVER].points, points.points, atol=1e-3)


def test_no_positive_point_means_not_there(segmenter, patient, other):
    support, index = marked(patient, LIVER, SPLEEN), other.marked_slice()
    none = {SPLEEN: PointPrompts.of(np.zeros((0, 2)), [[30.0, 30.0], [-40.0, 200.0]])}
    answer = segmenter.segment_slice(other.image, support, index, prompts=none)
    assert not (answer.preview.labels == SPLEEN).any()
    assert (answer.preview.labels == LIVER).any(), "the other structure is left alone"
    assert len(answer.prompts[SPLEEN]) == 1, "only what the model sees"


def test_slices_after_each_other_do_not_mix(segmenter, patient, other):
    """What is kept between calls belongs to one volume and its supports."""
    one, two = marked(patient, LIVER), marked(patient, SPLEEN)
    index = other.marked_slice()
    fresh = segmenter.segment_slice(other.image, one, index).preview.labels
    segmenter.segment_slice(other.image, one, index - 1)
    assert set(np.unique(segmenter.segment_slice(other.image, two, index).preview.labels)) <= {
        0, SPLEEN
    }  # fmt: skip
    segmenter.segment_slice(patient.image, one, index)
    assert np.array_equal(segmenter.segment_slice(other.image, one, index).preview.labels, fresh)


def test_a_slice_lies_as_the_file_does(segmenter, patient, other):
    support, index = marked(patient, LIVER), other.marked_slice()
    plain = segmenter.segment_slice(other.image, support, index)
    answer = segmenter.segment_slice(turned(other.image), support, index)
    assert answer.preview.axis == 2
    there = answer.preview.labels.T[::-1]
    assert dice(there > 0, plain.preview.labels > 0) > 0.98
    assert np.allclose(answer.confidence[LIVER].T[::-1], plain.confidence[LIVER], atol=1e-3)
    assert np.allclose(answer.prompts[LIVER].points, plain.prompts[LIVER].points, atol=0.1)


def test_a_drawn_slice_stays_and_takes_no_points(segmenter, patient):
    support, index = marked(patient, LIVER), patient.marked_slice()
    answer = segmenter.segment_slice(patient.image, support, index)
    assert np.array_equal(answer.preview.labels == LIVER, patient.truth.voxels[index] == LIVER)
    assert answer.preview.results[0].source == "support" and not answer.prompts
    with pytest.raises(InputError, match="drawn by hand"):
        segmenter.segment_slice(
            patient.image, support, index, prompts={LIVER: PointPrompts.of([[30, 30]])}
        )


@pytest.mark.parametrize(
    ("label", "point", "says"), [(9, (30, 30), "label 9"), (LIVER, (80, 30), r"\(80, 30\)")]
)
def test_impossible_points_are_refused(segmenter, patient, other, label, point, says):
    with pytest.raises(InputError, match=says):
        segmenter.segment_slice(
            other.image, marked(patient, LIVER), 3, prompts={label: PointPrompts.of([point])}
        )


def test_a_slice_that_is_not_there_is_refused(segmenter, patient):
    with pytest.raises(InputError, match="0 to 7"):
        segmenter.segment_slice(patient.image, marked(patient), 8)
