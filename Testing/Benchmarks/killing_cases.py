"""The commands that fault_injection.py kills, and how it is told that their files are whole."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
import torch
from file_server import Answer, serving
from killed_processes import temporaries
from small_networks import TINY_EMBEDDED

from FewShotSAMLib.data.errors import InputError
from FewShotSAMLib.data.writing import write_labels, write_volume
from FewShotSAMLib.models.embedded import read_network, save_network
from FewShotSAMLib.models.embedded_network import EmbeddedNetwork
from FewShotSAMLib.models.fob import read_fob
from FewShotSAMLib.phantom.abdomen import abdomen
from FewShotSAMLib.weights.catalogue import catalogue
from FewShotSAMLib.weights.resources import sha256_of

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"shape": (6, 64, 64), "spacing": (5.0, 5.0, 30.0)}


def program(module: str, *arguments: object) -> list[str]:
    """A command of this Python."""
    return [sys.executable, "-m", module, *map(str, arguments)]


def changed_since(path: Path, began: float) -> bool:
    """Whether a file is there that was written to since then."""
    with suppress(OSError):
        return path.stat().st_mtime >= began - 0.02  # clocks of files tick in hundredths
    return False


class Case:
    """A command that is killed.

    Attributes:
        command, environment: how it is started.
        folders: where files appear.
        seconds: that it takes undisturbed.
        writes: how the file ends that is to be caught while it is written.
    """

    writes = ""

    def __init__(self, folder: Path) -> None:
        self.work = folder / "work"
        self.folders = [self.work]
        self.environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.seconds = 1.0
        self._stack = ExitStack()

    def __enter__(self) -> Case:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run_undisturbed(self, command: list[str]) -> None:
        """The run that others are compared with; it tells how long one takes."""
        began = time.monotonic()
        ran = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True)
        assert ran.returncode == 0, ran.stderr.decode("utf-8", "replace")
        self.seconds = time.monotonic() - began

    def begin_anew(self) -> None:
        """As before the first start."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()

    def kept(self) -> int:
        """How much a next start will not do again."""
        return 0

    def writing(self, began: float) -> bool:
        """Whether a file is being written that was begun since then."""
        return any(
            path.name.endswith(self.writes) and changed_since(path, began)
            for path in temporaries(*self.folders)
        )

    def half_written(self) -> bool:
        """Whether a kill left a file that is not whole, under a name that does not count."""
        return bool(temporaries(*self.folders))


class Training(Case):
    """A training command: what it keeps is run.pt, what it makes are weights."""

    writes = ".pt"

    def __init__(
        self, folder: Path, command: Callable[[Path], list[str]], weights: str,
        read: Callable[[Path], dict[str, torch.Tensor]], steps: int, compared: bool,
    ) -> None:  # fmt: skip
        super().__init__(folder)
        self.weights, self.read, self.steps = self.work / weights, read, steps
        self.command, self.expected = command(self.work), None
        self.begin_anew()
        if compared:
            (folder / "undisturbed").mkdir()
            self.run_undisturbed(command(folder / "undisturbed"))
            self.expected = read(folder / "undisturbed" / weights)

    def works(self, began: float) -> bool:
        """Whether it has made steps since then, and kept them."""
        return changed_since(self.work / "run.pt", began)

    def writing(self, began: float) -> bool:
        """Whether it writes another of its states just now."""
        return self.works(began) and super().writing(began)

    def kept(self) -> int:
        """Steps."""
        state = self.work / "run.pt"
        if not state.exists():
            return 0
        return int(torch.load(state, weights_only=True)["step"])

    def found(self) -> list[str]:
        """What is not whole, or of two runs."""
        problems = []
        try:
            self.kept()
        except Exception as problem:  # whatever damaged files raise
            problems.append(f"run.pt: {problem}")
        steps = self._logged()
        if steps != sorted(set(steps)):
            problems.append(f"log.csv: steps {steps}")
        beside = self.weights.with_suffix(".json")
        if beside.exists() and not self.weights.exists():
            problems.append(f"{beside.name} without weights")
        if self.weights.exists():
            try:
                self.read(self.weights)
            except InputError as problem:
                problems.append(str(problem))
            if beside.exists():
                told = json.loads(beside.read_text(encoding="utf-8"))
                if told["sha256"] != sha256_of(self.weights):
                    problems.append(f"{beside.name} is of other weights")
        return problems

    def _logged(self) -> list[int]:
        log = self.work / "log.csv"
        if not log.exists():
            return []
        with log.open(encoding="utf-8", newline="") as stream:
            return [int(row["step"]) for row in csv.DictReader(stream)]

    def wrong_at_the_end(self) -> list[str]:
        """What is not as if nobody had killed it."""
        problems = [] if self.kept() == self.steps else [f"{self.kept()} steps"]
        if self._logged()[-1:] != [self.steps]:
            problems.append(f"log.csv: steps {self._logged()}")
        if not self.weights.with_suffix(".json").exists():
            problems.append("weights without provenance")
        mine = self.read(self.weights)
        for name, tensor in (self.expected or {}).items():
            if not torch.equal(mine[name], tensor):
                return [*problems, f"other weights than undisturbed, {name} for one"]
        return problems


