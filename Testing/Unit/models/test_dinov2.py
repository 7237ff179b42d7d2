"""DINOv2 through timm: Meta's checkpoints, and the forward written out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

pytest.importorskip("timm", reason="needs timm")

from small_networks import (  # noqa: E402
    DEPTH,
    GRID,
    HEADS,
    WIDTH,
    dinov2_features,
    meta_state,
    small_dinov2,
)

from FewShotSAMLib.data.errors import InputError  # noqa: E402
from FewShotSAMLib.models.dinov2 import build_dinov2  # noqa: E402
from FewShotSAMLib.models.interfaces import FeatureEncoder  # noqa: E402


def by_hand(state: dict, images: Tensor) -> Tensor:
    """DINOv2's forward from Meta's names: (N, 3, S, S) in [0, 1] -> (N, C, S/14, S/14)."""

    def linear(x: Tensor, name: str) -> Tensor:
        return F.linear(x, state[name + ".weight"], state[name + ".bias"])

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (WIDTH,), state[name + ".weight"], state[name + ".bias"], 1e-6)

    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    deviation = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    patches = F.conv2d(
        (images - mean) / deviation,
        state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=14,
    )
    n, _, h, w = patches.shape
    x = torch.cat([state["cls_token"].expand(n, -1, -1), patches.flatten(2).mT], 1)
    x = x + state["pos_embed"]
    prefix = 1
    if "register_tokens" in state:
        registers = state["register_tokens"]
        prefix += registers.shape[1]
        x = torch.cat([x[:, :1], registers.expand(n, -1, -1), x[:, 1:]], 1)
    for b in range(DEPTH):
        name = f"blocks.{b}."
        q, k, v = linear(norm(x, name + "norm1"), name + "attn.qkv").unflatten(
            2, (3, HEADS, WIDTH // HEADS)
        ).permute(2, 0, 3, 1, 4)
        weights = (q @ k.mT / (WIDTH // HEADS) ** 0.5).softmax(-1)
        found = (weights @ v).transpose(1, 2).flatten(2)
        x = x + state[name + "ls1.gamma"] * linear(found, name + "attn.proj")
        inner = norm(x, name + "norm2")
        if name + "mlp.w12.weight" in state:
            gate, value = linear(inner, name + "mlp.w12").chunk(2, -1)
            inner = linear(F.silu(gate) * value, name + "mlp.w3")
        else:
            inner = linear(F.gelu(linear(inner, name + "mlp.fc1")), name + "mlp.fc2")
        x = x + state[name + "ls2.gamma"] * inner
    return norm(x, "norm")[:, prefix:].mT.reshape(n, WIDTH, h, w)


@pytest.mark.parametrize(
    ("name", "registers", "swiglu"),
    [
        ("dinov2-small", False, False),
        ("dinov2-small-registers", True, False),
        ("dinov2-giant", False, True),
        ("dinov2-giant-registers", True, True),
    ],
)
def test_metas_checkpoint_gives_metas_forward(name, registers, swiglu):
    state = meta_state(registers=registers, swiglu=swiglu)
    kept = {key: t.clone() for key, t in state.items()}
    encoder = dinov2_features(small_dinov2(name, state))
    assert isinstance(encoder, FeatureEncoder)
    assert state.keys() == kept.keys()  # the caller's dictionary is left whole
    images = torch.rand(2, 3, 14 * GRID, 14 * GRID)
    found = encoder.encode(images)
    assert found.shape == (2, WIDTH, GRID, GRID)
    torch.testing.assert_close(found, by_hand(kept, images), atol=1e-4, rtol=1e-4)


def test_the_position_grid_is_resampled():
    state = meta_state()
    grid = state["pos_embed"][:, 1:].mT.reshape(1, WIDTH, GRID, GRID)
    finer = F.interpolate(grid, size=(7, 7), mode="bicubic", antialias=True)
    images = torch.rand(1, 3, 98, 98)
    found = dinov2_features(small_dinov2("dinov2-small", state, grid=7)).encode(images)
    state["pos_embed"] = torch.cat([state["pos_embed"][:, :1], finer.flatten(2).mT], 1)
    torch.testing.assert_close(found, by_hand(state, images), atol=1e-4, rtol=1e-4)


def test_sinders_stray_key_is_dropped():
    state = meta_state(swiglu=True)
    images = torch.rand(1, 3, 14 * GRID, 14 * GRID)
    stray = dict(state, reg_token=torch.randn(1, 4, WIDTH))
    del stray["mask_token"]
    found = dinov2_features(small_dinov2("sinder-giant", stray)).encode(images)
    torch.testing.assert_close(found, by_hand(state, images), atol=1e-4, rtol=1e-4)


def test_timms_own_checkpoint_loads_again():
    network = small_dinov2("dinov2-small-registers", meta_state(registers=True))
    images = torch.rand(1, 3, 14 * GRID, 14 * GRID)
    again = small_dinov2("dinov2-small-registers", network.state_dict())
    torch.testing.assert_close(
        dinov2_features(again).encode(images), dinov2_features(network).encode(images)
    )


def test_half_precision_is_close_and_comes_back_as_float32():
    network = small_dinov2("dinov2-small", meta_state())
    images = torch.rand(1, 3, 14 * GRID, 14 * GRID)
    exact = dinov2_features(network).encode(images)
    half = dinov2_features(network, precision="bf16").encode(images)
    assert half.dtype == torch.float32
    cosine = F.cosine_similarity(exact, half, dim=1)
    assert 0.99 < cosine.min() < 1


def test_another_architectures_weights_are_refused():
    with pytest.raises(InputError):
        build_dinov2("dinov2-small", meta_state(), input_size=56)


def test_unknown_names_list_the_known_ones():
    with pytest.raises(InputError, match="dinov2-small, dinov2-base, dinov2-large"):
        build_dinov2("dinov3")


def test_a_missing_package_names_the_command(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(InputError, match="pip install timm"):
        build_dinov2("dinov2-small")


@pytest.mark.parametrize("name", ["dinov2-small", "dinov2-small-registers"])
@pytest.mark.slow
def test_full_size_gives_sams_grid(name):
    network = build_dinov2(name)
    del network.blocks[1:]  # all of them have the same shapes, and take a second each
    encoder = dinov2_features(network)
    assert encoder.input_size == 896
    assert encoder.encode(torch.rand(1, 3, 896, 896)).shape == (1, 384, 64, 64)
