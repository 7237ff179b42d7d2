"""Damaged files for every reader, each read in a child process that may fail but not harm:

    python Testing/Benchmarks/fuzz_readers.py --inputs 2000 [--first 0]        (make fuzz)

A small valid file of each kind is changed at random: bytes turned over, cut, doubled, blanked,
numbers of its header made absurd. Each must be read, or refused in one line (InputError). Anything
else is printed with its number and kept: another exception, a line that is none, a child that dies
or takes longer than half a minute or more memory than 6 GiB. The exit status is 1 where there was
any.
"""

from __future__ import annotations

import argparse
import queue
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

LIMIT_S, LIMIT_BYTES = 30.0, 6 << 30
READ, REFUSED = "read", "refused"
NUMBERS = (b"0", b"-1", b"99", b"1e308", b"nan", b"inf", b"4294967295", b"99999999999")


# --------------------------------------------------------------------------------- inputs


def write_valid(folder: Path) -> list[Path]:
    """One small file of each kind; kept supports are called support."""
    import SimpleITK as sitk

    from FewShotSAMLib import Support, write_labels, write_volume
    from FewShotSAMLib.phantom.abdomen import abdomen

    patient = abdomen(shape=(4, 24, 20), spacing=(14, 17, 50))
    marked = patient.marked(2)
    names = ("a.nii", "a.nii.gz", "a.nrrd", "a.mha")
    for name in names:
        write_volume(patient.image, folder / name)
    labels = ("b.seg.nrrd", "b.nii.gz")
    for name in labels:
        write_labels(marked, folder / name)
    Support.from_labels(patient.image, marked, axis="axial").save(folder / "support.nrrd")
    pictures = ("c.png", "c.jpg")
    plane = sitk.GetImageFromArray((patient.image.voxels[2] % 256).astype(np.uint8))
    for name in pictures:
        sitk.WriteImage(plane, str(folder / name))
    scan = sitk.GetImageFromArray(patient.image.voxels[2:3].astype(np.int16))
    sitk.WriteImage(scan, str(folder / "d.dcm"))
    return sorted(folder.iterdir())


def mutated(content: bytes, random: np.random.Generator) -> bytes:
    """The bytes with one to three changes."""
    changed = bytearray(content)
    for _ in range(int(random.integers(1, 4))):
        change = CHANGES[int(random.integers(len(CHANGES)))]
        changed = change(changed, random) or bytearray(b"\0")
    return bytes(changed)


def _place(content: bytearray, random: np.random.Generator) -> int:
    """Mostly in the header, where it hurts."""
    reach = min(len(content), 600) if random.random() < 0.7 else len(content)
    return int(random.integers(reach))


def _turned(content: bytearray, random: np.random.Generator) -> bytearray:
    for _ in range(int(random.integers(1, 9))):
        content[_place(content, random)] = int(random.integers(256))
    return content


def _cut(content: bytearray, random: np.random.Generator) -> bytearray:
    return content[: _place(content, random)]


def _blanked(content: bytearray, random: np.random.Generator) -> bytearray:
    start = _place(content, random)
    end = min(start + int(random.integers(1, 65)), len(content))
    content[start:end] = bytes([int(random.choice([0, 255]))]) * (end - start)
    return content


def _doubled(content: bytearray, random: np.random.Generator) -> bytearray:
    start = _place(content, random)
    return content[:start] + content[start : start + 64] + content[start:]


def _absurd(content: bytearray, random: np.random.Generator) -> bytearray:
    """A digit of a header in words, or 8 bytes of one in numbers, become something absurd."""
    start = _place(content, random)
    digits = [n for n in range(min(len(content), 600)) if content[n : n + 1].isdigit()]
    if digits and random.random() < 0.7:
        start = int(random.choice(digits))
        number = NUMBERS[int(random.integers(len(NUMBERS)))]
        return content[:start] + number + content[start + 1 :]
    value = np.array(random.choice([np.inf, np.nan, 1e308, -1.0, 0.0])).tobytes()
    content[start : start + 8] = value
    return content


