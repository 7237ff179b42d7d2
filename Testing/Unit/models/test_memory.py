"""Batches that shrink when memory runs out, and the choice of number format."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from FewShotSAMLib.data.errors import InputError
from FewShotSAMLib.models.memory import BatchRunner, MemoryPolicy, is_out_of_memory
from FewShotSAMLib.models.precision import autocast, choose_precision

OUT_OF_MEMORY = getattr(torch, "OutOfMemoryError", torch.cuda.OutOfMemoryError)
CPU = torch.device("cpu")


class Narrow(nn.Module):
    """A real module whose device holds `room` rows; `sizes` tells what it was asked for."""

    def __init__(self, room: int, device: str = "cpu") -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.room, self.small, self.sizes = room, device, []

    def forward(self, x: Tensor) -> Tensor:
        self.sizes.append(len(x))
        if len(x) > self.room and x.device.type == self.small:
            raise OUT_OF_MEMORY("CUDA out of memory. Tried to allocate 2.00 GiB")
        return x * self.scale.to(x.device)


def runner_of(network: nn.Module, device: torch.device = CPU, **policy) -> BatchRunner:
    return BatchRunner(network, device, "net", MemoryPolicy(**policy))


def test_a_batch_that_fits_is_run_as_asked():
    network = Narrow(room=4)
    rows = torch.arange(10.0)[:, None]
    (found,) = runner_of(network).run("slices", 4, lambda x: (network(x),), rows)
    assert torch.equal(found, 2 * rows)
    assert network.sizes == [4, 4, 2]


def test_half_as_many_until_it_fits_and_never_more_again():
    network, said = Narrow(room=3), []
    runner = runner_of(network, tell=said.append)
    rows = torch.arange(10.0)[:, None]
    (found,) = runner.run("slices", 8, lambda x: (network(x),), rows)
    assert torch.equal(found, 2 * rows)
    assert network.sizes == [8, 4, 2, 2, 2, 2, 2]
    network.sizes.clear()
    runner.run("slices", 8, lambda x: (network(x),), rows[:3])
    assert network.sizes == [2, 1]
    assert said == [
        "net: 8 slices at once do not fit in the memory of cpu; going on with 4",
        "net: 4 slices at once do not fit in the memory of cpu; going on with 2",
    ]


def test_each_kind_of_item_has_its_own_size():
    network = Narrow(room=2)
    runner = runner_of(network, tell=lambda _: None)
    runner.run("slices", 4, lambda x: (network(x),), torch.zeros(4, 1))
    network.room, network.sizes = 9, []
    runner.run("prompts", 4, lambda x: (network(x),), torch.zeros(4, 1))
    assert network.sizes == [4]


def test_columns_are_cut_alike_and_none_stays_none():
    def forward(a: Tensor, nothing: None, b: Tensor) -> tuple[Tensor, Tensor]:
        assert nothing is None
        return a + b, a - b

    a, b = torch.arange(5.0), torch.arange(5.0) * 10
    added, taken = runner_of(Narrow(9)).run("rows", 2, forward, a, None, b)
    assert torch.equal(added, a + b)
    assert torch.equal(taken, a - b)


def test_no_rows_give_empty_results_of_the_right_shape():
    (found,) = runner_of(Narrow(9)).run("rows", 2, lambda x: (x.sum(1),), torch.zeros(0, 3))
    assert found.shape == (0,)


def test_one_item_too_large_is_a_clear_error():
    network = Narrow(room=0)
    with pytest.raises(InputError, match="net: the memory of this machine is too small"):
        runner_of(network, tell=lambda _: None).run(
            "slices", 2, lambda x: (network(x),), torch.zeros(2, 1)
        )
    assert network.sizes == [2, 1]


@pytest.mark.parametrize("allowed", [True, False])
def test_the_cpu_only_when_allowed(allowed):
    """The "meta" device stands for a GPU: tensors are there without memory behind them."""
    network, said = Narrow(room=0, device="meta"), []
    small = torch.device("meta")
    runner = runner_of(network, allow_cpu=allowed, tell=said.append)
    runner.device = small
    rows = torch.arange(3.0)[:, None]
    if not allowed:
        with pytest.raises(InputError, match="--device cpu"):
            runner.run("slices", 1, lambda x: (network(x),), rows)
        return
    (found,) = runner.run("slices", 1, lambda x: (network(x),), rows)
    assert torch.equal(found, 2 * rows)
    assert found.device == rows.device
    assert runner.device == CPU
    assert said == ["net: does not fit in the memory of meta; now on the CPU"]


@pytest.mark.parametrize("allowed", [True, False])
def test_a_network_too_large_for_the_device(allowed):
    class Heavy(Narrow):
        def to(self, device):
            if device.type != "cpu":
                raise OUT_OF_MEMORY("CUDA out of memory")
            return super().to(device)

    said = []
    if not allowed:
        with pytest.raises(InputError, match="the memory of meta is too small"):
            runner_of(Heavy(9), torch.device("meta"), tell=said.append)
        return
    runner = runner_of(Heavy(9), torch.device("meta"), allow_cpu=True, tell=said.append)
    assert runner.device == CPU
    assert len(said) == 1


def test_other_errors_pass():
    def forward(x: Tensor) -> tuple[Tensor]:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        runner_of(Narrow(9)).run("rows", 2, forward, torch.zeros(2, 1))


def test_what_counts_as_out_of_memory():
    assert is_out_of_memory(OUT_OF_MEMORY("CUDA out of memory"))
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"))
    assert not is_out_of_memory(RuntimeError("expected scalar type Float"))
    with pytest.raises(RuntimeError) as real:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(real.value)


def test_precisions_by_name():
    assert choose_precision(CPU, "fp32") == torch.float32
    assert choose_precision(CPU, "bf16") == torch.bfloat16
    assert choose_precision(torch.device("mps")) == torch.float32
    assert choose_precision(CPU) in (torch.float32, torch.bfloat16)
    with pytest.raises(InputError, match="auto, fp32, bf16, fp16"):
        choose_precision(CPU, "fp8")


def test_autocast_changes_products_only_when_asked():
    a = torch.rand(4, 4)
    with autocast(CPU, torch.bfloat16):
        assert (a @ a).dtype == torch.bfloat16
    with autocast(CPU, torch.float32):
        assert (a @ a).dtype == torch.float32
