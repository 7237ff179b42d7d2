"""Two bodies brought together by their overviews."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from FewShotSAMLib.data.intensity import intensity_range
from FewShotSAMLib.data.overview import Overview
from FewShotSAMLib.data.volume import Volume
from FewShotSAMLib.phantom.abdomen import Phantom, abdomen
from FewShotSAMLib.segmentation.finding.alignment import align

SIZE = {"shape": (24, 96, 96), "spacing": (3.4, 3.4, 8.0)}


def overview(volume: Volume, axis: str = "axial") -> Overview:
    canonical, _ = volume.canonical()
    return Overview.of(canonical, axis, intensity_range(canonical))


@pytest.fixture(scope="module")
def patient(one_thread) -> Phantom:
    return abdomen(**SIZE)


@pytest.fixture(scope="module")
def another(one_thread) -> Phantom:
    return abdomen(**SIZE, seed=5)


def carried_dice(query: Phantom, support: Phantom, label: int) -> float:
    """Dice of the support's whole organ, carried to the query at the overview's size."""
    alignment = align(overview(query.image), overview(support.image))
    inside = torch.from_numpy((support.truth.voxels == label).astype(np.float32))
    found = alignment.carry(inside)
    truth = torch.from_numpy((query.truth.voxels == label).astype(np.float32))
    truth = torch.nn.functional.interpolate(truth[None, None], size=found.shape, mode="area")[0, 0]
    a, b = found > 0.5, truth > 0.5
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_a_volume_is_aligned_to_itself(patient):
    alignment = align(overview(patient.image), overview(patient.image))
    lines = [torch.arange(n, dtype=torch.float32) for n in alignment.shape]
    own = torch.stack(torch.meshgrid(*lines, indexing="ij"), -1)
    body = (own - alignment.points).norm(dim=-1)
    assert alignment.trust == 1.0 and alignment.agreement > 0.95
    assert body.median() < 0.5


@pytest.mark.parametrize("label", [1, 2, 3, 4])
def test_organs_of_another_patient_come_to_lie_on_each_other(patient, another, label):
    assert carried_dice(another, patient, label) > 0.6


def shifted(phantom: Phantom, first: int, last: int) -> Phantom:
    """Only some slices of it."""
    origin = tuple(phantom.image.index_to_world((0, 0, first)))
    return Phantom(*(
        replace(v, voxels=np.ascontiguousarray(v.voxels[first:last]), origin=origin)
        for v in (phantom.image, phantom.truth)
    ))


@settings(max_examples=4, deadline=None)
@given(first=st.integers(0, 8), last=st.integers(17, 24))
def test_fields_of_view_that_overlap_in_part(patient, another, first, last):
    part = shifted(another, first, last)
    alignment = align(overview(part.image), overview(patient.image))
    middle = alignment.points[:, alignment.points.shape[1] // 2, alignment.points.shape[2] // 2, 0]
    place = (middle.median() + 0.5) * patient.image.shape[0] / alignment.shape[0] - 0.5
    assert abs(float(place) - (first + last - 1) / 2) < 4


def test_a_pair_is_aligned_once(patient, another):
    """By content: the same file read again is the same body, another window another picture."""
    before = align(overview(another.image), overview(patient.image))
    assert align(overview(another.image), overview(patient.image)) is before
    assert align(overview(patient.image), overview(another.image)) is not before
    thin = overview(another.image)
    thin.grey[10, 20, 20] ^= 64
    assert align(thin, overview(patient.image)) is not before
    taller = replace(overview(another.image), spacing=(3.4, 3.4, 9.0))
    assert align(taller, overview(patient.image)) is not before


def test_another_part_of_the_body_is_not_trusted(patient):
    random = np.random.default_rng(0)
    other = ndimage.gaussian_filter(random.normal(size=patient.image.shape), (1, 4, 4))
    other = np.rint(other / other.std() * 150 + 400).clip(0).astype(np.int16)
    alignment = align(
        overview(replace(patient.image, voxels=other)), overview(patient.image)
    )
    assert alignment.trust == 0


def test_an_inverted_scan_is_trusted_as_much(patient, another):
    """As between CT and MR, or two sequences: what is bright in one is dark in the other."""
    voxels = another.image.voxels
    body = voxels > 0.05 * voxels.max()
    dark = np.where(body, voxels.max() + 1 - voxels.clip(0), 0).astype(np.int16)
    inverted = replace(another.image, voxels=dark)
    assert align(overview(inverted), overview(patient.image)).trust > 0.5


def test_a_volume_of_any_shape_is_aligned_or_not_trusted(patient):
    long = replace(patient.image, voxels=np.repeat(patient.image.voxels, 60, axis=0))
    for one, other in ((long, patient.image), (patient.image, long)):
        alignment = align(overview(one), overview(other))
        assert torch.isfinite(alignment.points).all() and 0 <= alignment.trust <= 1


def test_what_the_support_does_not_show_is_empty(patient):
    low = shifted(patient, 0, 10)
    alignment = align(overview(patient.image), overview(low.image))
    carried = alignment.carry(torch.ones(alignment.shape))
    assert carried[-4:].mean() < 0.1 and carried[2:6].mean() > 0.5


@given(
    slices=st.integers(1, 300), height=st.integers(2, 90), width=st.integers(1, 90),
    colours=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_an_overview_is_small_and_knows_where_slices_lie(slices, height, width, colours):
    shape = (slices, height, width, 3) if colours else (slices, height, width)
    voxels = np.random.default_rng(slices).integers(0, 255, shape).astype(np.uint8)
    voxels.flat[0], voxels.flat[-1] = 0, 255
    thin = overview(Volume(voxels, (1.0, 1.0, 2.0)))
    assert max(thin.grey.shape[1:]) <= 64 and len(thin.grey) <= 128 and thin.grey.dtype == np.uint8
    assert thin.extent == pytest.approx((width, height, 2.0 * slices))
    places = [thin.place(index) for index in range(slices)]
    assert places[0] >= -0.5 and places[-1] <= len(thin.grey) - 0.5
    assert np.all(np.diff(places) > 0)
