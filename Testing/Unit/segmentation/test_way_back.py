"""Parts of a structure that the way out missed and the way back sees."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from FewShotSAMLib import Support, load_segmenter
from FewShotSAMLib.data.volume import Volume
from FewShotSAMLib.segmentation.found import Masks
from FewShotSAMLib.segmentation.monitor import Monitor
from FewShotSAMLib.segmentation.outward import drawn_masks
from FewShotSAMLib.segmentation.parts import PartParameters, closing_parts, drawn_parts
from FewShotSAMLib.segmentation.propagation_parameters import PropagationParameters
from FewShotSAMLib.segmentation.way_back import found_on_the_way_back
from FewShotSAMLib.segmentation.work import Work

SLICES, SIDE = 18, 96
MARKED, APPEARS, JOINED, END = 3, 8, 12, 15
P = PartParameters()


@pytest.fixture(scope="module")
def notched() -> tuple[Volume, Volume, np.ndarray]:
    """A bright structure with a notch that is filled from one slice on, what was known of it on
    the way out, which took the filling in some slices later, and what that has missed."""
    z, y, x = np.mgrid[:SLICES, :SIDE, :SIDE]
    disc = (np.hypot(y - 48, x - 40) < 24) & (z >= 1) & (z < END)
    filling = disc & (abs(y - 48) < 9) & (x > 44)
    truth = disc & ~(filling & (z < APPEARS))
    known = disc & ~(filling & (z < JOINED))
    grey = np.random.default_rng(0).normal(0, 8, z.shape)
    grey += 300 * (np.hypot((y - 48) / 40, (x - 48) / 46) < 1) + 400 * truth
    image = Volume(grey.clip(0).astype(np.int16), (3.0, 3.0, 6.0), modality="MR", name="notched")
    return image, Volume(known.astype(np.uint8), image.spacing, name="known"), truth & ~known


@pytest.fixture(scope="module")
def out(one_thread, notched) -> tuple[Work, Masks]:
    """The work with one marked slice, and the masks of the way out."""
    segmenter = load_segmenter(device="cpu")
    image, known, _ = notched
    every = Support.from_labels(image, known, axis="axial", slices=list(range(1, END)))
    masks = {
        key: one if key[1] == MARKED else replace(one, score=0.9, source="propagated")
        for key, one in drawn_masks(segmenter.work(image, [every]), 8.0).items()
    }
    marked = Support.from_labels(image, known, axis="axial", slices=[MARKED])
    return segmenter.work(image, [marked]), masks


def test_a_part_that_joined_farther_out_is_followed_to_where_it_ends(out, notched):
    work, masks = out
    gained = found_on_the_way_back(work, masks, {(1, MARKED)}, Monitor(), PropagationParameters())
    assert sorted(gained) == [(1, index) for index in range(APPEARS, JOINED)]
    for (_, index), one in gained.items():
        more = (one.logits > 0) & ~(masks[1, index].logits > 0)
        missed = work.frame.masks_to_model(_tensor(notched[2][index]))[0, 0] > 0.5
        assert int((more & missed).sum()) > 0.9 * int(missed.sum()), index
        assert int((more & missed).sum()) > 0.9 * int(more.sum()), index
        assert bool((one.logits >= masks[1, index].logits).all()), "nothing is taken away"


def test_where_nothing_grew_no_front_turns(out):
    work, masks = out
    asked = []
    monitor = Monitor(lambda progress: asked.append(progress.stage))
    p = PropagationParameters(grown=0.9)
    assert found_on_the_way_back(work, masks, {(1, MARKED)}, monitor, p) == {}
    assert not asked
    found_on_the_way_back(work, masks, {(1, MARKED)}, monitor, PropagationParameters())
    assert set(asked) == {"return"}


def test_a_part_that_reaches_the_drawn_slice_is_not_taken(out, notched):
    """The person left it out there: it is something else."""
    work, masks = out
    near = {(1, APPEARS - 1): masks[1, APPEARS - 1]}
    drawn = [replace(d, index=APPEARS - 1) for d in work.drawn]
    moved = replace(work, drawn=drawn)
    some = {key: one for key, one in masks.items() if key[1] >= APPEARS - 1} | near

    def gained(parts: PartParameters) -> Masks:
        p = PropagationParameters(parts=parts)
        return found_on_the_way_back(moved, some, set(near), Monitor(), p)

    assert gained(P) == {}
    assert gained(PartParameters(ends=1.0))  # what the rule is for


def _tensor(mask: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(mask))[None]


def _stack() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Grey levels, a structure with a notch, and its filling in the middle slices."""
    rows, columns = np.mgrid[:40, :40]
    disc = np.hypot(rows - 20, columns - 20) < 14
    notch = disc & (abs(rows - 20) < 5) & (columns > 20)
    grey = np.full((6, 40, 40), 0.2, np.float32) + 0.5 * disc
    grey += 0.02 * np.random.default_rng(0).standard_normal(grey.shape).astype(np.float32)
    known = np.repeat((disc & ~notch)[None], 6, 0)
    part = np.zeros_like(known)
    part[2:5] = notch
    return grey, known, part


def test_a_part_inside_of_a_structure_is_taken_whole():
    grey, known, part = _stack()
    assert (drawn_parts(grey, known, known | part, P) == part).all()
    scores = [(0.8, 0.8)] * 6
    assert (closing_parts(grey, known, known | part, scores, P) == part).all()


def test_what_a_drawing_left_out_is_not_taken():
    grey, known, part = _stack()
    assert not drawn_parts(grey[2:], known[2:], (known | part)[2:], P).any()


def test_what_looks_otherwise_or_lies_apart_is_not_taken():
    grey, known, part = _stack()
    assert not drawn_parts(np.where(part, 0.2, grey), known, known | part, P).any()
    away = np.zeros_like(part)
    away[2:5, :6, :6] = True
    assert not drawn_parts(np.where(away, 0.7, grey), known, known | away, P).any()


def test_without_a_drawing_a_mask_must_stay_closed_and_sure():
    grey, known, part = _stack()
    scores = [(0.8, 0.8)] * 3 + [(0.8, 0.2)] * 3
    taken = closing_parts(grey, known, known | part, scores, P)
    assert taken[2].any() and not taken[3:].any()


@given(seed=st.integers(0, 999), slices=st.integers(1, 5), share=st.floats(0, 0.9))
def test_only_what_was_seen_and_not_known_is_ever_taken(seed, slices, share):
    random = np.random.default_rng(seed)
    grey = random.random((slices, 24, 20)).astype(np.float32)
    known, seen = (random.random((2, slices, 6, 5)) < share).repeat(4, 2).repeat(4, 3)
    scores = [tuple(pair) for pair in random.random((slices, 2))]
    for taken in (drawn_parts(grey, known, seen, P), closing_parts(grey, known, seen, scores, P)):
        assert taken.dtype == bool and taken.shape == known.shape
        assert not (taken & (known | ~seen)).any()


@pytest.mark.parametrize(("grey", "scores"), [("disc", (0.0, 0.0)), ("even", (0.8, 0.01))])
def test_nothing_is_taken_where_nothing_speaks_for_the_mask(grey, scores):
    rows, columns = np.mgrid[:40, :40]
    disc, blob = np.hypot(rows - 20, columns - 12) < 7, np.hypot(rows - 20, columns - 28) < 9
    image = 0.3 + 0.5 * disc if grey == "disc" else np.ones((40, 40))
    assert not closing_parts(image[None], disc[None], (disc | blob)[None], [scores], P).any()
