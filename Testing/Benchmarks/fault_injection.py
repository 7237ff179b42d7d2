"""Commands that are killed at random moments and started again, until each has run to its end:

    python Testing/Benchmarks/fault_injection.py --kills 30 [--only train-fob download ...]

A third of the kills comes at any moment, a third after real steps, a third while a file is being
written. After each one, what lies under its own name must be whole and of one run, and nothing that
was kept may be lost; at the end the result must be the one of a run that nobody killed, and no
leftovers may lie there. Prints a line for each command; the exit status is 1 where something was
found. Of a batch, which works on, more is asked: see batch_kills.py.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "Testing" / "Unit"), str(ROOT / "Testing" / "Benchmarks")]

from batch_kills import killed_and_resumed  # noqa: E402
from killed_processes import kill, temporaries  # noqa: E402
from killing_cases import CASES, Case  # noqa: E402
from small_studies import write_studies  # noqa: E402

from FewShotSAMLib.data.errors import InputError  # noqa: E402

BATCH = "batch"
MOMENTS = ("any", "working", "writing")


@dataclass
class Tally:
    """Of one command.

    Attributes:
        kills: that met it at work.
        amidst: those of them that left a file half written, under no name that counts.
        ended: it was done before the kill came.
        resumed: starts that went on from what an earlier one had kept.
        problems: half or mixed files, lost work, leftovers, wrong results.
    """

    kills: int = 0
    amidst: int = 0
    ended: int = 0
    resumed: int = 0
    problems: list[str] = field(default_factory=list)


def killed_and_started_again(case: Case, kills: int, seed: int = 0) -> Tally:
    """What was found when a command was killed so often, and then ran to its end."""
    choose, tally, kept = random.Random(seed), Tally(), case.kept()
    for number in range(kills):
        moment = MOMENTS[(number + seed) % len(MOMENTS)]
        process = _started(case)
        _wait(case, process, moment, choose)
        over = process.poll() is not None
        kill(process)
        tally.ended += over
        tally.kills += not over
        tally.amidst += not over and case.half_written()
        tally.resumed += kept > 0
        tally.problems += [f"kill {number} ({moment}): {one}" for one in case.found()]
        if not over and (now := case.kept()) < kept:
            tally.problems.append(f"kill {number} ({moment}): {kept} were kept, {now} are")
        kept = case.kept()
        if over:
            case.begin_anew()
            kept = case.kept()
    tally.resumed += kept > 0
    tally.problems += _run_to_its_end(case)
    return tally


def batch_killed(folder: Path, kills: int, seed: int = 0) -> Tally:
    """The same of a batch with as many studies as kills."""
    inputs, studies = folder / "in", max(kills, 4)
    write_studies(inputs, studies)
    try:
        counts = killed_and_resumed(inputs, folder / "out", kills, seed=seed)
    except (AssertionError, InputError) as problem:
        return Tally(kills, problems=[str(problem)])
    met = sum(count < studies for count in counts[:-1])
    return Tally(met, ended=kills - met, resumed=sum(count > 0 for count in counts[:-1]))


def _killed(name: str, folder: Path, kills: int, seed: int) -> Tally:
    if name == BATCH:
        return batch_killed(folder, kills, seed)
    with CASES[name](folder) as case:
        return killed_and_started_again(case, kills, seed)


def _started(case: Case) -> subprocess.Popen:
    return subprocess.Popen(
        case.command, cwd=ROOT, env=case.environment, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip


def _run_to_its_end(case: Case) -> list[str]:
    ran = subprocess.run(
        case.command, cwd=ROOT, env=case.environment, capture_output=True, encoding="utf-8"
    )
    problems = [] if ran.returncode == 0 else [f"status {ran.returncode}: {ran.stderr[-500:]}"]
    problems += [*case.found(), *case.wrong_at_the_end()]
    return problems + [f"left over: {path.name}" for path in temporaries(*case.folders)]


def _wait(case: Case, process: subprocess.Popen, moment: str, choose: random.Random) -> None:
    """Until the moment, or the end of the process."""
    began = time.time()
    if moment == "any":
        happened = _after(choose.uniform(0, case.seconds))
    elif moment == "working":
        _until(process, lambda: case.works(began))
        happened = _after(choose.uniform(0, case.seconds / 4))
    else:

        def happened() -> bool:
            return case.writing(began)

    _until(process, happened)


def _after(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


def _until(process: subprocess.Popen, happened: Callable[[], bool]) -> None:
    while process.poll() is None and not happened():
        time.sleep(0.001)


def main() -> int:
    """Kill, start again, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30, help="of each command")
    parser.add_argument("--only", nargs="+", choices=[*CASES, BATCH], default=[*CASES, BATCH])
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    bad = False
    for name in args.only:
        with tempfile.TemporaryDirectory() as folder:
            tally = _killed(name, Path(folder), args.kills, args.seed)
        bad |= bool(tally.problems)
        print(
            f"{name}: {tally.kills} kills ({tally.amidst} amidst a file; {tally.ended} times it "
            f"was done before), resumed {tally.resumed} times, {len(tally.problems)} problems",
            *tally.problems, sep="\n  ", flush=True,
        )  # fmt: skip
    return int(bad)


if __name__ == "__main__":
    raise SystemExit(main())
