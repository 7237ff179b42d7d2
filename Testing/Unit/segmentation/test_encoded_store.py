"""Pictures that were encoded are known again, and no others are taken for them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_abdomens import LIVER, marked

from FewShotSAMLib.models.interfaces import Embeddings
from FewShotSAMLib.prompting.encoded_slices import EncodedSlices
from FewShotSAMLib.segmentation.encoded_store import EncodedStore
from FewShotSAMLib.segmentation.segmenter import Segmenter


def encode(images: torch.Tensor) -> EncodedSlices:
    return EncodedSlices(Embeddings(images * 2), (images * 2,))


def pictures(grey: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(grey)[:, None].expand(-1, 3, -1, -1)


@given(order=st.lists(st.integers(0, 4), min_size=1, max_size=30), room=st.integers(1, 6))
def test_whatever_was_forgotten_the_answer_is_that_of_the_picture(order, room):
    some = torch.rand(5, 1, 3, 4, 4)
    store = EncodedStore(budget=room * encode(some[0]).bytes)
    for which in order:
        answer = store.encoded(some[which].clone(), encode)
        assert torch.equal(answer.features[0], some[which] * 2)
        assert len(store) <= room
        assert store._bytes == sum(one.bytes for one in store._kept.values())


def test_grey_and_coloured_pictures_and_batches_are_told_apart():
    grey = np.random.default_rng(0).random((2, 4, 4), np.float32)
    colours = pictures(grey).clone()
    colours[:, 1] += 1
    store, asked = EncodedStore(), [pictures(grey), colours, pictures(grey[:1]), pictures(grey[1:])]
    answers = [store.encoded(one, encode) for one in asked * 2]
    assert len(store) == 4, "two in grey, two in colours"
    for picture, first, second in zip(asked, answers[:4], answers[4:], strict=True):
        assert torch.equal(first.features[0], picture * 2)
        assert torch.equal(second.features[0], picture * 2)


def test_only_what_is_new_is_encoded():
    some, seen = pictures(np.random.default_rng(0).random((4, 4, 4), np.float32)), []

    def counted(images: torch.Tensor) -> EncodedSlices:
        seen.append(len(images))
        return encode(images)

    store = EncodedStore()
    for asked in ([0, 1], [1, 2], [2, 0, 1], [3, 3]):
        answer = store.encoded(some[asked], counted)
        assert torch.equal(answer.features[0], some[asked] * 2)
    assert seen == [2, 1, 2], "two, one, none, and one that is asked for twice"


def test_one_more_marked_slice_costs_no_encoding(segmenter, patient, monkeypatch):
    """As a person works: segment, mark another slice, segment again."""
    calls: list[bytes] = []
    embed = segmenter.encoders.model.embed

    def counted(images):
        calls.extend(one.numpy().tobytes() for one in images)
        return embed(images)

    monkeypatch.setattr(segmenter.encoders.model, "embed", counted)
    fresh = replace(segmenter.encoders, store=EncodedStore())  # other tests saw this patient
    segmenter = Segmenter(fresh, segmenter.device)
    supports = [marked(patient, LIVER, index=index) for index in (3, 5)]
    first = segmenter.segment(patient.image, supports[:1], range=(1, 6))
    assert 0 < len(calls) <= 8, "the range is encoded in pairs, the first with one before it"
    assert len(set(calls)) == len(calls), "each slice once, the marked one too"
    calls.clear()
    second = segmenter.segment(patient.image, supports, range=(1, 6))
    again = segmenter.segment(patient.image, supports[:1], range=(1, 6))
    assert not calls
    assert np.array_equal(first.labels.voxels, again.labels.voxels)
    assert np.array_equal(second.labels.voxels[5] == LIVER, patient.truth.voxels[5] == LIVER)
