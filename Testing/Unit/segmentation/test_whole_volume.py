"""From supports to a segmented volume, with the shipped weights on small generated abdomens."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_abdomens import LIVER, SMALL, SPLEEN, STRATEGIES, marked, score

from FewShotSAMLib.data.support import Support
from FewShotSAMLib.data.volume import Segment, Volume
from FewShotSAMLib.evaluation.metrics import dice
from FewShotSAMLib.phantom.abdomen import Phantom, abdomen

# --------------------------------------------------------------------------- good results


@pytest.mark.parametrize(("strategy", "least"), [("slices", 0.45), ("propagate", 0.8)])
def test_the_same_patient(segmenter, patient, strategy, least):
    result = segmenter.segment(patient.image, [marked(patient)], strategy=strategy)
    scores = {label: score(result, patient, label) for label in (1, 2, 3, 4)}
    assert np.mean(list(scores.values())) > least, scores
    assert result.labels.same_grid(patient.image)
    assert result.labels.voxels.dtype == np.uint8
    assert result.names == {
        1: "liver", 2: "right kidney", 3: "left kidney", 4: "spleen"
    }  # fmt: skip
    assert result.labels.segments == patient.truth.segments, "names and colours are kept"
    assert (result.axis, result.method, result.strategy) == ("axial", "synpo", strategy)
    assert result.model.name == "embedded" and len(result.model.sha256) == 64
    assert result.device.startswith("cpu")
    assert result.seconds and all(s >= 0 for s in result.seconds.values())


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_drawn_slices_stay_as_they_were_drawn(segmenter, patient, strategy):
    index = patient.marked_slice()
    drawn = np.where(patient.truth.voxels[index] == LIVER, LIVER, 0)
    drawn[:, ::2] = 0  # a drawing that no model would make
    labels = patient.marked(index)
    voxels = np.zeros_like(labels.voxels)
    voxels[index] = drawn
    support = Support.from_labels(patient.image, labels.with_voxels(voxels), axis="axial")
    result = segmenter.segment(patient.image, [support], strategy=strategy)
    assert np.array_equal(result.labels.voxels[index], drawn)
    by_hand = [s for s in result.slices if s.source == "support"]
    assert [(s.index, s.label, s.score, s.present) for s in by_hand] == [(index, LIVER, 1.0, True)]
    assert by_hand[0].area_mm2 == pytest.approx((drawn > 0).sum() * 5.2**2)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_another_patient(segmenter, patient, other, strategy):
    """Well above chance, and no slice counts as drawn."""
    result = segmenter.segment(other.image, [marked(patient, LIVER)], strategy=strategy)
    assert score(result, other, LIVER) > 0.5
    assert all(s.source != "support" for s in result.slices)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_slice_and_label_is_told_of(segmenter, patient, strategy):
    result = segmenter.segment(
        patient.image, [marked(patient, LIVER, SPLEEN)], strategy=strategy
    )
    told = [(s.label, s.index) for s in result.slices]
    assert told == [(label, k) for label in (LIVER, SPLEEN) for k in range(8)]
    for s in result.slices:
        pixels = (result.labels.voxels[s.index] == s.label).sum()
        assert s.area_mm2 == pytest.approx(pixels * 5.2**2)
        assert s.present == (pixels > 0)
        assert 0 <= s.score <= 1
        assert s.source in ("support", "prompted", "propagated")
        if s.prompts is not None:
            assert len(s.prompts.positives) >= 1
            assert s.prompts.points.min() > -1 and s.prompts.points.max() < 64


def test_several_supports_of_one_structure(segmenter, patient):
    """Both drawings are kept, and two slices serve better than the worse one alone."""
    middle = patient.marked_slice()
    indices = (middle, middle + 1)
    supports = [marked(patient, LIVER, index=k) for k in indices]
    both = segmenter.segment(patient.image, supports, strategy="propagate")
    for k in indices:
        assert np.array_equal(
            both.labels.voxels[k] == LIVER, patient.truth.voxels[k] == LIVER
        )
    alone = [segmenter.segment(patient.image, [s], strategy="propagate") for s in supports]
    assert score(both, patient, LIVER) >= min(score(a, patient, LIVER) for a in alone)


def test_structures_from_different_supports(segmenter, patient):
    """One label from each, one of them of another patient."""
    supports = [marked(patient, LIVER), marked(abdomen(**SMALL, seed=1), SPLEEN)]
    index = patient.marked_slice()
    chosen = (index - 1, index + 1)
    result = segmenter.segment(patient.image, supports, strategy="slices", range=chosen)
    assert set(result.names) == {LIVER, SPLEEN}
    worked = slice(index - 1, index + 2)
    truth = patient.truth.voxels[worked]
    assert dice(result.labels.voxels[worked] == LIVER, truth == LIVER) > 0.5
    assert (result.labels.voxels == SPLEEN).any()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_label_values_above_255(segmenter, patient, strategy):
    drawn = patient.marked(patient.marked_slice())
    voxels = np.zeros(drawn.shape, np.uint16)
    voxels[drawn.voxels == LIVER] = 300
    voxels[drawn.voxels == SPLEEN] = 44  # 300 modulo 256
    labels = replace(drawn, voxels=voxels, segments={300: Segment("liver", (1, 0, 0))})
    support = Support.from_labels(patient.image, labels, axis="axial")
    index = patient.marked_slice()
    result = segmenter.segment(
        patient.image, [support], strategy=strategy, range=(index, index + 2)
    )
    assert result.labels.voxels.dtype == np.uint16
    assert set(np.unique(result.labels.voxels)) == {0, 44, 300}
    after = slice(index + 1, index + 3)
    truth = patient.truth.voxels[after]
    assert dice(result.labels.voxels[after] == 300, truth == LIVER) > 0.4
    assert result.names == {44: "label_44", 300: "liver"}


def alone(phantom: Phantom, index: int) -> tuple[Volume, np.ndarray]:
    """One slice as a volume of its own, and the liver in it."""
    origin = tuple(phantom.image.index_to_world(np.array([0, 0, index])))
    one = slice(index, index + 1)
    image = Volume(phantom.image.voxels[one], SMALL["spacing"], origin, modality="MR")
    return image, phantom.truth.voxels[one] == LIVER


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_query_of_one_slice(segmenter, patient, strategy):
    index = patient.marked_slice()
    image, liver = alone(patient, index + 1)
    result = segmenter.segment(image, [marked(patient, LIVER)], strategy=strategy)
    assert result.labels.shape == (1, 64, 64)
    assert dice(result.labels.voxels == LIVER, liver) > 0.4
    own = Support.from_labels(image, image.with_voxels(liver.astype(np.uint8)), axis="axial")
    assert own.axis == "axial"
    result = segmenter.segment(image, [own], strategy=strategy)
    assert np.array_equal(result.labels.voxels > 0, liver)


def test_a_colour_volume(segmenter, patient):
    grey = np.clip(patient.image.voxels / 4.0, 0, 255).astype(np.uint8)
    colour = patient.image.with_voxels(np.repeat(grey[..., None], 3, -1), modality="RGB")
    support = Support.from_labels(
        colour, patient.marked(patient.marked_slice()), axis="axial", keep_labels=[LIVER]
    )
    for strategy, least in (("slices", 0.3), ("propagate", 0.6)):
        result = segmenter.segment(colour, [support], strategy=strategy)
        assert result.labels.voxels.shape == SMALL["shape"]
        assert score(result, patient, LIVER) > least


def test_colour_and_grey_do_not_match_but_work(segmenter, patient):
    """A grey support for a colour query of the same place: the drawing is of another image."""
    grey = np.clip(patient.image.voxels / 4.0, 0, 255).astype(np.uint8)
    colour = patient.image.with_voxels(np.repeat(grey[..., None], 3, -1), modality="RGB")
    result = segmenter.segment(colour, [marked(patient, LIVER)], strategy="slices")
    assert all(s.source == "prompted" for s in result.slices)


def test_nothing_but_the_query_is_read(segmenter, patient):
    before = patient.image.voxels.copy()
    segmenter.segment(patient.image, [marked(patient, SPLEEN)])
    assert np.array_equal(patient.image.voxels, before)


# ----------------------------------------------------------------------------- the range


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_range_is_kept_to(segmenter, patient, strategy):
    index = patient.marked_slice()
    first, last = index - 1, min(index + 2, 7)
    result = segmenter.segment(
        patient.image, [marked(patient, LIVER)], strategy=strategy, range=(first, last)
    )
    outside = np.ones(8, bool)
    outside[first : last + 1] = False
    assert not result.labels.voxels[outside].any()
    assert (result.labels.voxels[index : last + 1] == LIVER).any(axis=(1, 2)).all()
    assert [s.index for s in result.slices] == list(range(first, last + 1))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_range_beside_the_drawn_slice(segmenter, patient, strategy):
    """What was drawn still serves where it lies outside of the range."""
    index = patient.marked_slice()
    chosen = (index + 1, index + 1)
    result = segmenter.segment(
        patient.image, [marked(patient, LIVER)], strategy=strategy, range=chosen
    )
    found = result.labels.voxels[index + 1] == LIVER
    assert dice(found, patient.truth.voxels[index + 1] == LIVER) > 0.5
    assert not np.delete(result.labels.voxels, index + 1, axis=0).any()


def test_a_range_of_one_drawn_slice(segmenter, patient):
    index = patient.marked_slice()
    result = segmenter.segment(patient.image, [marked(patient)], range=(index, index))
    assert np.array_equal(result.labels.voxels[index], patient.truth.voxels[index])
