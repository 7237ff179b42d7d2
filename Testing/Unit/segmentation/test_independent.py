"""Slices on their own: how far masks reach."""

from __future__ import annotations

import numpy as np
import pytest

from FewShotSAMLib import Support, load_segmenter
from FewShotSAMLib.phantom.abdomen import abdomen
from FewShotSAMLib.segmentation.finding import expected

SIZE = {"shape": (10, 96, 96), "spacing": (3.4, 3.4, 16.0)}
LIVER = 1


@pytest.fixture(scope="module")
def segmenter(one_thread):
    return load_segmenter(device="cpu")


@pytest.mark.parametrize("seed", [0, 5])
def test_what_the_plan_places_is_drawn_wider(segmenter, monkeypatch, seed):
    """In another patient; what a person drew in the same one needs no plan."""
    marked, query = abdomen(**SIZE), abdomen(**SIZE, seed=seed)
    support = Support.from_labels(
        marked.image, marked.truth, axis="axial", slices="middle", keep_labels=[LIVER]
    )

    def voxels() -> np.ndarray:
        result = segmenter.segment(
            query.image, [support], strategy="slices", range=(3, 6), assume_present=True
        )
        return result.labels.voxels == LIVER

    wider = voxels()
    monkeypatch.setattr(expected, "WIDER", 0.0)
    narrow = voxels()
    assert narrow.any() and not (narrow & ~wider).any()
    assert bool(wider.sum() > narrow.sum()) == (seed != 0)
