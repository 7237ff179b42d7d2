"""Small studies on disk, and a batch of them that takes little time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from small_abdomens import LIVER, SPLEEN, marked

from FewShotSAMLib.data.writing import write_volume
from FewShotSAMLib.phantom.abdomen import abdomen

ROOT = Path(__file__).resolve().parents[2]
TINY = {"shape": (5, 48, 48), "spacing": (7.0, 7.0, 40.0)}


def write_studies(folder: Path, count: int) -> list[Path]:
    """Generated patients as NIfTI files, and beside the folder the kept support of another, without
    a thin copy: how bodies are aligned is no matter of batches, and takes longer than the rest."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"patient {number}.nii.gz" for number in range(count)]
    for number, path in enumerate(paths):
        write_volume(abdomen(**TINY, seed=number + 1).image, path)
    support = marked(abdomen(**TINY), LIVER, SPLEEN, overview=False)
    support.save(support_of(folder))
    return paths


def support_of(folder: Path) -> Path:
    """The support that `write_studies` kept."""
    return folder.parent / "support.nrrd"


def batch_command(*arguments) -> list[str]:
    """`fewshotsam batch` on the CPU, to be run from `ROOT`."""
    command = [sys.executable, "-m", "FewShotSAMLib", "batch", *map(str, arguments)]
    return [*command, "--device", "cpu"]


def batch(*arguments) -> subprocess.CompletedProcess:
    """Run it to its end."""
    return subprocess.run(
        batch_command(*arguments), cwd=ROOT, capture_output=True, text=True, encoding="utf-8",
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def manifest(folder: Path) -> list[dict]:
    """What a batch says of its studies."""
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
