"""A volume with nothing beside it, and beside processes that are busy all the time.

    python Testing/Benchmarks/under_load.py [--busy 1] [--turns 3]

Prints wall seconds of `fewshotsam segment` on a generated abdomen, as it is and with threads that
spin while they wait (OMP_WAIT_POLICY=ACTIVE), and the ratios. Quiet means that nothing else runs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from FewShotSAMLib import write_labels  # noqa: E402
from FewShotSAMLib.data.writing import write_volume  # noqa: E402
from FewShotSAMLib.phantom.abdomen import abdomen  # noqa: E402

POLICIES = ("PASSIVE", "ACTIVE")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--busy", type=int, default=1, help="busy processes beside it")
    parser.add_argument("--turns", type=int, default=3, help="the quickest of so many counts")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        patient = abdomen(shape=(36, 192, 192), spacing=(1.7, 1.7, 6.0))
        write_volume(patient.image, Path(folder, "image.nii.gz"))
        write_labels(patient.marked(patient.marked_slice()), Path(folder, "mask.seg.nrrd"))
        for policy in POLICIES:
            quiet = _quickest(folder, policy, chosen.turns)
            with _busy(chosen.busy):
                loaded = _quickest(folder, policy, chosen.turns)
            print(
                f"{policy}: quiet {quiet:.1f} s, beside {chosen.busy} busy {loaded:.1f} s, "
                f"{loaded / quiet:.2f} times", flush=True
            )


def _quickest(folder: str, policy: str, turns: int) -> float:
    """Seconds of the command, start and all."""
    command = [
        sys.executable, "-m", "FewShotSAMLib", "segment", "image.nii.gz",
        "--support-image", "image.nii.gz", "--support-mask", "mask.seg.nrrd",
        "-o", "out.seg.nrrd",
    ]
    environment = {**os.environ, "OMP_WAIT_POLICY": policy, "PYTHONPATH": str(ROOT)}
    seconds = []
    for _ in range(turns):
        start = time.perf_counter()
        subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


@contextmanager
def _busy(count: int) -> Iterator[None]:
    """Processes that do nothing but count."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


if __name__ == "__main__":
    main()
