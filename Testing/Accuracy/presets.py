"""All presets, methods and strategies on one folder of patients: the table for the README.

    python Testing/Accuracy/presets.py [DATASET] [--presets NAME ...] [--methods NAME ...]
        [--support-case NAME] [--device auto|cpu|cuda|mps] [--label N ...]

Each row is `fewshotsam evaluate` on the folder (`../shared/data/abdomen_mr` by default), twice: the
middle slices of each patient for the same patient, and those of one patient for the others; mean
Dice over the whole volume. Presets whose weights are not on this machine are left out and named
with the command that brings them; the embedded one is always there.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from FewShotSAMLib.models.registry import remembering_presets  # noqa: E402
from FewShotSAMLib.prompting.registry import METHODS  # noqa: E402
from FewShotSAMLib.weights.catalogue import catalogue  # noqa: E402
from FewShotSAMLib.weights.store import WeightStore  # noqa: E402


def missing(preset: str, store: WeightStore) -> list[str]:
    """Names of a preset's weights that are not on this machine."""
    return [one.name for one in catalogue().needed(preset) if not store.is_present(one.name)]


def rows(presets: Sequence[str], methods: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Preset, method and strategy of each row."""
    for preset in presets:
        for method in methods:
            yield preset, method, "propagate"
            if preset in remembering_presets():
                yield preset, method, "memory"


def mean_dice(args: argparse.Namespace, row: tuple[str, str, str], support: str | None) -> str:
    """As `evaluate` measures it, with two digits; "failed" after its own line of complaint."""
    preset, method, strategy = row
    command = [
        sys.executable, "-m", "FewShotSAMLib", "evaluate", str(args.dataset), "--json",
        "--model", preset, "--method", method, "--strategy", strategy, "--device", args.device,
        *(["--support-case", support] if support else []),
        *(["--label", *map(str, args.label)] if args.label else []),
    ]  # fmt: skip
    place = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        command, stdout=subprocess.PIPE, encoding="utf-8", check=False,
        env={**os.environ, "PYTHONPATH": place, "PYTHONUTF8": "1"},
    )
    if done.returncode:
        return "failed"
    tables = {table["measure"]: table for table in json.loads(done.stdout)["tables"]}
    mean = tables["whole"]["mean"]
    return "-" if mean is None else f"{mean:.2f}"


def main() -> int:
    """Prints the table; 1 where a row failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    data = ROOT.parent / "shared" / "data" / "abdomen_mr"
    parser.add_argument("dataset", type=Path, nargs="?", default=data)
    parser.add_argument("--presets", nargs="+", choices=tuple(catalogue().presets))
    parser.add_argument("--methods", nargs="+", choices=tuple(METHODS), default=tuple(METHODS))
    parser.add_argument("--support-case", help="whose slices segment the others")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--label", type=int, nargs="+", help="only these organs")
    args = parser.parse_args()
    store = WeightStore()
    here = []
    for preset in args.presets or catalogue().presets:
        if lacking := missing(preset, store):
            print(f"{preset}: left out, {', '.join(lacking)} not in {store.folder}; "
                  f"run: fewshotsam models download {preset}", file=sys.stderr)  # fmt: skip
        else:
            here.append(preset)
    print("| preset | method | strategy | same patient | other patients |\n|---|---|---|---|---|")
    failed = False
    for row in rows(here, args.methods):
        values = [mean_dice(args, row, support) for support in ("same", args.support_case)]
        failed |= "failed" in values
        print(f"| {' | '.join((*row, *values))} |", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
