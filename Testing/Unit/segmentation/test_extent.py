"""How far marks reach in the support's own volume, and who owns a place that two of them reach."""

from __future__ import annotations

import numpy as np
import pytest

from FewShotSAMLib.data.support import Support
from FewShotSAMLib.data.volume import Volume
from FewShotSAMLib.segmentation.finding.extent import extended_marks

SLICES, SIDE = 24, 64
UPPER, LOWER = 1, 2
BORDER = 10  # first slice of the upper structure


@pytest.fixture(scope="module")
def stacked() -> tuple[Volume, Volume]:
    """A bright disc that goes on, as bright, in another one: a spleen above a kidney."""
    y, x = np.mgrid[:SIDE, :SIDE]
    random = np.random.default_rng(0)
    grey = random.normal(0, 6, (SLICES, SIDE, SIDE)) + 300 * (np.hypot(y - 32, x - 32) < 28)
    labels = np.zeros(grey.shape, np.uint8)
    disc = np.hypot(y - 36, x - 40) < 9
    for index in range(2, 22):
        labels[index][disc] = UPPER if index >= BORDER else LOWER
    grey[labels > 0] += 500
    image = Volume(grey.clip(0).astype(np.int16), (4.0, 4.0, 6.0), modality="MR", name="stacked")
    return image, Volume(labels, image.spacing, name="labels")


def _reached(image: Volume, labels: Volume, keep: list[int]) -> dict[int, np.ndarray]:
    support = Support.from_labels(
        image, labels, axis="axial", slices="middle", keep_labels=keep
    )
    return {
        label: np.flatnonzero((share > 0.5).sum((1, 2)) > 20)
        for label, share in extended_marks(support).items()
    }


def test_one_structure_ends_where_another_one_as_bright_begins(stacked):
    reached = _reached(*stacked, [UPPER, LOWER])
    assert abs(int(reached[UPPER].min()) - BORDER) <= 2
    assert abs(int(reached[LOWER].max()) - (BORDER - 1)) <= 2
    assert reached[UPPER].max() == 21 and reached[LOWER].min() == 2
    alone = _reached(*stacked, [UPPER])
    assert alone[UPPER].min() == 2  # nobody says that it is another one


def test_no_place_belongs_to_two_structures(stacked):
    image, labels = stacked
    support = Support.from_labels(image, labels, axis="axial", slices="middle")
    shares = extended_marks(support)
    assert sum(shares.values()).max() <= 1 + 1e-6
    for label in (UPPER, LOWER):
        place = support.positions_of(label)[0]
        index = support.slices_of(label)[0]
        drawn = support.masks(label)[place]
        assert drawn.any()
        assert np.array_equal(shares[label][index] > 0.5, drawn)  # marks stay as they were drawn
