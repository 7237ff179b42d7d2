"""Several patients as supports: their plans brought together, and who is followed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_abdomens import at_half_size

from FewShotSAMLib import Support, load_segmenter
from FewShotSAMLib.data.frames import SliceFrame
from FewShotSAMLib.data.slicing import whole_field
from FewShotSAMLib.evaluation.metrics import dice
from FewShotSAMLib.phantom.abdomen import Phantom, abdomen
from FewShotSAMLib.segmentation.finding.prior import Prior, mean_of
from FewShotSAMLib.segmentation.slices import Structure

pytestmark = pytest.mark.slow
SIZE = {"shape": (20, 128, 128), "spacing": (2.5, 2.5, 10.0)}
FRAME = SliceFrame((64, 64), (2.0, 2.0), whole_field((64, 64), (2.0, 2.0)), 64)


def _plan(first: int, trust: float = 1.0, shape: tuple[int, ...] = (8, 16, 16)) -> Prior:
    """Something in columns `first` to `first` + 5 of 16."""
    share = torch.zeros(8, 16, 16)
    share[2:6, 4:10, first : first + 5] = 1
    share = torch.nn.functional.interpolate(share[None, None], size=shape, mode="trilinear")[0, 0]
    return Prior(share, trust, 0.9, FRAME, 8)


@given(wrong=st.integers(0, 3), trust=st.floats(0.2, 1.0))
def test_a_plan_that_lies_elsewhere_counts_little_among_others(wrong, trust):
    plans = [_plan(9, trust) if n == wrong else _plan(3, trust) for n in range(4)]
    share = mean_of(plans).share
    assert share[3, 6, 5] > 0.95 and share[3, 6, 11] < 0.05
    assert share.max() <= 1 + 1e-6


def test_plans_of_other_grids_are_brought_together():
    both = mean_of([_plan(3, 0.9), _plan(3, 0.5, (9, 20, 18))])
    assert both.share.shape == (8, 16, 16) and both.trust == 0.9
    assert both.share[3, 6, 5] > 0.9


def test_one_support_alone():
    structure = Structure(1, "liver", ("a", "b", "c"), ("A", "B", "C"), (0, 1, 0))
    alone = structure.by_support()
    assert [(one.kept, one.marked) for one in alone] == [
        (("a", "c"), ("A", "C")), (("b",), ("B",)),
    ]
    assert alone[0].by_support() == []


def _smaller(one: Phantom, margin: int) -> Phantom:
    """The same patient in a smaller field of view."""
    inside = slice(margin, -margin)
    origin = tuple(one.image.index_to_world((margin, margin, 0)))
    return Phantom(*(
        replace(v, voxels=np.ascontiguousarray(v.voxels[:, inside, inside]), origin=origin)
        for v in (one.image, one.truth)
    ))


def test_two_patients_with_other_fields_of_view(one_thread):
    supports = [
        Support.from_labels(p.image, p.truth, axis="axial", slices="middle")
        for p in (abdomen(**SIZE), _smaller(abdomen(**SIZE, seed=3), 12))
    ]
    query = abdomen(**SIZE, seed=5)
    result = at_half_size(load_segmenter(device="cpu")).segment(query.image, supports)
    for label in (1, 2, 3, 4):
        assert dice(result.labels.voxels == label, query.truth.voxels == label) > 0.7, label
