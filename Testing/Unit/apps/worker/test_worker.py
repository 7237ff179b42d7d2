"""The process that segments for another one: what goes over the pipe, and how it ends."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from small_abdomens import LIVER, SPLEEN, marked

from FewShotSAMLib.apps.worker import parcels
from FewShotSAMLib.apps.worker.messages import Message, read_message, write_message
from FewShotSAMLib.data.support import Support
from FewShotSAMLib.prompting.point_prompts import PointPrompts
from FewShotSAMLib.segmentation.segmenter import Segmenter, load_segmenter

ROOT = Path(__file__).resolve().parents[4]
MODEL = {"device": "cpu"}


# -------------------------------------------------------------------------------- messages


@given(
    st.dictionaries(st.text(), st.none() | st.integers() | st.text() | st.lists(st.floats(
        allow_nan=False))).filter(lambda header: "arrays" not in header),
    st.dictionaries(st.text(), arrays.arrays(
        st.sampled_from([np.uint8, np.int16, np.float32, np.float64, bool, ">i4"]),
        arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
    ), max_size=3),
)  # fmt: skip
@settings(deadline=None)
def test_messages_arrive_as_they_were_sent(header, content):
    pipe = io.BytesIO()
    for _ in range(2):
        write_message(pipe, Message(header, content))
    pipe.seek(0)
    for _ in range(2):
        got = read_message(pipe)
        assert got.header == header
        assert list(got.arrays) == list(content)
        for name, array in content.items():
            assert got.arrays[name].dtype == array.dtype
            assert got.arrays[name].shape == array.shape
            assert got.arrays[name].tobytes() == array.tobytes()
    assert read_message(pipe) is None


def test_strided_arrays_and_numbers_of_numpy_arrive():
    pipe = io.BytesIO()
    turned = np.arange(24, dtype=np.int16).reshape(2, 3, 4).transpose(2, 0, 1)[::-1]
    write_message(pipe, Message({"n": np.int64(3), "x": np.float32(0.5)}, {"a": turned}))
    pipe.seek(0)
    got = read_message(pipe)
    assert got.header == {"n": 3, "x": 0.5}
    assert np.array_equal(got.arrays["a"], turned)


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (b"Hello, this is no message", ValueError),
        (struct.pack(">I", 2) + b"[]", ValueError),
        (struct.pack(">I", 40) + b'{"arrays": [["a"', EOFError),
        (b"\0\0", EOFError),
        (struct.pack(">I", 32) + b'{"arrays": [["a", "|u1", [200]]]}'[:32], ValueError),
    ],
)
def test_what_is_no_message_is_noticed(sent, error):
    with pytest.raises(error):
        read_message(io.BytesIO(sent))


def test_objects_are_neither_sent_nor_taken():
    with pytest.raises(TypeError, match="'a'"):
        write_message(io.BytesIO(), Message({}, {"a": np.array([object()])}))
    header = b'{"arrays": [["a", "|O", [1]]]}'
    with pytest.raises(ValueError, match="not taken"):
        read_message(io.BytesIO(struct.pack(">I", len(header)) + header + b"12345678"))


# --------------------------------------------------------------------------------- parcels


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    """As the process has it."""
    return load_segmenter(device="cpu")


@pytest.fixture(scope="module")
def support(patient) -> Support:
    return marked(patient, LIVER, SPLEEN)


def through_a_pipe(message: Message) -> Message:
    pipe = io.BytesIO()
    write_message(pipe, message)
    pipe.seek(0)
    return read_message(pipe)


def assert_alike(one, other, where: str = "it") -> None:
    """Every field of two data classes, arrays and further data classes in them too. What a volume
    was read from stays where it was read."""
    if isinstance(one, np.ndarray):
        assert np.array_equal(one, other), where
    elif is_dataclass(one):
        for name in [one.name for one in fields(one) if one.name != "places"]:
            assert_alike(getattr(one, name), getattr(other, name), f"{where}.{name}")
    else:
        assert one == other, where


def test_parcels_are_unpacked_as_they_were(segmenter, patient, support):
    image = parcels.unpack_volume(through_a_pipe(parcels.pack_volume(patient.truth)))
    assert np.array_equal(image.voxels, patient.truth.voxels) and image.same_grid(patient.truth)
    assert (image.segments, image.modality) == (patient.truth.segments, "other")
    kept = parcels.unpack_support(through_a_pipe(parcels.pack_support(support)))
    assert_alike(kept, support)
    assert kept.matches(patient.image)
    result = segmenter.segment(patient.image, support)
    got = parcels.unpack_result(through_a_pipe(parcels.pack_result(result)))
    same_result(got, result)
    answer = segmenter.segment_slice(patient.image, support, 2)
    got = parcels.unpack_answer(through_a_pipe(parcels.pack_answer(answer)))
    assert np.array_equal(got.preview.labels, answer.preview.labels)
    assert set(got.confidence) == set(got.prompts) == {LIVER, SPLEEN}
    for label, points in answer.prompts.items():
        assert np.array_equal(got.prompts[label].points, points.points)
        assert np.array_equal(got.confidence[label], answer.confidence[label])


def same_result(one, other) -> None:
    assert np.array_equal(one.labels.voxels, other.labels.voxels)
    assert one.labels.same_grid(other.labels) and one.labels.segments == other.labels.segments
    for name in ("names", "model", "features", "axis", "method", "strategy", "device"):
        assert getattr(one, name) == getattr(other, name), name
    for a, b in zip(one.slices, other.slices, strict=True):
        assert (a.index, a.label, a.score, a.present, a.area_mm2, a.source) == (
            b.index, b.label, b.score, b.present, b.area_mm2, b.source
        )  # fmt: skip
        assert (a.prompts is None) == (b.prompts is None)
        if a.prompts is not None:
            assert np.array_equal(a.prompts.points, b.prompts.points)


# ----------------------------------------------------------------------------- the process


class Child:
    """A worker process, spoken to one message at a time."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "FewShotSAMLib.apps.worker"], cwd=ROOT,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        self.number = 0

    def send(self, command: str, message: Message | None = None, **header) -> int:
        message = message or Message({})
        self.number += 1
        header = {**message.header, **header, "command": command, "id": self.number}
        write_message(self.process.stdin, Message(header, message.arrays))
        return self.number

    def next(self) -> Message:
        return read_message(self.process.stdout)

    def last(self, number: int) -> tuple[Message, list[str]]:
        """The answer that ends a request, and the events before it."""
        events = []
        while (message := self.next()).header["event"] not in ("done", "error"):
            assert message.header["id"] == number
            events.append(message.header["event"])
        assert message.header["id"] == number
        return message, events