def train_fob(folder: Path, steps: int = 8, *, compared: bool = True) -> Training:
    """`fewshotsam train-fob` on two small volumes, saved after each step."""
    for seed in (1, 2):
        write_volume(abdomen(**SMALL, seed=seed).image, folder / "scans" / f"{seed}.nii.gz")

    def command(work: Path) -> list[str]:
        return program(
            "FewShotSAMLib", "train-fob", "--images", folder / "scans",
            "--out", work / "fob.safetensors", "--run", work, "--backbone", "embedded",
            "--device", "cpu", "--steps", steps, "--checked", 1, "--check-every", 0.01,
        )  # fmt: skip

    def read(path: Path) -> dict[str, torch.Tensor]:
        return read_fob(path)[0].state_dict()

    return Training(folder, command, "fob.safetensors", read, steps, compared)


def train_embedded(folder: Path, steps: int = 6, *, compared: bool = True) -> Training:
    """The training of the shipped network, of a tiny one here, saved after each step."""
    torch.manual_seed(0)
    save_network(EmbeddedNetwork(TINY_EMBEDDED), folder / "tiny.safetensors", {})

    def command(work: Path) -> list[str]:
        return program(
            "FewShotSAMLib.training.embedded", "--steps", steps, "--device", "cpu",
            "--folder", work, "--start", folder / "tiny.safetensors", "--checked", 1,
            "--check-every", 0.01,
        )  # fmt: skip

    def read(path: Path) -> dict[str, torch.Tensor]:
        return read_network(path).state_dict()

    return Training(folder, command, "embedded.safetensors", read, steps, compared)


