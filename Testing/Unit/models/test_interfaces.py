"""Embeddings in parts and whole, device names, model names."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from FewShotSAMLib.data.errors import InputError
from FewShotSAMLib.models.devices import DEVICES, choose_device
from FewShotSAMLib.models.interfaces import Embeddings, PromptBatch
from FewShotSAMLib.models.registry import load_models


def embeddings(count: int, seed: int = 0) -> Embeddings:
    generator = torch.Generator().manual_seed(seed)
    return Embeddings(
        torch.randn(count, 3, 4, 4, generator=generator),
        (torch.randn(count, 2, 8, 8, generator=generator), torch.randn(count, generator=generator)),
    )


def same(a: Embeddings, b: Embeddings) -> bool:
    return len(a.extra) == len(b.extra) and all(
        torch.equal(x, y) for x, y in zip((a.features, *a.extra), (b.features, *b.extra))
    )


@settings(max_examples=25, deadline=None)
@given(counts=st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_parts_concatenate_in_order(counts):
    whole = embeddings(sum(counts))
    starts = [sum(counts[:n]) for n in range(len(counts))]
    parts = [whole.select(slice(s, s + c)) for s, c in zip(starts, counts)]
    assert [len(p) for p in parts] == counts
    assert same(Embeddings.concatenate(parts), whole)


@settings(max_examples=25, deadline=None)
@given(index=st.lists(st.integers(0, 4), max_size=9))
def test_select_takes_any_pictures_in_any_order(index):
    whole = embeddings(5)
    some = whole.select(torch.tensor(index, dtype=torch.long))
    assert len(some) == len(index)
    for row, n in enumerate(index):
        assert same(some.select(slice(row, row + 1)), whole.select(slice(n, n + 1)))


def test_embeddings_with_different_extras_do_not_concatenate():
    with pytest.raises(ValueError):
        Embeddings.concatenate([embeddings(1), Embeddings(torch.zeros(1, 3, 4, 4))])


def test_prompts_count_masks_not_points():
    assert len(PromptBatch(torch.zeros(3, 0, 2), torch.zeros(3, 0))) == 3


def test_the_cpu_is_always_there():
    chosen = choose_device("cpu")
    assert chosen.device == torch.device("cpu")
    assert chosen.reason


def test_auto_says_why():
    chosen = choose_device("auto")
    assert chosen.device.type == ("cuda" if torch.cuda.is_available() else chosen.device.type)
    assert chosen.device.type in DEVICES
    assert "\n" not in chosen.reason and len(chosen.reason) > 5


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "cpu0", "meta", "xla", "cuda:99", "vulkan"])
def test_devices_that_cannot_be_used_are_refused_in_one_line(name):
    with pytest.raises(InputError) as caught:
        choose_device(name)
    line = str(caught.value)
    assert repr(name) in line and "\n" not in line


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_missing_cuda_names_the_way_out():
    with pytest.raises(InputError, match="--device cpu"):
        choose_device("cuda")


@pytest.mark.parametrize(
    ("model", "features", "wrong"),
    [("nothing", None, "'nothing'"), ("", None, "''"), ("embedded", "nothing", "'nothing'")],
)
def test_unknown_models_are_refused_with_the_known_ones(model, features, wrong):
    with pytest.raises(InputError) as caught:
        load_models(model, features, torch.device("cpu"))
    line = str(caught.value)
    assert wrong in line and "embedded" in line and "\n" not in line
