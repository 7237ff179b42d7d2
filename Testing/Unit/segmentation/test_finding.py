"""Structures of another patient: found where they are, or said not to be there."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage
from small_abdomens import at_half_size

from FewShotSAMLib import InputError, Support, load_segmenter
from FewShotSAMLib.evaluation.metrics import dice
from FewShotSAMLib.phantom.abdomen import Phantom, abdomen
from FewShotSAMLib.segmentation.borders import closed
from FewShotSAMLib.segmentation.finding import candidates as candidates_module
from FewShotSAMLib.segmentation.finding.candidates import candidates
from FewShotSAMLib.segmentation.finding.expected import within_reach
from FewShotSAMLib.segmentation.finding.extent import extended_marks
from FewShotSAMLib.segmentation.finding.reverse import reverse_dice
from FewShotSAMLib.segmentation.results import Cancelled

pytestmark = pytest.mark.slow
SIZE = {"shape": (20, 128, 128), "spacing": (2.5, 2.5, 10.0)}
LIVER, RIGHT_KIDNEY, LEFT_KIDNEY, SPLEEN = 1, 2, 3, 4


@pytest.fixture(scope="module")
def patient(one_thread) -> Phantom:
    return abdomen(**SIZE)


@pytest.fixture(scope="module")
def another(one_thread) -> Phantom:
    return abdomen(**SIZE, seed=5)


@pytest.fixture(scope="module")
def segmenter(one_thread):
    return at_half_size(load_segmenter(device="cpu"))


@pytest.fixture(scope="module")
def full_size(one_thread):
    """Where fine edges decide."""
    return load_segmenter(device="cpu")


@pytest.fixture(scope="module")
def support(patient) -> Support:
    return Support.from_labels(patient.image, patient.truth, axis="axial", slices="middle")


@pytest.fixture(scope="module")
def result(segmenter, another, support):
    return segmenter.segment(another.image, [support])


@pytest.mark.parametrize(("side", "reach"), [(64, 0.05), (64, 0.001), (20, 0.6), (7, 0.2)])
def test_what_is_within_reach_lies_in_a_square_around(side, reach):
    inside = torch.rand(3, side, side, generator=torch.Generator().manual_seed(0)) > 0.99
    width = 2 * max(1, round(reach * side)) + 1
    expected = ndimage.binary_dilation(inside.numpy(), np.ones((1, width, width)))
    assert np.array_equal(within_reach(inside, reach).numpy(), expected)


def test_one_mark_is_extended_over_the_whole_structure(patient, support):
    reached = extended_marks(support)
    for label, share in reached.items():
        place = np.linspace(0, len(share) - 1, patient.truth.shape[0]).round().astype(int)
        found = (share > 0.5).any((1, 2))[place]
        there = (patient.truth.voxels == label).any((1, 2))
        assert (found == there).mean() > 0.75, label
        assert share.min() >= 0 and share.max() <= 1


def test_all_organs_of_another_patient(result, another):
    for label in (LIVER, RIGHT_KIDNEY, LEFT_KIDNEY, SPLEEN):
        assert dice(result.labels.voxels == label, another.truth.voxels == label) > 0.75, label
    assert {one.state for one in result.structures} == {"found"}
    assert [one.label for one in result.structures] == [1, 2, 3, 4]


def test_scores_are_estimates_of_dice(result, another):
    errors = []
    for one in result.slices:
        if one.present:
            found = result.labels.voxels[one.index] == one.label
            there = another.truth.voxels[one.index] == one.label
            errors.append(abs(one.score - dice(found, there)))
            assert 0 <= one.score <= 1 and one.signals is not None
    assert np.mean(errors) < 0.2


def test_a_structure_outside_of_the_field_of_view_is_not_found(segmenter, another, support):
    there = np.flatnonzero((another.truth.voxels == RIGHT_KIDNEY).any((1, 2)))
    first = int(there[-1]) + 2
    above = replace(
        another.image, voxels=np.ascontiguousarray(another.image.voxels[first:]),
        origin=tuple(another.image.index_to_world((0, 0, first))),
    )
    result = segmenter.segment(above, [support])
    millilitres = (result.labels.voxels == RIGHT_KIDNEY).sum() * np.prod(SIZE["spacing"]) / 1000
    assert millilitres < 5
    state = {one.label: one for one in result.structures}[RIGHT_KIDNEY]
    assert state.state in ("not found", "doubtful")
    truth = another.truth.voxels[first:]
    assert dice(result.labels.voxels == LIVER, truth == LIVER) > 0.7


def test_left_is_not_taken_for_right(segmenter, patient, another):
    one = Support.from_labels(
        patient.image, patient.truth, axis="axial", slices="middle", keep_labels=[LEFT_KIDNEY]
    )
    found = segmenter.segment(another.image, [one]).labels.voxels == LEFT_KIDNEY
    assert dice(found, another.truth.voxels == LEFT_KIDNEY) > 0.75
    assert not (found & (another.truth.voxels == RIGHT_KIDNEY)).any()


def test_the_reverse_check_knows_a_wrong_mask(segmenter, another, support):
    work = segmenter.work(another.image, [support])
    kidney = next(s for s in work.structures if s.label == RIGHT_KIDNEY)
    index = int((another.truth.voxels == RIGHT_KIDNEY).sum((1, 2)).argmax())

    def check(label: int) -> float:
        mask = torch.from_numpy(another.truth.voxels[index] == label)[None]
        cover = work.frame.masks_to_model(mask)[0, 0]
        return reverse_dice(work, kidney, index, (cover * 2 - 1) * 8)

    assert check(RIGHT_KIDNEY) > 0.6
    assert check(RIGHT_KIDNEY) > check(LIVER) + 0.3


def test_it_is_followed_from_where_its_mask_ends_with_it(full_size, another, support):
    def best(volume):
        work = full_size.work(volume, [support])
        kidney = next(s for s in work.structures if s.label == RIGHT_KIDNEY)
        found = candidates(work, kidney)
        assert [c.score for c in found] == sorted((c.score for c in found), reverse=True)
        for one in found:
            mask = (one.found.logits > 0).cpu().numpy()
            assert one.found.signals.closed == closed(work.grey(one.index), mask)
        return found[0]

    usual = best(another.image)
    assert usual.found.signals.closed > 0.8
    blurred = another.image.voxels.copy()
    kidney = another.truth.voxels[usual.index] == RIGHT_KIDNEY
    around = ndimage.binary_dilation(kidney, iterations=12) & ~kidney
    blurred[usual.index][around] = np.median(blurred[usual.index][kidney])
    other = best(replace(another.image, voxels=blurred))
    assert other.index != usual.index and other.found.signals.closed > 0.8


def test_a_candidate_that_nothing_speaks_for_is_one(segmenter, another, support, monkeypatch):
    """Of several patients one may find nothing, another a mask that fills the picture."""
    work = segmenter.work(another.image, [support])
    kidney = next(s for s in work.structures if s.label == RIGHT_KIDNEY)
    one = candidates(work, kidney)[0]
    nothing = replace(one.found, signals=replace(one.found.signals, closed=0.0))
    answers = iter([[], [replace(one, found=nothing)]])
    monkeypatch.setattr(candidates_module, "_of", lambda *_: next(answers))
    monkeypatch.setattr(type(kidney), "by_support", lambda self: [self])
    assert candidates(work, kidney)[0].score == 0


def test_without_an_overview_it_is_found_by_its_looks(segmenter, another, support):
    plain = replace(support, overview=None)
    work = segmenter.work(another.image, [plain])
    assert work.priors == {}
    found = segmenter.segment(another.image, [plain]).labels.voxels == LIVER
    assert dice(found, another.truth.voxels == LIVER) > 0.5


def test_more_patients_do_not_hurt(segmenter, another, support, result):
    third = abdomen(**SIZE, seed=9)
    more = Support.from_labels(third.image, third.truth, axis="axial", slices="middle")
    both = segmenter.segment(another.image, [support, more])

    def mean(one) -> float:
        return np.mean([
            dice(one.labels.voxels == k, another.truth.voxels == k) for k in (1, 2, 3, 4)
        ])

    assert mean(both) > mean(result) - 0.03


def test_doubtful_structures_can_be_left_out(segmenter, another, support):
    changed = another.image.voxels.astype(np.float32)
    spleen = another.truth.voxels == SPLEEN
    changed[spleen] *= 0.25  # it looks like another organ
    query = replace(another.image, voxels=changed.astype(np.int16))
    kept = segmenter.segment(query, [support])
    dropped = segmenter.segment(query, [support], doubtful="drop")
    unsure = {one.label for one in kept.structures if one.state == "doubtful"}
    for label in (1, 2, 3, 4):
        if label in unsure:
            assert not (dropped.labels.voxels == label).any()
        else:
            assert np.array_equal(dropped.labels.voxels == label, kept.labels.voxels == label)
    with pytest.raises(InputError, match="keep or drop"):
        segmenter.segment(query, [support], doubtful="perhaps")


@pytest.mark.parametrize("dark", [(SPLEEN,), (LIVER, SPLEEN)])
def test_an_organ_that_is_dark_in_another_patient_is_found_where_it_lies(
    segmenter, another, support, dark
):
    changed = another.image.voxels.astype(np.float32)
    changed[np.isin(another.truth.voxels, dark)] *= 0.3  # as with iron
    query = replace(another.image, voxels=changed.astype(np.int16))
    priors = segmenter.work(query, [support]).priors
    result = segmenter.segment(query, [support])
    for label in dark:
        assert not priors[label].alike
        assert dice(result.labels.voxels == label, another.truth.voxels == label) > 0.8
    for label in {LIVER, RIGHT_KIDNEY, LEFT_KIDNEY} - set(dark):
        assert priors[label].alike
        assert dice(result.labels.voxels == label, another.truth.voxels == label) > 0.85
    state = {one.label: one.state for one in result.structures}
    assert state[SPLEEN] == "doubtful"  # it lies where it should, but looks like something else


def test_each_slice_on_its_own_finds_a_dark_organ_too(full_size, another, support):
    changed = another.image.voxels.astype(np.float32)
    spleen = another.truth.voxels == SPLEEN
    changed[spleen] *= 0.3
    query = replace(another.image, voxels=changed.astype(np.int16))
    found = full_size.segment(query, [support], strategy="slices", assume_present=True)
    assert dice(found.labels.voxels == SPLEEN, spleen) > 0.6


def test_finding_can_be_cancelled(segmenter, another, support):
    cancel = threading.Event()

    def stop(progress) -> None:
        if progress.stage == "find":
            cancel.set()

    with pytest.raises(Cancelled):
        segmenter.segment(another.image, [support], cancel=cancel, progress=stop)


@pytest.mark.parametrize("overview", [True, False])
def test_a_support_file_keeps_its_overview(support, tmp_path, overview):
    one = support if overview else replace(support, overview=None)
    one.save(tmp_path / "one.nrrd")
    again = Support.load(tmp_path / "one.nrrd")
    assert (again.overview is None) == (not overview)
    if overview:
        assert np.array_equal(again.overview.grey, support.overview.grey)
        assert again.overview.shape == support.overview.shape
        assert again.overview.spacing == pytest.approx(support.overview.spacing)
