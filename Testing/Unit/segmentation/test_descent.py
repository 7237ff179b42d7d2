"""Gradient descent of the alignment."""

from __future__ import annotations

import subprocess
import sys

import torch

from FewShotSAMLib.segmentation.finding.descent import Descent

LOADED = """
import sys, torch
from FewShotSAMLib.models.fob import embedded_config
from FewShotSAMLib.models.fob_network import FobNetwork
from FewShotSAMLib.segmentation.finding.descent import Descent
with torch.device("meta"):  # as FoB's weights are checked
    FobNetwork(embedded_config())
one = torch.zeros(3, requires_grad=True)
Descent((one, 0.1)).step((one - 1).square().sum())
sys.exit((not torch.allclose(one, torch.tensor(0.1))) + 2 * ("torch._dynamo" in sys.modules))
"""


def test_it_steps_as_pytorchs_adam():
    start = torch.randn(2, 5, generator=torch.Generator().manual_seed(0))

    def loss(turn, shift):
        return ((turn * 2 - shift) ** 2).sum() + torch.sin(shift).sum()

    ours, theirs = ([row.clone().requires_grad_() for row in start] for _ in range(2))
    descent = Descent((ours[0], 0.01), (ours[1], 0.3))
    adam = torch.optim.Adam([
        {"params": [one], "lr": rate} for one, rate in zip(theirs, (0.01, 0.3), strict=True)
    ])
    for step in range(20):
        descent.step(loss(*ours))
        adam.zero_grad()
        loss(*theirs).backward()
        adam.step()
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True)), step
        if step == 10:
            descent.slowed = 0.5
            for group in adam.param_groups:
                group["lr"] *= 0.5
    assert not torch.allclose(ours[0], start[0], atol=0.05)


def test_neither_it_nor_fob_loads_the_compiler():
    """A second of each process."""
    done = subprocess.run([sys.executable, "-c", LOADED], check=False)
    assert done.returncode == 0