@pytest.fixture(scope="module")
def child(patient, support) -> Iterator[Child]:
    one = Child()
    one.send("keep", parcels.pack_volume(patient.image), kind="volume", token="v1")
    one.send("keep", parcels.pack_support(support), kind="support", token="s1")
    yield one
    one.process.stdin.close()
    assert one.process.wait(600) == 0
    one.process.stdout.close()
    one.process.stderr.close()


WORK = {"model": MODEL, "volume": "v1", "supports": ["s1"], "options": {}}


def test_it_says_what_it_is(child):
    done, _ = child.last(child.send("hello"))
    assert done.header["version"] and done.header["torch"] and done.header["device"]
    assert "GiB free" in done.header["memory"]
    done, _ = child.last(child.send("load", model=MODEL))
    assert (done.header["device"], done.header["model"]) == ("cpu", "embedded")
    done, _ = child.last(child.send("doctor"))
    assert "shipped weights" in done.header["text"], "printed text is no message"


def test_it_gives_what_the_library_gives(child, segmenter, patient, support):
    done, events = child.last(child.send("segment", **WORK))
    assert set(events) == {"progress", "preview"}
    same_result(parcels.unpack_result(done), segmenter.segment(patient.image, support))


def test_one_slice_with_points(child, segmenter, patient, support):
    points = {LIVER: PointPrompts.of([[30, 20]], [[10, 10]])}
    asked = {**WORK, "index": 1, "prompts": parcels.pack_prompts(points)}
    done, _ = child.last(child.send("slice", **asked))
    answer = parcels.unpack_answer(done)
    expected = segmenter.segment_slice(patient.image, support, 1, prompts=points)
    assert np.array_equal(answer.preview.labels, expected.preview.labels)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"options": {"range": (5, 90)}}, "0 to 7"),
        ({"model": {"device": "cpu", "model": "huge"}}, "model 'huge'"),
        ({"supports": []}, "no support"),
    ],
)
def test_bad_input_is_one_line_and_the_next_request_works(child, changes, says):
    done, _ = child.last(child.send("segment", **{**WORK, **changes}))
    assert (done.header["event"], done.header["kind"]) == ("error", "input")
    assert says in done.header["message"] and "\n" not in done.header["message"]
    assert child.last(child.send("hello"))[0].header["event"] == "done"


def test_what_is_not_understood_is_an_internal_error(child):
    done, _ = child.last(child.send("segment", **{**WORK, "volume": "v9"}))
    assert (done.header["event"], done.header["kind"]) == ("error", "internal")
    done, _ = child.last(child.send("dance"))
    assert done.header["kind"] == "internal"


def test_cancel_while_it_segments(child, patient):
    """Of a volume that would take far longer than the cancelling."""
    long = replace(patient.image, voxels=np.repeat(patient.image.voxels, 100, axis=0))
    child.send("keep", parcels.pack_volume(long), kind="volume", token="long")
    asked = {**WORK, "volume": "long", "options": {"strategy": "slices"}}
    number = child.send("segment", **asked)
    while (event := child.next().header["event"]) != "preview":
        assert event == "progress"
    child.send("cancel", target=number)
    done, _ = child.last(number)
    assert (done.header["event"], done.header["kind"]) == ("error", "cancelled")


def test_cancel_of_a_request_that_waits(child):
    first = child.send("segment", **WORK)
    second = child.send("segment", **WORK)
    child.send("cancel", target=second)
    assert child.last(first)[0].header["event"] == "done"
    done, events = child.last(second)
    assert (done.header["kind"], events) == ("cancelled", [])


@pytest.mark.parametrize("busy", [False, True])
def test_it_ends_when_its_input_does(busy, patient, support):
    one = Child()
    one.send("keep", parcels.pack_volume(patient.image), kind="volume", token="v1")
    one.send("keep", parcels.pack_support(support), kind="support", token="s1")
    if busy:
        one.send("segment", **WORK)
        assert one.next().header["event"] == "progress"
    one.process.stdin.close()
    one.process.stdout.close()
    one.process.wait(600)
    one.process.stderr.close()
