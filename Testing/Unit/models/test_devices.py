"""A PyTorch that cannot exchange arrays with NumPy is told in one line."""

from __future__ import annotations

import pytest
import torch

from FewShotSAMLib.data.errors import InputError
from FewShotSAMLib.models.devices import choose_device


def test_an_old_pytorch_beside_a_new_numpy(monkeypatch):
    def numpy(self):
        raise RuntimeError("Numpy is not available")  # what PyTorch 2.2.2 says beside NumPy 2

    monkeypatch.setattr(torch.Tensor, "numpy", numpy)
    with pytest.raises(InputError, match=r"cannot read arrays of NumPy .*; install numpy<2"):
        choose_device("cpu")


def test_this_one_can():
    assert choose_device("cpu").device.type == "cpu"
