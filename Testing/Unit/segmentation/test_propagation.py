"""Where a structure that is followed from slice to slice ends, and what it leaves out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from FewShotSAMLib import Support, load_segmenter
from FewShotSAMLib.data.volume import Volume
from FewShotSAMLib.evaluation.metrics import dice
from FewShotSAMLib.segmentation.looks import UnlikeParameters
from FewShotSAMLib.segmentation.monitor import Monitor
from FewShotSAMLib.segmentation.presence import (
    learn_appearance,
    likeness,
    local_likeness,
    local_spread,
)
from FewShotSAMLib.segmentation.propagation import PropagationParameters, propagate

pytestmark = pytest.mark.slow
SLICES, SIDE = 20, 96
UPPER, LOWER = 1, 2
BORDER = 10  # first slice of the upper structure
MARKED = {LOWER: 8, UPPER: 16}


@pytest.fixture(scope="module")
def segmenter(one_thread):
    return load_segmenter(device="cpu")


@pytest.fixture(scope="module")
def stacked() -> tuple[Volume, Volume]:
    """Two bright structures of a body, one on the other, nothing to see between them."""
    z, y, x = np.mgrid[:SLICES, :SIDE, :SIDE]
    random = np.random.default_rng(0)
    grey = random.normal(0, 8, z.shape) + 300 * (np.hypot((y - 48) / 36, (x - 48) / 44) < 1)
    labels = np.zeros(z.shape, np.uint8)
    disc = np.hypot(y - 50 - z / 3, x - 58) < 13
    labels[disc & (z >= BORDER) & (z < 19)] = UPPER
    labels[disc & (z < BORDER) & (z >= 1)] = LOWER
    grey[labels > 0] += 400
    image = Volume(grey.clip(0).astype(np.int16), (3.0, 3.0, 6.0), modality="MR", name="stacked")
    return image, Volume(labels, image.spacing, name="labels")


def _followed(segmenter, image: Volume, labels: Volume, p: PropagationParameters) -> np.ndarray:
    """The labels (k, j, i) from one marked slice of each."""
    supports = [
        Support.from_labels(image, labels, axis="axial", slices=[index], keep_labels=[label])
        for label, index in MARKED.items()
    ]
    work = segmenter.work(image, supports)
    propagate(work, Monitor(), p)
    return work.labels


def _ends(labels: np.ndarray, label: int) -> np.ndarray:
    return np.flatnonzero((labels == label).any((1, 2)))[[0, -1]]


def test_a_front_ends_where_most_belongs_to_what_came_there_before(segmenter, stacked):
    image, truth = stacked
    labels = _followed(segmenter, image, truth, PropagationParameters())
    for label in MARKED:
        assert np.abs(_ends(labels, label) - _ends(truth.voxels, label)).max() <= 3, label
    assert dice(labels > 0, truth.voxels > 0) > 0.85  # nothing lies between them
    never = _followed(segmenter, image, truth, PropagationParameters(taken=1.0))
    assert _ends(never, UPPER)[0] < BORDER - 3  # what the rule is for


def test_a_front_ends_where_the_model_is_less_sure_than_asked(segmenter, stacked):
    """The embedded model's own word decides; the limit for models without one does not."""
    image, truth = stacked

    def slices(**limits: float) -> int:
        labels = _followed(segmenter, image, truth, PropagationParameters(**limits))
        return sum(len(np.unique(plane)) - 1 for plane in labels)

    usual = slices()
    assert slices(ends_below=1.0) == usual
    assert slices(judged_below=1.0) == len(MARKED)
    assert slices(judged_below=0.0) >= usual > len(MARKED)


def test_what_looks_otherwise_is_left_out(segmenter, stacked):
    """A mark that ran over the border takes no more of what lies there from slice to slice."""
    image, truth = stacked
    drawn = truth.voxels.copy()
    drawn[drawn == LOWER] = 0
    drawn[MARKED[UPPER], :, 58:80] |= np.uint8(truth.voxels[MARKED[UPPER]].any(1)[:, None])
    labels = Volume(drawn, truth.spacing, name="drawn")
    support = Support.from_labels(
        image, labels, axis="axial", slices=[MARKED[UPPER]], keep_labels=[UPPER]
    )

    def beside(weight: float) -> int:
        work = segmenter.work(image, [support])
        propagate(work, Monitor(), PropagationParameters(unlike=UnlikeParameters(grey=weight)))
        work.labels[MARKED[UPPER]] = 0
        return int(((work.labels == UPPER) & (truth.voxels == 0)).sum())

    assert beside(0.75) < 0.9 * beside(0.0)


@given(seed=st.integers(0, 99), side=st.integers(4, 40))
def test_local_likeness_is_likeness_place_by_place(seed, side):
    random = np.random.default_rng(seed)
    image = random.random((side, side)).astype(np.float32)
    mask = random.random((side, side)) > 0.7
    mask[0, 0] = True
    look = learn_appearance(image[None], mask[None], image)
    places = local_likeness(look, image, 0)
    assert places.shape == image.shape
    assert places[mask].mean() == pytest.approx(likeness(look, image, mask), abs=1e-4)
    blurred = local_likeness(look, image, 1.5)
    assert places.min() - 1e-4 <= blurred.min() and blurred.max() <= places.max() + 1e-4


@given(seed=st.integers(0, 99), sigma=st.floats(1, 4))
def test_spread_is_the_deviation_around_each_place(seed, sigma):
    random = np.random.default_rng(seed)
    image = (0.3 + 0.05 * random.random((24, 30))).astype(np.float32)
    image[:, 15:] += 0.2 * (np.indices((24, 15)).sum(0) % 2)
    spread = local_spread(image, sigma)
    assert (spread >= 0).all() and (spread <= 1).all()
    assert spread[:, -2:].min() > 3 * spread[:, :2].max()  # a chequered half, an even one
    assert local_spread(np.full((9, 9), 0.7, np.float32), sigma).max() < 0.01
    assert np.allclose(local_spread(image + 0.1, sigma), spread, atol=0.02)


def test_what_is_as_bright_but_not_as_even_is_left_out(segmenter):
    """An even organ that ends, and below it speckled tissue of the same mean."""
    random = np.random.default_rng(3)
    speckled = 300 + 150 * np.sign(random.normal(size=(16, 96, 96)))
    speckled[:, :, :8] = speckled[:, :, -8:] = 0
    truth = np.zeros((16, 96, 96), np.uint8)
    for index, half in enumerate(np.linspace(22, 4, 13)):
        truth[index, 48 - int(half) : 48 + int(half), 30:66] = 1
    voxels = np.where(truth == 1, 300 + 10 * random.normal(size=truth.shape), speckled)
    image = Volume(voxels.astype(np.int16), (3, 3, 5), name="speckled", modality="MR")
    labels = Volume(truth, image.spacing, name="drawn")
    support = Support.from_labels(image, labels, axis="axial", slices=[1])

    def taken(weight: float) -> tuple[int, int]:
        """Voxels of the tissue, and of the organ."""
        work = segmenter.work(image, [support])
        propagate(work, Monitor(), PropagationParameters(unlike=UnlikeParameters(spread=weight)))
        return int(((work.labels == 1) & (truth == 0)).sum()), int((work.labels & truth).sum())

    (tissue, organ), (much, whole) = taken(UnlikeParameters().spread), taken(0.0)
    assert tissue < 0.8 * much
    assert organ > 0.95 * whole  # its edges are not even either
