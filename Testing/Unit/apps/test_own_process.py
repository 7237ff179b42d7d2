"""Threads that wait asleep: said before PyTorch is there, and never over a user's own choice."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# What a process sees of itself once it has started, and that torch was not there before.
SHOW = """
import io, os, sys
sys.stdin = io.TextIOWrapper(io.BytesIO())
from FewShotSAMLib.apps.{module} import main
assert "torch" not in sys.modules
try:
    main({arguments})
except SystemExit:
    pass
sys.stderr.write("policy=" + os.environ["OMP_WAIT_POLICY"])
"""
STARTS = [("main", "['--version']"), ("worker.worker", "")]


@pytest.mark.parametrize(("module", "arguments"), STARTS)
@pytest.mark.parametrize(("own", "expected"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_wait_asleep_unless_the_user_says_otherwise(module, arguments, own, expected):
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    if own:
        environment["OMP_WAIT_POLICY"] = own
    done = subprocess.run(
        [sys.executable, "-c", SHOW.format(module=module, arguments=arguments)],
        stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", env=environment,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith(f"policy={expected}"), done.stderr
