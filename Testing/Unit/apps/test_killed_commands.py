"""Commands that are killed: no file is half written or of two runs, and the next start goes on.

A few kills; Testing/Benchmarks/fault_injection.py does as many as one likes. Batches and downloads
have tests of their own (batch/test_batch_processes.py, weights/test_killed_downloads.py).
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "Benchmarks"))

from fault_injection import killed_and_started_again  # noqa: E402
from killing_cases import Segmenting, train_embedded, train_fob  # noqa: E402


@pytest.mark.slow
@pytest.mark.parametrize("command", [train_fob, train_embedded])
def test_a_training_that_is_killed_while_it_is_saved_goes_on(command, tmp_path):
    with command(tmp_path, steps=3, compared=False) as case:
        tally = killed_and_started_again(case, 1, seed=2)
    assert not tally.problems
    assert (tally.kills, tally.resumed) == (1, 1)


@pytest.mark.slow
def test_a_segmentation_that_is_killed_leaves_the_earlier_one_or_the_new_one(tmp_path):
    with Segmenting(tmp_path) as case:
        tally = killed_and_started_again(case, 2, seed=1)
    assert not tally.problems and tally.kills + tally.ended == 2
