"""Slices encoded on demand, progress and cancelling, and what is written into the labels."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import TINY_EMBEDDED

from FewShotSAMLib.data.frames import SliceFrame
from FewShotSAMLib.data.intensity import IntensityRange
from FewShotSAMLib.data.slicing import whole_field
from FewShotSAMLib.data.standard import Standard
from FewShotSAMLib.models.embedded import EmbeddedFeatures, EmbeddedModel
from FewShotSAMLib.models.embedded_network import EmbeddedNetwork
from FewShotSAMLib.models.interfaces import ModelCard
from FewShotSAMLib.prompting.interfaces import SliceSpace
from FewShotSAMLib.prompting.methods.synpo import SynPoMethod
from FewShotSAMLib.segmentation.encoding import Encoders, SliceEncoder
from FewShotSAMLib.segmentation.monitor import Monitor
from FewShotSAMLib.segmentation.results import Cancelled, Progress
from FewShotSAMLib.segmentation.work import DrawnSlice, Work

CPU = torch.device("cpu")
SIZE = 64
SHAPE = (11, 30, 40)
GREY = IntensityRange(0.0, 1000.0, "a test")


@pytest.fixture(scope="module")
def encoders() -> Encoders:
    torch.manual_seed(0)
    model = EmbeddedModel(EmbeddedNetwork(TINY_EMBEDDED), ModelCard("tiny"), CPU, SIZE)
    return Encoders(model, EmbeddedFeatures(model), CPU)


def frame_of(shape: tuple[int, int], spacing: tuple[float, float] = (1.0, 1.0)) -> SliceFrame:
    return SliceFrame(shape, spacing, whole_field(shape, spacing), SIZE)


def stack(colour: bool = False) -> np.ndarray:
    shape = (*SHAPE, 3) if colour else SHAPE
    return np.random.default_rng(0).integers(0, 1000, shape).astype(np.int16)


def encoder(encoders: Encoders, **changes) -> SliceEncoder:
    voxels = changes.pop("voxels", stack())
    frame = frame_of(voxels.shape[1:3])
    return SliceEncoder(voxels, GREY, frame, frame, encoders, **changes)


def equal(one, other, place: slice) -> bool:
    """Whether the encoding of one slice is a part of another encoding."""
    return all(
        torch.allclose(a, b[place], atol=1e-4)
        for a, b in zip(
            (one.embeddings.features, *one.embeddings.extra, *one.features),
            (other.embeddings.features, *other.embeddings.extra, *other.features),
            strict=True,
        )
    )


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("batch", [1, 4, 16])
def test_slices_are_encoded_as_if_all_at_once(encoders, batch, colour):
    slices = encoder(encoders, batch=batch, voxels=stack(colour))
    images = slices.images(slice(None))
    assert images.shape == (SHAPE[0], 3, SIZE, SIZE)
    assert images.min() >= 0 and images.max() <= 1
    direct = encoders.encode(images)
    for index in range(SHAPE[0]):
        assert equal(slices.one(index), direct, slice(index, index + 1)), index


@settings(max_examples=10, deadline=None)
@given(order=st.lists(st.integers(0, SHAPE[0] - 1), min_size=1, max_size=20))
def test_any_order_and_a_small_budget_change_nothing(encoders, order):
    plenty = encoder(encoders, batch=3)
    tight = encoder(encoders, batch=3, budget=1)
    for index in order:
        assert equal(tight.one(index), plenty.one(index), slice(None))
        assert len(tight._runs) == 1


@settings(max_examples=10, deadline=None)
@given(
    order=st.lists(st.integers(0, SHAPE[0] - 1), min_size=1, max_size=20), batch=st.integers(1, 5)
)
def test_several_are_what_they_are_one_by_one(encoders, order, batch):
    together, singly = encoder(encoders, batch=batch), encoder(encoders, batch=batch)
    several = together.several(order)
    for place, index in enumerate(order):
        assert equal(singly.one(index), several, slice(place, place + 1)), index


def test_runs_that_are_new_are_read_together(encoders, monkeypatch):
    fresh, read = Encoders(encoders.model, encoders.features, CPU), []
    real = encoders.model.embed
    monkeypatch.setattr(
        encoders.model, "embed", lambda images: read.append(len(images)) or real(images)
    )
    slices = encoder(fresh, batch=2)
    slices.one(4)
    slices.several([5, 0, 10, 0])
    assert read == [2, 3]  # 4 and 5; then 0 and 1, and 10, which is the last
    slices.several([1, 4, 10])
    assert read == [2, 3]
    encoder(Encoders(encoders.model, encoders.features, CPU), batch=8).several([0, 9, 3])
    assert read == [2, 3, 11]
    encoder(Encoders(encoders.model, encoders.features, CPU), batch=10).several([0, 10])
    assert read == [2, 3, 11, 10, 1]  # long runs one by one: their pictures take memory


def test_the_budget_is_kept_and_the_longest_unused_goes_first(encoders):
    size = encoder(encoders, batch=2).run(0).bytes
    slices = encoder(encoders, batch=2, budget=3 * size)
    for number in (0, 1, 2, 0, 3):  # 0 was used again, so 1 is the oldest
        slices.run(number)
        assert slices._bytes == sum(run.bytes for run in slices._runs.values()) <= 3 * size
    assert sorted(slices._runs) == [0, 2, 3]


def test_kept_runs_are_not_encoded_again(encoders):
    slices = encoder(encoders, batch=4)
    assert slices.run(1) is slices.run(1)


def test_shared_features_are_counted_once(encoders):
    encoded = encoder(encoders, batch=2).run(0)
    assert encoded.features[0] is encoded.embeddings.features
    everything = (encoded.embeddings.features, *encoded.embeddings.extra)
    assert encoded.bytes == sum(t.numel() * t.element_size() for t in everything)


def test_one_encoder_alone(encoders):
    alone = Encoders(encoders.model, None, CPU)
    encoded = encoder(alone, batch=2).one(3)
    assert len(encoded.features) == 1
    assert torch.equal(encoded.features[0], encoded.embeddings.features)


def test_the_last_run_is_as_long_as_what_is_left(encoders):
    slices = encoder(encoders, batch=4)
    assert len(slices) == SHAPE[0]
    assert len(slices.run(2).embeddings) == 3


def test_one_picture_is_the_grey_of_the_models_input(encoders):
    slices = encoder(encoders, voxels=stack(colour=True))
    for index in range(SHAPE[0]):
        expected = slices.images(slice(index, index + 1))[0].mean(0)
        assert torch.equal(slices.picture(index), expected)
        assert torch.equal(slices.picture(index), expected)


# ----------------------------------------------------------------------------- monitor


def test_progress_is_passed_on():
    seen: list[Progress] = []
    Monitor(seen.append).report("encode", 2, 7, "two of seven")
    assert seen == [Progress("encode", 2, 7, "two of seven")]


def test_a_set_event_cancels_everywhere():
    event = threading.Event()
    monitor = Monitor(None, event)
    monitor.check()
    monitor.report("encode", 1, 2)
    event.set()
    with pytest.raises(Cancelled):
        monitor.check()
    with pytest.raises(Cancelled):
        monitor.report("encode", 1, 2)
    with pytest.raises(Cancelled), monitor.stage("decode"):
        pytest.fail("the stage must not begin")


def test_an_event_set_during_the_report_counts():
    event = threading.Event()
    with pytest.raises(Cancelled):
        Monitor(lambda _: event.set(), event).report("encode", 1, 2)


def test_seconds_add_up_also_after_errors():
    monitor, started = Monitor(), time.perf_counter()
    for _ in range(2):
        with monitor.stage("encode"):
            time.sleep(0.02)
    with pytest.raises(ZeroDivisionError), monitor.stage("decode"):
        1 / 0  # noqa: B018
    assert monitor.seconds["encode"] > 0.035 and monitor.seconds["decode"] >= 0
    assert sum(monitor.seconds.values()) <= time.perf_counter() - started
    assert set(monitor.seconds) == {"encode", "decode"}


# -------------------------------------------------------------------- writing the labels


def space(frame: SliceFrame) -> SliceSpace:
    return SliceSpace("MR", frame, GREY, lambda: Standard(0.0, 1000.0, 500.0, 100.0), CPU)


def work(encoders: Encoders, drawn: tuple[DrawnSlice, ...] = (), dtype=np.uint8) -> Work:
    voxels = np.zeros((3, SIZE, SIZE), np.int16)
    slices = encoder(encoders, voxels=voxels)
    return Work(
        slices=slices, frame=slices.frame, method=SynPoMethod(space(slices.frame)),
        structures=(), drawn=drawn, first=0, last=2, spacing=(0.5, 2.0, 3.0),
        labels=np.full((3, SIZE, SIZE), 9, dtype),
    )  # fmt: skip


def rectangle(rows: slice, columns: slice, value: float = 4.0) -> torch.Tensor:
    logits = torch.full((SIZE, SIZE), -4.0)
    logits[rows, columns] = value
    return logits


def test_each_pixel_goes_to_the_highest_positive_logit(encoders):
    w = work(encoders)
    random = torch.Generator().manual_seed(1)
    logits = {label: torch.randn(SIZE, SIZE, generator=random) for label in (3, 200, 7)}
    pixels = w.write(1, logits)
    expected = np.zeros((SIZE, SIZE), int)
    for row in range(SIZE):
        for column in range(SIZE):
            best = max(logits, key=lambda label: logits[label][row, column].item())
            if logits[best][row, column] > 0:
                expected[row, column] = best
    assert np.array_equal(w.labels[1], expected)
    assert pixels == {label: int((expected == label).sum()) for label in logits}
    assert (w.labels[[0, 2]] == 9).all(), "other slices are not touched"


def test_half_resolution_logits_fill_the_slice(encoders):
    w = work(encoders)
    logits = torch.full((SIZE // 2, SIZE // 2), -4.0)
    logits[8:16, 4:20] = 4.0
    w.write(0, {1: logits})
    found = w.labels[0] == 1
    expected = np.zeros_like(found)
    expected[16:32, 8:40] = True
    assert 2 * (found & expected).sum() / (found.sum() + expected.sum()) > 0.93


def test_nothing_found_empties_the_slice(encoders):
    w = work(encoders)
    assert w.write(2, {}) == {}
    assert not w.labels[2].any()
    assert w.write(2, {5: torch.full((SIZE, SIZE), -1.0)}) == {5: 0}
    assert not w.labels[2].any()


def test_large_label_values_survive(encoders):
    w = work(encoders, dtype=np.uint16)
    assert w.write(0, {40_000: rectangle(slice(0, 4), slice(0, 5))}) == {40_000: 20}
    assert sorted(np.unique(w.labels[0])) == [0, 40_000]


def mask(rows: slice, columns: slice) -> np.ndarray:
    drawn = np.zeros((SIZE, SIZE), bool)
    drawn[rows, columns] = True
    return drawn


def test_drawn_slices_stay_as_drawn(encoders):
    """Whatever is predicted: the drawn label neither grows, nor shrinks, nor gives way."""
    drawn = mask(slice(10, 20), slice(10, 20))
    w = work(encoders, (DrawnSlice(1, 1, drawn),))
    pixels = w.write(1, {
        1: rectangle(slice(0, 64), slice(0, 15), 3.0), 2: rectangle(slice(0, 64), slice(12, 64)),
    })  # fmt: skip
    assert np.array_equal(w.labels[1] == 1, drawn)
    assert pixels[1] == drawn.sum()
    assert pixels[2] == (w.labels[1] == 2).sum() > 0
    assert not (w.labels[1] == 2)[drawn].any()


def test_other_slices_of_a_drawn_label_are_predicted(encoders):
    w = work(encoders, (DrawnSlice(1, 1, mask(slice(10, 20), slice(10, 20))),))
    assert w.write(0, {1: rectangle(slice(30, 40), slice(30, 40))}) == {1: 100}


@settings(max_examples=15, deadline=None)
@given(
    corners=st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=2, max_size=2),
    seed=st.integers(0, 99),
)
def test_two_drawn_labels_and_noise(encoders, corners, seed):
    (r1, c1), (r2, c2) = corners
    first = mask(slice(r1, r1 + 9), slice(c1, c1 + 9))
    second = mask(slice(r2, r2 + 9), slice(c2, c2 + 9)) & ~first
    w = work(encoders, (DrawnSlice(1, 0, first), DrawnSlice(2, 0, second)))
    random = torch.Generator().manual_seed(seed)
    logits = {label: torch.randn(SIZE, SIZE, generator=random) for label in (1, 2, 3)}
    pixels = w.write(0, logits)
    assert np.array_equal(w.labels[0] == 1, first)
    assert np.array_equal(w.labels[0] == 2, second)
    assert pixels == {n: int((w.labels[0] == n).sum()) for n in (1, 2, 3)}


def test_pixels_have_an_area(encoders):
    assert work(encoders).pixel_mm2 == pytest.approx(1.0)
    assert bool(space(frame_of((SIZE, SIZE))).valid.all())
