"""Installation steps in a thread: how they end, and what is said meanwhile."""

from __future__ import annotations

import threading
import time

import pytest
from FewShotSAMModule.installation.background import Background, step_line
from FewShotSAMModule.installation.steps import (
    InstallCancelled,
    InstallError,
    PackageStep,
    WeightsStep,
)


def wait(background, seconds=600.0):
    end = time.monotonic() + seconds
    while not background.over:
        assert time.monotonic() < end
        time.sleep(0.005)
    return background


def test_ends_well():
    where = []
    background = wait(Background(lambda: where.append(threading.current_thread())))
    assert where != [threading.current_thread()]
    assert (background.problem, background.cancelled) == ("", False)


@pytest.mark.parametrize(
    ("problem", "said", "cancelled"),
    [
        (InstallError("timm: no network; try again"), "timm: no network; try again", False),
        (InstallCancelled("timm"), "", True),
        (RuntimeError("two\nlines"), "RuntimeError: two lines", False),
    ],
)
def test_a_failure_becomes_one_line(problem, said, cancelled):
    def fail():
        raise problem

    background = wait(Background(fail))
    assert (background.problem, background.cancelled) == (said, cancelled)


def test_lines_of_packages_and_weights(tmp_path):
    from FewShotSAMLib.weights.store import WeightStore

    package = PackageStep("scipy>=1.10", "scipy", lambda arguments: None)
    assert step_line(package) == "Installing scipy>=1.10"
    weights = WeightsStep("sam2.1-tiny", WeightStore(tmp_path))
    assert step_line(weights).startswith("Installing weights of sam2.1-tiny")
    weights.progress = 12_000_000, 156_000_000
    assert step_line(weights).endswith(": 12 MB of 156 MB")


def test_weights_from_a_folder_without_them_is_one_line(tmp_path):
    from FewShotSAMLib.weights.store import WeightStore

    step = WeightsStep("sam2.1-tiny", WeightStore(tmp_path / "weights"))
    background = wait(Background(lambda: step.use_file(tmp_path)))
    assert "no such file" in background.problem
    assert "\n" not in background.problem
