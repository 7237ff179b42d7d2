"""Slicer imports every module at its start: that loads nothing that has to be installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")

MODULE = Path(__file__).resolve().parents[2] / "FewShotSAM"
COMMAND = """
import sys
sys.path.insert(0, sys.argv[1])
import slicer
before = set(sys.modules)
from FewShotSAMModule.installation import dependencies
from FewShotSAMModule.runs import logic
from FewShotSAMModule.scene import sample_data
from FewShotSAMModule.panel import choices
from FewShotSAMModule.installation import needed_networks
new = {name.split(".")[0] for name in set(sys.modules) - before}
heavy = {"torch", "scipy", "sklearn", "SimpleITK", "PIL", "safetensors", "psutil", "tqdm"}
print("loaded:", *sorted(new & heavy))
"""


def test_importing_the_module_loads_nothing_heavy():
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, str(MODULE)],
        cwd=MODULE.parent, capture_output=True, text=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "loaded:", done.stdout
