"""Organs of another patient that are larger or smaller than the support's."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from small_abdomens import at_half_size

from FewShotSAMLib import Support, load_segmenter
from FewShotSAMLib.data.frames import SliceFrame
from FewShotSAMLib.data.slicing import whole_field
from FewShotSAMLib.evaluation.metrics import dice
from FewShotSAMLib.phantom.abdomen import Phantom, abdomen
from FewShotSAMLib.segmentation.finding import sizes
from FewShotSAMLib.segmentation.finding.prior import Prior
from FewShotSAMLib.segmentation.finding.sizes import SizeParameters, fitted_priors
from FewShotSAMLib.segmentation.monitor import Monitor
from FewShotSAMLib.segmentation.results import Cancelled

SIZE = {"shape": (20, 128, 128), "spacing": (2.5, 2.5, 10.0)}
SPLEEN = 4


@given(
    st.floats(0.5, 2.0), st.floats(24, 39), st.floats(19, 28), st.floats(3, 5), st.floats(3, 5)
)
def test_a_larger_plan_keeps_its_middle(factor, row, column, high, wide):
    rows, columns = np.mgrid[:64, :48]
    bell = np.exp(-(((rows - row) / high) ** 2) - ((columns - column) / wide) ** 2)
    share = torch.from_numpy(np.stack([0 * bell, bell, bell]).astype(np.float32))
    field = whole_field((64, 48), (1.0, 1.0))
    prior = Prior(share, 0.7, 0.9, SliceFrame((64, 48), (1.0, 1.0), field, 64), 30)
    larger = prior.enlarged(factor)
    assert larger.share.shape == share.shape and larger.trust == prior.trust
    assert not larger.share[0].any() and 0 <= larger.share.min() <= larger.share.max() <= 1 + 1e-6
    before, after = (one[1].numpy() for one in (share, larger.share))
    assert ndimage.center_of_mass(after) == pytest.approx(
        ndimage.center_of_mass(before), abs=0.5 * factor
    )
    assert after.sum() == pytest.approx(before.sum() * factor**2, rel=0.1)


def test_nothing_stays_nothing():
    field = whole_field((8, 8), (1.0, 1.0))
    prior = Prior(torch.zeros(4, 8, 8), 1.0, 1.0, SliceFrame((8, 8), (1.0, 1.0), field, 8), 4)
    assert not prior.enlarged(1.5).share.any()


@pytest.fixture(scope="module")
def segmenter(one_thread):
    return at_half_size(load_segmenter(device="cpu"))


@pytest.fixture(scope="module")
def support(one_thread) -> Support:
    patient = abdomen(**SIZE)
    return Support.from_labels(patient.image, patient.truth, axis="axial", slices="middle")


def with_large_spleen(phantom: Phantom) -> Phantom:
    """Twice as large or more in each slice, inwards, over what lies there, in fat."""
    grey, truth = phantom.image.voxels.copy(), phantom.truth.voxels.copy()
    random = np.random.default_rng(0)
    disc = ndimage.iterate_structure(ndimage.generate_binary_structure(2, 1), 9)
    inside = np.median(grey[truth == SPLEEN])
    for k in np.flatnonzero((truth == SPLEEN).any((1, 2))):
        body = ndimage.binary_fill_holes(ndimage.binary_opening(grey[k] > 40))
        grown = ndimage.binary_dilation(truth[k] == SPLEEN, disc)
        grown &= ndimage.binary_erosion(body, iterations=6)
        new = grown & (truth[k] == 0)
        truth[k][new] = SPLEEN
        grey[k][new] = inside + 12 * random.standard_normal(new.sum())
        around = ndimage.binary_dilation(truth[k] == SPLEEN, iterations=5) & (truth[k] == 0)
        grey[k][around] //= 3
    return Phantom(replace(phantom.image, voxels=grey), replace(phantom.truth, voxels=truth))


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["propagate", "slices"])
def test_a_spleen_twice_as_large_is_drawn_to_its_end(support, strategy, monkeypatch):
    usual = abdomen(**SIZE, seed=5)
    large = with_large_spleen(usual)
    spleen = large.truth.voxels == SPLEEN
    assert spleen.sum() > 1.7 * (usual.truth.voxels == SPLEEN).sum()

    def found() -> tuple[float, float]:
        one = load_segmenter(device="cpu")
        labels = one.segment(large.image, [support], strategy=strategy).labels.voxels
        planned = one.work(large.image, [support]).priors[SPLEEN].share.sum()
        return dice(labels == SPLEEN, spleen), float(planned)

    fits, size = found()
    monkeypatch.setattr(sizes, "fitted_priors", lambda work, _: work.priors)
    plain, usual_size = found()
    assert fits > max(0.75, plain + 0.04)
    assert size > 1.5 * usual_size


@pytest.mark.slow
def test_what_fits_or_looks_otherwise_keeps_its_size(segmenter, support):
    work = segmenter.work(abdomen(**SIZE, seed=5).image, [support])
    unlike = {label: replace(one, look=0.1) for label, one in work.priors.items()}
    for priors, strict in (
        (work.priors, SizeParameters(gain=50.0)), (work.priors, SizeParameters(least=30)),
        (unlike, SizeParameters()),
    ):
        fitted = fitted_priors(replace(work, priors=priors), Monitor(), strict)
        assert all(fitted[label] is one for label, one in priors.items())


@pytest.mark.slow
@pytest.mark.parametrize("together", [1, 2, 8])  # as on a card
def test_one_slice_is_what_it_is_in_the_volume(support, together, monkeypatch):
    segmenter = at_half_size(load_segmenter(device="cpu"))
    monkeypatch.setattr(segmenter.encoders.model, "slices_at_once", together)
    large = with_large_spleen(abdomen(**SIZE, seed=5)).image
    whole = segmenter.segment(large, [support], strategy="slices").labels.voxels
    assert (whole == SPLEEN).any()
    for index in range(0, len(whole), 6):
        one = segmenter.segment_slice(large, [support], index).preview.labels
        assert np.array_equal(one, whole[index]), index


def test_the_last_sizes_are_known(segmenter, support, monkeypatch):
    volume, calls = abdomen(**SIZE, seed=5).image, []
    real = fitted_priors
    monkeypatch.setattr(
        sizes, "fitted_priors", lambda *given: calls.append(1) or real(*given)
    )
    first = segmenter.work(volume, [support]).priors
    segmenter.prompts(volume, [support], 9)
    segmenter.segment(volume, [support], range=(9, 9))
    assert segmenter.work(volume, [support]).priors is first and len(calls) == 1
    segmenter.work(replace(volume), [support])
    assert len(calls) == 2, "an equal volume is another one"
    segmenter.segment(volume, [support], range=(9, 9), excluded=abdomen(**SIZE, seed=5).truth)
    assert len(calls) == 3


def test_it_tells_how_far_it_is_and_can_be_cancelled(segmenter, support):
    work, seen = segmenter.work(abdomen(**SIZE, seed=5).image, [support]), []
    fitted_priors(work, Monitor(progress=seen.append))
    steps = [(one.stage, one.done, one.total) for one in seen]
    assert steps == [("size", 5 * k, 20) for k in range(5)]
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Cancelled):
        fitted_priors(work, Monitor(cancel=cancel))
