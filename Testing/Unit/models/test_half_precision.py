"""Half precision by measurement: what is measured, what is kept, and who follows it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from small_networks import TINY_EMBEDDED
from torch import Tensor, nn

from FewShotSAMLib.models import half_precision
from FewShotSAMLib.models.batched_network import BatchedNetwork
from FewShotSAMLib.models.embedded import load_embedded
from FewShotSAMLib.models.fob import embedded_config
from FewShotSAMLib.models.fob_network import FobConfig
from FewShotSAMLib.models.half_precision import (
    Comparison,
    answers_file,
    compared,
    compared_in,
    measure,
)
from FewShotSAMLib.models.interfaces import ModelCard
from FewShotSAMLib.models.precision import choose_precision
from FewShotSAMLib.training.embedded import Stage, Training
from FewShotSAMLib.training.fob import FobTraining, embedded_schedule
from FewShotSAMLib.training.validation import validate

CPU, BF16, FP32 = torch.device("cpu"), torch.bfloat16, torch.float32
FASTER, SLOWER, TIE = (1.0, 4.0), (4.0, 1.0), (0.97, 1.0)  # half, single


@pytest.fixture
def quick(monkeypatch):
    """A convolution that takes next to nothing."""
    monkeypatch.setattr(half_precision, "_SIDE", 8)
    monkeypatch.setattr(half_precision, "_SECONDS", 0.0)


@pytest.fixture
def answers(tmp_path, monkeypatch, quick) -> Path:
    """The answers' file of a user whose cache is empty, on each of the three systems."""
    for variable in ("XDG_CACHE_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.setenv(variable, str(tmp_path))
    compared.cache_clear()
    yield answers_file()
    compared.cache_clear()


def keep(file: Path, times: tuple[float, float]) -> None:
    """Puts these times in the place of those that this machine measures."""
    for training in (False, True):
        compared_in(file, CPU, BF16, training)
    content = json.loads(file.read_text(encoding="utf-8"))
    assert len(content) == 2
    file.write_text(json.dumps(dict.fromkeys(content, times)), encoding="utf-8")
    compared.cache_clear()


# ------------------------------------------------------------------------- measuring


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("slow", [FP32, BF16])
def test_the_slower_format_is_found(monkeypatch, quick, slow, training):
    """Whichever it is here: one of them has its work two hundred times over."""
    real = half_precision.F.conv2d

    def conv2d(*args, **options):
        out = real(*args, **options)
        for _ in range(200 if out.dtype == slow else 0):
            real(*args, **options)
        return out

    monkeypatch.setattr(half_precision.F, "conv2d", conv2d)
    found = measure(CPU, BF16, training)
    assert (found.ratio > 1) == (slow == BF16)


@pytest.mark.parametrize("training", [False, True])
def test_measuring_works_wherever_it_is_asked_for_and_leaves_nothing(quick, training):
    before = torch.get_rng_state()
    with torch.inference_mode(), torch.autocast("cpu", BF16):
        found = measure(CPU, BF16, training)
        assert torch.is_inference_mode_enabled()
    assert found.half == BF16
    assert 0 < found.half_seconds < math.inf and 0 < found.single_seconds < math.inf
    assert torch.equal(torch.get_rng_state(), before), "a run's random numbers are its own"


def test_a_format_that_the_device_cannot_do_is_no_choice(monkeypatch, quick, tmp_path):
    def conv2d(picture, *args, **options):
        if torch.is_autocast_enabled("cpu"):
            raise RuntimeError('"conv" not implemented for BFloat16')
        return real(picture, *args, **options)

    real = half_precision.F.conv2d
    monkeypatch.setattr(half_precision.F, "conv2d", conv2d)
    assert compared_in(tmp_path / "kept.json", CPU, BF16, False) is None
    assert not (tmp_path / "kept.json").exists()


# --------------------------------------------------------------------------- keeping


def test_an_answer_is_kept_and_read_again(tmp_path, quick):
    file = tmp_path / "new folder" / "kept.json"
    first = compared_in(file, CPU, BF16, False)
    assert compared_in(file, CPU, BF16, False) == first, "two measurements are never the same"
    assert [p.name for p in file.parent.iterdir()] == ["kept.json"]
    compared_in(file, CPU, BF16, True)
    assert compared_in(file, CPU, BF16, False) == first
    assert len(json.loads(file.read_text(encoding="utf-8"))) == 2


@pytest.mark.parametrize("change", ["machine", "torch", "processor", "work", "half"])
def test_an_answer_is_that_of_one_machine_device_and_pytorch(tmp_path, quick, monkeypatch, change):
    file = tmp_path / "kept.json"
    compared_in(file, CPU, BF16, False)
    half, training = BF16, False
    if change == "machine":
        monkeypatch.setattr(half_precision.platform, "node", lambda: "elsewhere")
    elif change == "torch":
        monkeypatch.setattr(half_precision.torch, "__version__", "9.9.9")
    elif change == "processor":
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX9")
    elif change == "half":
        half = torch.float16
    else:
        training = True
    compared_in(file, CPU, half, training)
    assert len(json.loads(file.read_text(encoding="utf-8"))) == 2


@pytest.mark.parametrize("content", [
    b"", b"\xff\xfe\x00", b"{", b"[]", b"3", b"null", b"[" * 100_000, "times", "negative",
    "infinite", "text", "number",
])  # fmt: skip
def test_a_foreign_or_damaged_file_is_measured_again(tmp_path, quick, content):
    file = tmp_path / "kept.json"
    if isinstance(content, str):
        wrong = {"times": [1.0], "negative": [-1.0, 1.0], "infinite": [1.0, math.inf],
                 "text": ["1", "2"], "number": 1.0}[content]
        compared_in(file, CPU, BF16, False)
        (key,) = json.loads(file.read_text(encoding="utf-8"))
        content = json.dumps({key: wrong}).encode()
    file.write_bytes(content)
    found = compared_in(file, CPU, BF16, False)
    assert 0 < found.ratio < math.inf
    (times,) = json.loads(file.read_text(encoding="utf-8")).values()
    assert tuple(times) == (found.half_seconds, found.single_seconds)


def test_without_a_place_to_keep_it_the_answer_is_there_all_the_same(tmp_path, quick):
    (tmp_path / "a file").write_text("in the way", encoding="utf-8")
    for file in (None, tmp_path / "a file" / "kept.json", tmp_path):
        assert 0 < compared_in(file, CPU, BF16, False).ratio < math.inf
    assert [p.name for p in tmp_path.iterdir()] == ["a file"]


def test_the_file_does_not_grow_for_ever(tmp_path, quick):
    file = tmp_path / "kept.json"
    file.write_text(json.dumps({f"machine {n}": FASTER for n in range(500)}), encoding="utf-8")
    found = compared_in(file, CPU, BF16, False)
    kept = json.loads(file.read_text(encoding="utf-8"))
    assert 1 < len(kept) < 100
    assert list(kept.values())[-1] == [found.half_seconds, found.single_seconds]


# -------------------------------------------------------------------- who follows it


@pytest.mark.parametrize(("times", "chosen"), [(FASTER, BF16), (SLOWER, FP32), (TIE, FP32)])
def test_the_faster_format_is_chosen(answers, times, chosen):
    keep(answers, times)
    for training in (False, True):
        assert choose_precision(CPU, training=training) == chosen
        assert compared(CPU, BF16, training) == Comparison(BF16, *times)
        assert choose_precision(CPU, "fp32", training=training) == FP32
        assert choose_precision(CPU, "bf16", training=training) == BF16


def test_an_answer_is_measured_once_a_process_where_nothing_can_be_kept(answers):
    answers.parent.mkdir(parents=True)
    answers.mkdir()  # nothing can be written there
    assert compared(CPU, BF16, False) is compared(CPU, BF16, False)


@pytest.mark.parametrize(("times", "chosen"), [(FASTER, BF16), (SLOWER, FP32)])
def test_the_embedded_models_training_and_validation_follow(answers, times, chosen):
    keep(answers, times)
    run = Training("cpu", 0, TINY_EMBEDDED)
    assert run.dtype == chosen
    trained, checked = [], []
    for network, seen in ((run.network, trained), (run.average, checked)):
        network.encoder.register_forward_hook(lambda _, __, p, seen=seen: seen.append(p.p4.dtype))
    run.one_step(Stage(1.0, 64, 1), 1e-3)
    validate(run.average, 64, "cpu", 1)
    assert set(trained) == set(checked) == {chosen}


@pytest.mark.parametrize(("times", "chosen"), [(FASTER, BF16), (SLOWER, FP32)])
def test_fobs_training_follows_and_the_published_one_stays(answers, times, chosen):
    keep(answers, times)
    backbone = load_embedded(CPU)[0]
    assert backbone.dtype == chosen
    small = embedded_config(backbone.network.config)
    run = FobTraining(small, "cpu", 0, embedded_schedule(5), backbone)
    with torch.no_grad():
        features, _ = run._encoded(torch.rand(1, 3, 64, 64))
    assert run.dtype == features.dtype == chosen
    published = FobTraining(FobConfig(channels=8, grid=16, image_size=64), "cpu", 0,
                            embedded_schedule(5))
    assert published.dtype == FP32


def test_a_network_that_leaves_a_gpu_takes_the_cpus(answers):
    """The "meta" device stands for a GPU."""
    class Small(BatchedNetwork):
        side_of = staticmethod(lambda network: 8)

        def _encode(self, images: Tensor) -> tuple[Tensor, ...]:
            return (self.network(images),)

    keep(answers, FASTER)
    model = Small(nn.Conv2d(3, 3, 1), ModelCard("small"), torch.device("meta"))
    assert model.dtype == FP32
    model._runner.device = CPU
    assert model.dtype == BF16
