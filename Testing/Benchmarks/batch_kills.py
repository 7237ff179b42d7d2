"""A batch that is killed at random moments and started again, until all is done:

    python Testing/Benchmarks/batch_kills.py --studies 40 --kills 20

After each kill every output that has its name must be whole, and nothing that was done may be done
again. Prints a line for each start.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "Testing" / "Unit")]

from killed_processes import kill, temporaries  # noqa: E402
from small_studies import batch_command, support_of, write_studies  # noqa: E402

from FewShotSAMLib import read_labels  # noqa: E402
from FewShotSAMLib.apps.batch.records import DONE, Records  # noqa: E402


def done_times(output: Path) -> dict[str, int]:
    """When the record of each study that is done was written. Reads every output: a file that
    is not whole raises InputError."""
    times = {}
    for record in Records(output).all():
        if record["status"] == DONE:
            with suppress(FileNotFoundError):  # it is being done anew
                times[record["study"]] = Records(output).path(record["study"]).stat().st_mtime_ns
    for path in output.glob("*.seg.nrrd"):
        read_labels(path)
    return times


def killed_and_resumed(
    inputs: Path, output: Path, kills: int, *, longest: float = 3.0, seed: int = 0
) -> list[int]:
    """Studies that were done after each start; the last one ran to its end.

    Args:
        longest: seconds from the first work on a study to a kill; networks are loaded in them.

    Raises:
        AssertionError: something was lost, or done twice.
        InputError: a file is half written.
    """
    choose, before, counts = random.Random(seed), {}, []
    command = batch_command(inputs, "--support", support_of(inputs), "-o", output)
    for number in range(kills + 1):
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        if number < kills:
            _wait_for_work(process, output)
            time.sleep(choose.uniform(0.0, longest))
            kill(process)
        _, said = process.communicate()
        assert number < kills or process.returncode == 0, said.decode("utf-8", "replace")
        now = done_times(output)
        again = [name for name in before if now.get(name) != before[name]]
        assert not again, f"lost or done twice: {again}"
        before = now
        counts.append(len(now))
    assert not list((output / "records").glob("*.partial"))
    assert not temporaries(output, output / "records")
    return counts


def _wait_for_work(process: subprocess.Popen, output: Path) -> None:
    """Until it works on a study (what a kill left of an earlier start does not count), or ended."""
    began = time.time()
    while process.poll() is None:
        partial = output.glob("records/*.partial")
        if any(path.exists() and path.stat().st_mtime >= began for path in partial):
            return
        time.sleep(0.05)


def main() -> None:
    """Make studies, kill, resume, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=40)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--longest", type=float, default=10.0, help="seconds of work before a kill")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        inputs, output = Path(folder) / "in", Path(folder) / "out"
        paths = write_studies(inputs, args.studies)
        counts = killed_and_resumed(inputs, output, args.kills, longest=args.longest)
        print(f"done after each start: {counts}; {len(paths)} studies, none lost, none done twice")


if __name__ == "__main__":
    main()
