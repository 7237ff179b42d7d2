"""Segmentation in a process of its own: start it, ask it, hear from it, never wait for it.

`Worker` keeps one child process (`FewShotSAMLib.apps.worker`) from one request to the next and
starts another when it has ended. Each request is a `Job`.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import FewShotSAMLib

from .child import Child
from .job import Job

if TYPE_CHECKING:
    from FewShotSAMLib import Support, Volume
    from FewShotSAMLib.prompting.point_prompts import PointPrompts
    from FewShotSAMLib.weights.catalogue import WeightFile


class Worker:
    """A child process that segments, started when it is first needed and kept.

    Args:
        python: its interpreter; by default PythonSlicer in Slicer, else the one that runs here.
        environment: variables to add to this process's own.
        patience: seconds that a cancelled job may take to stop before its process is ended.
    """

    def __init__(
        self,
        python: Path | None = None,
        environment: Mapping[str, str] | None = None,
        *,
        patience: float = 10.0,
    ) -> None:
        self.python, self.environment, self.patience = python, dict(environment or {}), patience
        self._child: Child | None = None
        self._number = 0

    @property
    def alive(self) -> bool:
        """Whether a process waits for requests or works on one."""
        return self._child is not None and self._child.ended is None

    @property
    def pid(self) -> int | None:
        """Of the process, where one is alive."""
        return self._child.process.pid if self.alive else None

    def hello(self) -> Job:
        """Versions, device and memory, as a dict: version, python, platform, torch, device,
        reason, memory."""
        return self._ask("hello")

    def doctor(self) -> Job:
        """A dict with "text", what `fewshotsam doctor` prints."""
        return self._ask("doctor")

    def load(self, model: Mapping[str, Any]) -> Job:
        """Loads networks ahead of the first segmentation.

        Args:
            model: arguments of `FewShotSAMLib.load_segmenter`.
        """
        return self._ask("load", model=dict(model))

    def segment(
        self,
        volume: Volume,
        supports: Sequence[Support],
        *,
        excluded: Volume | None = None,
        model: Mapping[str, Any],
        options: Mapping[str, Any],
    ) -> Job:
        """A volume. Its result is a `VolumeResult`; slices come while it runs.

        Args:
            volume, supports, excluded: sent once and kept by the process as long as the object
                lives; their arrays must not change.
            model: arguments of `FewShotSAMLib.load_segmenter`.
            options: of `Segmenter.segment`: strategy, range, window, seed, assume_present.
        """
        return self._ask(
            "segment", volume, supports, excluded, model=dict(model), options=dict(options)
        )

    def segment_slice(
        self,
        volume: Volume,
        supports: Sequence[Support],
        index: int,
        *,
        prompts: Mapping[int, PointPrompts] | None = None,
        excluded: Volume | None = None,
        model: Mapping[str, Any],
        options: Mapping[str, Any],
    ) -> Job:
        """One slice on its own. Its result is a `SliceAnswer`; arguments as for `segment` and
        `Segmenter.segment_slice`."""
        from FewShotSAMLib.apps.worker.parcels import pack_prompts

        return self._ask(
            "slice", volume, supports, excluded, index=index, prompts=pack_prompts(prompts or {}),
            model=dict(model), options=dict(options),
        )

    def abdomen(
        self, shape: tuple[int, int, int], spacing: tuple[float, float, float], seed: int
    ) -> Job:
        """A generated abdomen. Its result is the image and the labels of one slice, `Volume`s;
        arguments as for `FewShotSAMLib.phantom.abdomen.abdomen`."""
        return self._ask("abdomen", shape=shape, spacing=spacing, seed=seed)

    def weights(
        self, entry: WeightFile, folder: Path, mirror: str = "", source: Path | None = None
    ) -> Job:
        """Downloads and checks a file of weights; its progress counts bytes, in all 0 where that
        is not known. Arguments as for `weights_fetch.fetch_weights`."""
        from FewShotSAMLib.apps.worker.weight_files import weights_header

        return self._ask("weights", **weights_header(entry, folder, mirror, source))

    def kill(self) -> None:
        """Ends the process at once; running jobs fail."""
        if self._child is not None:
            self._child.kill()

    def close(self) -> None:
        """Lets the process end; it is started again when it is needed. Does not wait."""
        if self._child is not None:
            self._child.close()
            self._child = None

    def _ask(
        self,
        command: str,
        volume: Volume | None = None,
        supports: Sequence[Support] = (),
        excluded: Volume | None = None,
        **header: Any,
    ) -> Job:
        self._number += 1
        line = ""
        for _ in range(2):  # the child may end between the look and the call
            try:
                child = self._child if self.alive else self._new_child()
            except OSError as problem:
                line = _not_started(self._command()[0], problem)
                break
            self._child = child
            job = Job(child, self._number, self.patience)
            if child.submit(job, command, volume, supports, excluded, header):
                return job
            line = child.ended or "the segmentation process ended"
        return Job.failed(self._number, line, "crash")

    def _new_child(self) -> Child:
        return Child(self._command(), self._variables(), library_folder())

    def _command(self) -> list[str]:
        return [str(self.python or find_python()), "-m", "FewShotSAMLib.apps.worker"]

    def _variables(self) -> dict[str, str]:
        there = os.environ.get("PYTHONPATH")
        paths = [str(library_folder()), *([there] if there else [])]
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "PYTHONIOENCODING": "utf-8:backslashreplace",
            **self.environment,
        }


def library_folder() -> Path:
    """The folder that FewShotSAMLib lies in."""
    return Path(FewShotSAMLib.__file__).resolve().parents[1]


def find_python() -> Path:
    """PythonSlicer inside of Slicer, else the interpreter that runs here."""
    found = shutil.which("PythonSlicer") if "slicer" in sys.modules else None
    return Path(found or sys.executable)


def _not_started(command: str, problem: OSError) -> str:
    return (
        f"{command}: the segmentation process cannot be started "
        f"({problem.strerror or problem}); reinstall the extension or Slicer"
    )
