"""`Testing/Benchmarks/devices.py`: one device beside itself, and one that is not there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_abdomens import at_half_size

ROOT = Path(__file__).resolve().parents[3]
sys.path.append(str(ROOT / "Testing" / "Benchmarks"))

import devices  # noqa: E402

SMALL = ["--turns", "1", "--size", "6", "48", "48"]


@pytest.mark.slow
def test_the_same_device_twice_draws_the_same(one_thread, monkeypatch, capsys):
    """At half the network's usual size, in this process: both cost more than the comparison."""
    usual = devices.load_segmenter
    monkeypatch.setattr(devices, "load_segmenter", lambda **given: (
        usual(**given) if given["method"] == "fob" else at_half_size(usual(**given))
    ))
    monkeypatch.setattr(sys, "argv", ["devices.py", *SMALL, "--devices", "cpu", "cpu"])
    assert devices.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 * len(devices.RUNS)
    assert all(line.endswith("1.000 alike with cpu") for line in lines[1::2])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card here")
def test_a_device_that_is_not_there_is_one_line():
    done = subprocess.run(
        [sys.executable, str(ROOT / "Testing" / "Benchmarks" / "devices.py"), *SMALL,
         "--devices", "cuda"],
        capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.count("\n") == 1 and "cuda" in done.stderr


def test_the_worst_structure_counts():
    one, other = np.zeros((2, 3, 4), int), np.zeros((2, 3, 4), int)
    one[0], other[0, :2] = 1, 1
    one[1, 0] = other[1, 0] = 2
    assert devices.agreement(one, other, [1, 2, 3]) == pytest.approx(0.8)
    assert devices.agreement(one, one, [1, 2, 3]) == 1
