"""Strategy "memory" on small SAM 2 networks with random weights. What such networks find means
nothing; when they are asked, what reaches the labels and what is refused does."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

pytest.importorskip("sam2", reason="needs sam2")

from small_abdomens import LIVER, SPLEEN, marked, two_patients  # noqa: E402
from small_networks import sam2_model, small_sam2  # noqa: E402

from FewShotSAMLib import load_segmenter  # noqa: E402
from FewShotSAMLib.data.errors import InputError  # noqa: E402
from FewShotSAMLib.models.devices import choose_device  # noqa: E402
from FewShotSAMLib.phantom.abdomen import Phantom  # noqa: E402
from FewShotSAMLib.segmentation.encoding import Encoders  # noqa: E402
from FewShotSAMLib.segmentation.results import Cancelled, Progress, SlicePreview  # noqa: E402
from FewShotSAMLib.segmentation.segmenter import Segmenter  # noqa: E402

SLICES = 12
DEEP = {"shape": (SLICES, 40, 40), "spacing": (8.3, 8.3, 16.7)}


@pytest.fixture(scope="module")
def patients() -> tuple[Phantom, Phantom]:
    return two_patients(DEEP)


def segmenter_with(object_score: float) -> tuple[Segmenter, torch.nn.Module]:
    """SAM 2 that is sure of an object (10) or of none (-10) in every slice."""
    network = small_sam2(128)
    with torch.no_grad():
        network.sam_mask_decoder.pred_obj_score_head.layers[-1].bias += object_score
    return Segmenter(
        Encoders(sam2_model(network), None, torch.device("cpu")), choose_device("cpu")
    ), network


def counted(module: torch.nn.Module) -> list[int]:
    """Grows by one with each call of the module."""
    calls: list[int] = []
    module.register_forward_hook(lambda *_: calls.append(1))
    return calls


@pytest.mark.parametrize("own", [True, False])
def test_every_slice_is_encoded_once_and_followed(patients, own):
    mine, other = patients
    query = mine if own else other
    segmenter, network = segmenter_with(10)
    encoded, followed = counted(network.image_encoder), counted(network.memory_attention)
    steps: list[Progress] = []
    shown: list[SlicePreview] = []
    result = segmenter.segment(
        query.image, marked(mine, LIVER, SPLEEN), strategy="memory", assume_present=True,
        progress=steps.append, preview=shown.append,
    )  # fmt: skip
    assert len(encoded) == (SLICES if own else SLICES + 1), "each slice, and another one marked"
    # Each structure once in each slice but its prompted one.
    assert len(followed) == 2 * (SLICES - 1)
    assert {(s.index, s.label) for s in result.slices} == {
        (k, label) for k in range(SLICES) for label in (LIVER, SPLEEN)
    }
    assert all(0 <= s.score <= 1 for s in result.slices) and result.strategy == "memory"
    assert any(s.source == "propagated" and s.present for s in result.slices)
    assert [s.done for s in steps if s.stage == "memory"] == sorted(
        s.done for s in steps if s.stage == "memory"
    )
    assert steps[-1].done == steps[-1].total == SLICES
    last = {one.index: one.labels for one in shown}
    assert set(last) == set(range(SLICES)), "as slices come"
    assert all(np.array_equal(last[k], result.labels.voxels[k]) for k in last)
    if own:
        k = mine.marked_slice()
        for label in (LIVER, SPLEEN):
            assert np.array_equal(result.labels.voxels[k] == label, mine.truth.voxels[k] == label)


def test_without_an_object_score_nothing_is_drawn_and_the_sweeps_end(patients):
    """As many slices without the structure as spatial memory looks back (6) end it."""
    mine, _ = patients
    segmenter, network = segmenter_with(-10)
    followed = counted(network.memory_attention)
    k = 4
    result = segmenter.segment(mine.image, marked(mine, LIVER, index=k), strategy="memory")
    assert [s.index for s in result.slices if s.present] == [k]
    assert all(s.score == 0 for s in result.slices if s.index != k)
    assert len(followed) == min(k, 6) + min(SLICES - 1 - k, 6) < SLICES - 1


def test_without_our_word_nothing_is_drawn_either(patients):
    """SAM 2 is sure of every slice; a volume whose other slices are empty says otherwise."""
    mine, _ = patients
    segmenter, _ = segmenter_with(10)
    k = mine.marked_slice()
    stored = np.full_like(mine.image.voxels, mine.image.voxels.min())
    stored[k] = mine.image.voxels[k]
    mine.image.voxels.setflags(write=True)
    before = mine.image.voxels.copy()
    mine.image.voxels[:] = stored
    try:
        result = segmenter.segment(mine.image, marked(mine, LIVER), strategy="memory")
    finally:
        mine.image.voxels[:] = before
    assert [s.index for s in result.slices if s.present] == [k]


def test_between_two_drawn_slices_both_ways_meet(patients):
    mine, _ = patients
    segmenter, network = segmenter_with(10)
    followed = counted(network.memory_attention)
    supports = [marked(mine, LIVER, index=k) for k in (5, 8)]
    segmenter.segment(mine.image, supports, strategy="memory", range=(4, 9), assume_present=True)
    assert len(followed) == 2 + 2 * 2, "slices 4 and 9 once, 6 and 7 from both"


def test_cancelling_stops_within_a_slice(patients):
    """Set while the first of two structures is followed: the second is not."""
    mine, _ = patients
    segmenter, network = segmenter_with(10)
    cancel = threading.Event()
    followed = counted(network.memory_attention)
    network.memory_attention.register_forward_hook(lambda *_: cancel.set())
    with pytest.raises(Cancelled):
        segmenter.segment(
            mine.image, marked(mine, LIVER, SPLEEN), strategy="memory", cancel=cancel
        )
    assert len(followed) == 1


def test_models_without_a_memory_refuse_and_say_which_have_one(patients):
    mine, _ = patients
    with pytest.raises(InputError, match="'embedded' has no memory of slices; use model fast, "
                                         "balanced or best, or strategy 'propagate'"):  # fmt: skip
        load_segmenter(device="cpu").segment(mine.image, marked(mine, LIVER), strategy="memory")
