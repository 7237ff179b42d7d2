"""The script that compares presets: what is missing is named, what is there is measured."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from FewShotSAMLib.data.writing import write_labels, write_volume
from FewShotSAMLib.phantom.abdomen import abdomen

SCRIPT = Path(__file__).resolve().parents[3] / "Accuracy" / "presets.py"


@pytest.mark.slow
def test_presets_without_weights_are_named_and_the_embedded_one_is_measured(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for seed in (1, 2):
        patient = abdomen(shape=(4, 48, 48), spacing=(7.0, 7.0, 50.0), seed=seed)
        write_volume(patient.image, folder / f"image_{seed}.nii.gz")
        write_labels(patient.truth, folder / f"label_{seed}.nii.gz")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder), "--methods", "synpo", "--presets", "embedded",
         "fast", "--support-case", "1", "--label", "1", "--device", "cpu"],
        capture_output=True, encoding="utf-8", check=False,
        env={**os.environ, "FEWSHOTSAM_WEIGHTS": str(tmp_path / "none")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "fast: left out, sam2.1-tiny, dinov2-small not in" in done.stderr
    assert "run: fewshotsam models download fast" in done.stderr
    head, line, row = done.stdout.splitlines()
    assert head.startswith("| preset | method |") and line == "|---|---|---|---|---|"
    name, method, strategy, same, others = (cell.strip() for cell in row.strip("|").split("|"))
    assert (name, method, strategy) == ("embedded", "synpo", "propagate")
    assert 0.5 < float(same) <= 1 and 0.2 < float(others) <= 1
