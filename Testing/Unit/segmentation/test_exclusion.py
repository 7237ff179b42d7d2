"""Voxels of other structures are never taken, and a structure ends where they begin."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_abdomens import LIVER, SPLEEN, STRATEGIES, marked, score

from FewShotSAMLib.data.errors import InputError
from FewShotSAMLib.data.support import Support
from FewShotSAMLib.data.volume import Volume
from FewShotSAMLib.evaluation.metrics import dice

LEFT = 1


def neighbours(phantom, label: int) -> Volume:
    """All that is marked in the truth, but for one structure."""
    others = (phantom.truth.voxels > 0) & (phantom.truth.voxels != label)
    return phantom.truth.with_voxels(others, segments={})


def half_of(found: np.ndarray) -> np.ndarray:
    """Every voxel of the half-space that holds half of some."""
    columns = np.indices(found.shape)[2]
    return columns < np.median(columns[found])


def touching(shape=(7, 96, 96)) -> tuple[Volume, np.ndarray, np.ndarray]:
    """Two blocks of one grey that touch, the more to the left the further from the middle slice:
    what they look like, the left one and the right one."""
    rng = np.random.default_rng(0)
    voxels = rng.normal(100, 10, shape)
    body = np.hypot(*np.mgrid[-48:48, -48:48]) < 46
    voxels[:, ~body] = 0
    left, right = np.zeros(shape, bool), np.zeros(shape, bool)
    for k in range(shape[0]):
        border = 48 - 4 * abs(k - 3)
        left[k, 34:62, 22:border] = right[k, 34:62, border:74] = True
    voxels[left | right] += 150
    image = Volume(voxels.astype(np.int16), (3.0, 3.0, 6.0), modality="MR", name="touching")
    return image, left, right


def support_of(image: Volume, mask: np.ndarray, index: int) -> Support:
    drawn = np.zeros(mask.shape, np.uint8)
    drawn[index] = mask[index]
    return Support.from_labels(image, image.with_voxels(drawn), axis="axial")


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_excluded_voxel_is_in_the_result(segmenter, patient, other, strategy, own):
    """The part of the liver that would be found for certain is excluded as well."""
    query = patient if own else other
    plain = segmenter.segment(query.image, [marked(patient, LIVER)], strategy=strategy)
    found = plain.labels.voxels == LIVER
    excluded = (neighbours(query, LIVER).voxels > 0) | (found & half_of(found))
    assert (found & excluded).any()
    shown = []
    result = segmenter.segment(
        query.image, [marked(patient, LIVER)], strategy=strategy, preview=shown.append,
        excluded=query.image.with_voxels(excluded),
    )  # fmt: skip
    assert not result.labels.voxels[excluded].any()
    assert own is False or result.labels.voxels.any()
    assert shown and not any(one.labels[excluded[one.index]].any() for one in shown)
    for one in result.slices:
        pixels = (result.labels.voxels[one.index] == LIVER).sum()
        assert one.area_mm2 == pytest.approx(pixels * 5.2**2) and one.present == (pixels > 0)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_true_neighbours_do_no_harm(segmenter, patient, strategy):
    for label in (LIVER, SPLEEN):
        support = [marked(patient, label)]
        plain = segmenter.segment(patient.image, support, strategy=strategy)
        bounded = segmenter.segment(
            patient.image, support, strategy=strategy, excluded=neighbours(patient, label)
        )
        assert score(bounded, patient, label) > score(plain, patient, label) - 0.02


def test_a_leak_ends_at_the_neighbour_and_does_not_go_on_behind_it(segmenter):
    """No edge is to be seen between them, so that the structure keeps its size where it should
    shrink. Two slices of the neighbour are enough to hold the leak back on those behind them."""
    image, left, right = touching()
    support = [support_of(image, left, 3)]
    plain = segmenter.segment(image, support).labels.voxels == LEFT
    bounded = segmenter.segment(image, support, excluded=image.with_voxels(right))
    inside = bounded.labels.voxels == LEFT
    assert (plain & right).sum() > 0.05 * right.sum(), "there is something to prevent"
    assert not (inside & right).any()
    assert dice(inside, left) > max(0.9, dice(plain, left))
    near = np.zeros_like(right)
    near[(2, 4), :, :] = right[(2, 4), :, :]
    stopped = segmenter.segment(image, support, excluded=image.with_voxels(near))
    beyond = np.r_[0:2, 5:7]
    leaked = (stopped.labels.voxels[beyond] == LEFT) & right[beyond]
    assert leaked.sum() < 0.75 * (plain[beyond] & right[beyond]).sum()


def test_points_lie_beside_what_is_excluded_and_some_negatives_in_it(segmenter):
    image, left, right = touching()
    result = segmenter.segment(
        image, [support_of(image, left, 3)], strategy="slices", range=(5, 5),
        excluded=image.with_voxels(right),
    )  # fmt: skip
    (prompts,) = [one.prompts for one in result.slices]
    column, row = np.rint(prompts.points).astype(int).T
    there = right[5][row, column]
    assert not there[prompts.labels == 1].any()
    assert there[prompts.labels == 0].sum() >= 2


def test_a_slice_on_its_own_and_points_of_a_person(segmenter, patient):
    from FewShotSAMLib.prompting.point_prompts import PointPrompts

    index = patient.marked_slice() - 1
    support, truth = [marked(patient, LIVER)], patient.truth.voxels[index]
    liver = np.broadcast_to(truth == LIVER, patient.truth.shape)
    half = half_of(liver)
    row, column = np.argwhere(liver[index] & ~half[index])[5]
    for prompts in (None, {LIVER: PointPrompts.of([[column, row]])}):
        plain = segmenter.segment_slice(patient.image, support, index, prompts=prompts)
        answer = segmenter.segment_slice(
            patient.image, support, index, prompts=prompts,
            excluded=patient.image.with_voxels(half),
        )  # fmt: skip
        assert plain.preview.labels[half[index]].any() and answer.preview.labels.any()
        assert not answer.preview.labels[half[index]].any()


def test_what_was_drawn_on_excluded_voxels_is_left_out(segmenter, patient):
    support, index = [marked(patient, LIVER)], patient.marked_slice()
    everything = patient.image.with_voxels(np.ones(patient.image.shape, np.uint8))
    for excluded in (everything, patient.image.with_voxels(patient.truth.voxels == LIVER)):
        result = segmenter.segment(patient.image, support, excluded=excluded)
        assert not result.labels.voxels[index].any()


def test_nothing_excluded_changes_nothing(segmenter, patient):
    support = [marked(patient, LIVER)]
    none = patient.image.with_voxels(np.zeros(patient.image.shape, np.uint8))
    plain, same = (
        segmenter.segment(patient.image, support, excluded=excluded) for excluded in (None, none)
    )
    assert np.array_equal(plain.labels.voxels, same.labels.voxels)


def test_another_grid_is_refused_in_one_line(segmenter, patient):
    moved = replace(patient.truth, origin=(9.0, 0.0, 0.0), name="neighbours.nrrd")
    with pytest.raises(InputError, match="neighbours.nrrd: lies on another grid"):
        segmenter.segment(patient.image, [marked(patient, LIVER)], excluded=moved)