CHANGES: tuple[Callable[[bytearray, np.random.Generator], bytearray], ...] = (
    _turned, _cut, _blanked, _doubled, _absurd,
)  # fmt: skip


# ---------------------------------------------------------------------------------- child


def read_one(path: Path) -> str:
    """What becomes of a file: "read", "refused LINE" or what must not be."""
    from FewShotSAMLib import InputError, Support, read_labels, read_volume

    reader = Support.load if path.name.startswith("support") else read_volume
    if path.name.startswith("b"):
        reader = read_labels
    try:
        reader(path)
    except InputError as problem:
        line = str(problem)
        return f"{REFUSED} {line}" if line and "\n" not in line else f"many lines {line!r}"
    except BaseException as problem:
        return f"{type(problem).__name__}: {problem}".replace("\n", " ")
    return READ


def serve() -> None:
    """Reads names from standard input and answers each with a line."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
    answers = sys.stdout
    sys.stdout = sys.stderr  # what libraries print is no answer
    for line in sys.stdin:
        print(read_one(Path(line.rstrip("\n"))), file=answers, flush=True)


class Child:
    """A process that reads files, and another one when that died or hung."""

    def __init__(self) -> None:
        self._process: subprocess.Popen | None = None
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()

    def ask(self, path: Path) -> str:
        """What became of a file."""
        if self._process is None:
            self._start()
        self._process.stdin.write(f"{path}\n")
        self._process.stdin.flush()
        try:
            answer = self._answers.get(timeout=LIMIT_S)
        except queue.Empty:
            answer = f"takes more than {LIMIT_S:.0f} s"
        if not answer:
            answer = f"died ({self._process.wait()})"
        if answer.startswith(("takes", "died")):
            self.close()
        return answer

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), "--child"], text=True,
            encoding="utf-8", errors="backslashreplace", stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._answers = queue.SimpleQueue()
        threading.Thread(
            target=self._hear, args=(self._process, self._answers), daemon=True
        ).start()

    @staticmethod
    def _hear(process: subprocess.Popen, answers: queue.SimpleQueue[str]) -> None:
        for line in process.stdout:
            answers.put(line.rstrip("\n"))
        answers.put("")

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@dataclass(frozen=True)
class Outcome:
    """Of one damaged file: its number, what it was made from, and what became of it."""

    number: int
    kind: str
    said: str

    @property
    def harmless(self) -> bool:
        """Whether it was read, or refused in one line."""
        return self.said == READ or self.said.startswith(REFUSED)


def outcomes(first: int, count: int, folder: Path) -> Iterator[Outcome]:
    """Of the damaged files of these numbers; those that did harm stay in `folder`."""
    valid = folder / "valid"
    valid.mkdir()
    sources, child = write_valid(valid), Child()
    try:
        for number in range(first, first + count):
            source = sources[number % len(sources)]
            random = np.random.default_rng(number)
            stem, dot, kind = source.name.partition(".")
            path = folder / f"{stem}{number}{dot}{kind}"
            path.write_bytes(mutated(source.read_bytes(), random))
            one = Outcome(number, source.name, child.ask(path))
            if one.harmless:
                path.unlink()
            yield one
    finally:
        child.close()


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0, help="number of the first")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        serve()
        return 0
    folder, counts = Path(tempfile.mkdtemp(prefix="fuzz ")), Counter()
    for one in outcomes(chosen.first, chosen.inputs, folder):
        counts[one.said.split(" ")[0] if one.harmless else "harm"] += 1
        if not one.harmless:
            print(f"{one.number} {one.kind}: {one.said[:300]}", flush=True)
    print(", ".join(f"{count} {what}" for what, count in sorted(counts.items())))
    if counts["harm"]:
        print(f"kept in {folder}")
    return int(counts["harm"] > 0)


if __name__ == "__main__":
    raise SystemExit(main())