class Segmenting(Case):
    """`fewshotsam segment` over an earlier result: nothing is kept, and nothing may be mixed."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        patient = abdomen(**SMALL)
        self.earlier = patient.marked(1)
        scan, mask = folder / "scan.nii.gz", folder / "mask.nii.gz"
        write_volume(patient.image, scan)
        write_labels(patient.marked(patient.marked_slice()), mask)
        self.output, self.report = self.work / "out.seg.nrrd", self.work / "out.html"
        self.command = program(
            "FewShotSAMLib", "segment", scan, "--support-mask", mask, "-o", self.output,
            "--report", self.report, "--device", "cpu",
        )  # fmt: skip
        self.begin_anew()
        self.old = self.output.read_bytes()
        self.run_undisturbed(self.command)
        self.new = self.output.read_bytes()
        assert self.new != self.old
        self.begin_anew()

    def begin_anew(self) -> None:
        """With an earlier result."""
        super().begin_anew()
        write_labels(self.earlier, self.output)
        self.report.write_text("<html>earlier</html>", encoding="utf-8")

    def works(self, began: float) -> bool:
        """Whether it has read its files by now, as far as can be told."""
        return time.time() - began > 0.6 * self.seconds

    def found(self) -> list[str]:
        """What is not whole, or of two runs."""
        labels = self.output.read_bytes() if self.output.exists() else b""
        said = self.report.read_text(encoding="utf-8") if self.report.exists() else ""
        if labels not in (self.old, self.new):
            return [f"{self.output.name}: neither the earlier result nor the new one"]
        if said and not said.rstrip().endswith("</html>"):
            return [f"{self.report.name}: cut short"]
        # Between two names there is a moment in which the report is gone, or still the earlier one.
        if labels == self.old and said and "earlier" not in said[:20]:
            return [f"{self.report.name}: new, beside earlier labels"]
        return []

    def wrong_at_the_end(self) -> list[str]:
        """What is not as if nobody had killed it."""
        there = sorted(path.name for path in self.work.iterdir())
        wrong = [] if there == ["out.html", "out.seg.nrrd"] else [f"in the folder: {there}"]
        said = self.report.read_text(encoding="utf-8")
        return wrong + (["no new result"] if self.output.read_bytes() != self.new else []) + (
            ["no new report"] if "earlier" in said[:20] else []
        )  # fmt: skip


class Downloading(Case):
    """`fewshotsam models download` from a slow server on this machine, of a file whose SHA-256
    nobody published: what has arrived may be joined to no other version."""

    NAME = "dinov2-base-registers"

    def __init__(self, folder: Path, size: int = 3_000_001) -> None:
        super().__init__(folder)
        self.content = np.random.default_rng(0).bytes(size)
        self.server = self._stack.enter_context(serving())
        file = catalogue().weight_file(self.NAME).file
        self.server.files[f"/{file}"] = self.content
        self.server.answers = [Answer(pause=0.02, piece=size // 60)] * 10_000
        self.target = self.work / file
        self.partial = self.work / f"{file}.partial"
        self.environment |= {
            "FEWSHOTSAM_WEIGHTS": str(self.work), "FEWSHOTSAM_SETTINGS": str(folder / "none.json"),
            "no_proxy": "127.0.0.1",
        }  # fmt: skip
        self.command = program(
            "FewShotSAMLib", "models", "download", self.NAME, "--mirror", self.server.url, "--yes"
        )
        self.begin_anew()
        self.run_undisturbed(self.command)
        self.begin_anew()

    def works(self, began: float) -> bool:
        """Whether bytes have come since then."""
        return changed_since(self.partial, began)

    def writing(self, began: float) -> bool:
        """Whether a piece comes just now."""
        before = self.kept()
        time.sleep(0.005)
        return self.works(began) and self.kept() != before

    def half_written(self) -> bool:
        """Whether a part has come."""
        return self.partial.exists()

    def kept(self) -> int:
        """Bytes."""
        for path in (self.target, self.partial):
            if path.exists():
                return path.stat().st_size
        return 0

    def found(self) -> list[str]:
        """What is not whole, or of other bytes than the server's."""
        if self.target.exists() and self.target.read_bytes() != self.content:
            return [f"{self.target.name}: other bytes"]
        if self.partial.exists():
            part = self.partial.read_bytes()
            if part != self.content[: len(part)]:
                return [f"{self.partial.name}: other bytes"]
        return []

    def wrong_at_the_end(self) -> list[str]:
        """What is not as if nobody had killed it."""
        there = sorted(path.name for path in self.work.iterdir())
        whole = sorted([self.target.name, f"{self.target.name}.json"])
        wrong = [] if there == whole else [f"in the folder: {there}"]
        if not self.target.exists() or (
            sha256_of(self.target) != hashlib.sha256(self.content).hexdigest()
        ):
            wrong.append("another SHA-256")
        return wrong


CASES: dict[str, Callable[[Path], Case]] = {
    "train-fob": train_fob, "train-embedded": train_embedded, "segment": Segmenting,
    "download": Downloading,
}  # fmt: skip
