"""From nodes to nodes: read, segment in the job's process, show slices, commit or leave as it was.

`segment` and `segment_slice` serve the panel (`wait=False`), the Python console and scripts without
a window (`wait=True`) alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer

from ..scene.results import ResultWriter
from .partial import partial_result, write_part
from .run import Run, Work
from .source import Choice, Preparation, Source, forget_sources
from .worker import Worker

if TYPE_CHECKING:
    from FewShotSAMLib import Support
    from FewShotSAMLib.prompting.point_prompts import PointPrompts
    from FewShotSAMLib.segmentation.results import (
        Progress,
        SliceAnswer,
        SlicePreview,
        VolumeResult,
    )


__all__ = ["forget_sources", "redraw", "segment", "segment_slice", "shared_worker"]


@dataclass(frozen=True)
class _Networks:
    """What computes; the names are those of `FewShotSAMLib.load_segmenter`."""

    model: str
    method: str
    features: str | None
    fob: str | None
    device: str
    precision: str
    allow_cpu: bool


@dataclass(frozen=True)
class _Target:
    """Where the result goes; see `segment`."""

    node: Any
    into: str | None
    overwrite: str
    before_change: Callable[[], None] | None

    @property
    def place(self) -> str:
        """Either "new" or "existing"."""
        return self.into or ("new" if self.node is None else "existing")

    def preparation(self, volume_node: Any, painted: Any, choice: Choice) -> Preparation:
        """Reads what a run into it works on, with the voxels that it may not take."""
        output = self.node if self.place == "existing" else None
        return Preparation(volume_node, painted, choice, output, self.overwrite)

    def writer(self, source: Source) -> ResultWriter:
        """Of the result of what was read."""
        return ResultWriter(
            source.nodes[0],
            source.segments,
            output=self.node,
            into=self.place,
            overwrite=self.overwrite,
            before_change=self.before_change,
        )


@cache
def shared_worker() -> Worker:
    """The one process that stays warm for the whole application."""
    return Worker()


def segment(
    volume_node: Any,
    support_segmentation: Any = None,
    output_segmentation: Any = None,
    *,
    segment_ids: Sequence[str] | None = None, supports: Sequence[Support | str | Path] = (),
    support_slices: str | Sequence[int] = "all", axis: str = "auto",
    model: str = "embedded", method: str = "synpo",
    features: str | None = None, fob: str | None = None,
    strategy: str = "propagate", range: tuple[int, int] | None = None,
    window: tuple[float, float] | None = None, seed: int = 0, assume_present: bool = False,
    device: str = "auto", precision: str = "auto", allow_cpu: bool = False,
    into: str | None = None, overwrite: str = "never", item: int | None = None,
    before_change: Callable[[], None] | None = None,
    progress: Callable[[Progress], None] | None = None,
    callback: Callable[[Run], None] | None = None,
    wait: bool = True, worker: Worker | None = None,
) -> Any:  # fmt: skip
    """Segments every painted structure in the whole volume.

    Args:
        volume_node: the volume, a scalar or colour volume node.
        support_segmentation: the structures, painted on slices of it; None if `supports` say all.
        output_segmentation: segmentation node that takes the result, for `into="existing"`.
        segment_ids: which segments to segment; None for all.
        supports: more of them, of any patient: `FewShotSAMLib.Support` objects or saved files.
        support_slices: "all", "middle", "largest", "thirds" or indices, counted as in `range`.
        axis: the direction painted in: "auto", "axial", "coronal" or "sagittal".
        model, method, features, fob, device, precision, allow_cpu, seed: see
            `FewShotSAMLib.load_segmenter`.
        strategy, range, window, assume_present: see `Segmenter.segment`. `range` is the first
            and last slice, both included, along the volume's own axis, from 0.
        into: "new" for one beside the volume, or "existing", the default with an output.
        overwrite: "never", "unlocked" or "all": whose voxels it may take, see `ResultWriter`. Those
            that it may not take count as background.
        item: of a volume sequence, which item; None for the one that is shown.
        before_change: called just before an existing segmentation changes.
        progress: called with each new `Progress`; callback: with the run when it is over.
        wait: True returns the segmentation node; False returns a `Run` to be polled.
        worker: the process to use; by default the one that stays warm.

    Raises:
        InputError: what was given is unusable. With `wait=False` this is for what is seen at
            once; later the run's state and message tell.
        Cancelled, JobError: with `wait=True`. Whatever is raised, the scene is as it was before.
    """
    choice = _choice(segment_ids, supports, support_slices, axis, item, window)
    networks = _Networks(model, method, features, fob, device, precision, allow_cpu)
    target = _Target(output_segmentation, into, overwrite, before_change)
    options = {"strategy": strategy, "range": range, "window": window, "seed": seed,
               "assume_present": assume_present}  # fmt: skip
    begin = partial(_volume_work, worker or shared_worker(), networks, target, options)
    preparation = target.preparation(volume_node, support_segmentation, choice)
    run = Run(preparation, begin, _nodes(preparation, output_segmentation), progress, callback)
    return _waited(run).node if wait else run


def segment_slice(
    volume_node: Any,
    support_segmentation: Any = None,
    slice_index: int = 0,
    output_segmentation: Any = None,
    *,
    prompts: Mapping[int, PointPrompts] | None = None, commit: bool = True,
    segment_ids: Sequence[str] | None = None, supports: Sequence[Support | str | Path] = (),
    support_slices: str | Sequence[int] = "all", axis: str = "auto",
    model: str = "embedded", method: str = "synpo",
    features: str | None = None, fob: str | None = None,
    window: tuple[float, float] | None = None, seed: int = 0,
    device: str = "auto", precision: str = "auto", allow_cpu: bool = False,
    into: str | None = None, overwrite: str = "never", item: int | None = None,
    before_change: Callable[[], None] | None = None,
    callback: Callable[[Run], None] | None = None,
    wait: bool = True, worker: Worker | None = None,
) -> Any:  # fmt: skip
    """Segments one slice on its own, in a fraction of the time of a volume.

    Args:
        slice_index: along the volume's own axis, from 0.
        prompts: by label, points in pixels (x, y) of the slice as shown, instead of those that
            the method chooses. Labels count the painted segments from 1.
        commit: write the slice, as `segment` writes a volume; False only looks.
        wait: True waits and returns a `SliceAnswer`; False returns a `Run`, whose `answer` it
            becomes.

    The other arguments, and what is raised, are as for `segment`.
    """
    choice = _choice(segment_ids, supports, support_slices, axis, item, window)
    networks = _Networks(model, method, features, fob, device, precision, allow_cpu)
    target = _Target(output_segmentation, into, overwrite, before_change)
    asked = {"index": slice_index, "prompts": prompts, "options": {"window": window, "seed": seed}}
    begin = partial(
        _slice_work, worker or shared_worker(), networks, target if commit else None, asked
    )
    preparation = target.preparation(volume_node, support_segmentation, choice)
    run = Run(preparation, begin, _nodes(preparation, output_segmentation), None, callback)
    return _waited(run).answer if wait else run


def _volume_work(
    worker: Worker, networks: _Networks, target: _Target, options: dict[str, Any], source: Source
) -> Work:
    writer = target.writer(source)
    job = worker.segment(
        source.volume, source.supports, excluded=source.excluded, model=asdict(networks),
        options=options,
    )  # fmt: skip

    def write(result: VolumeResult) -> Any:
        return writer.commit(result.labels.voxels, _region(source, options["range"]))

    def part(came: list[SlicePreview]) -> tuple[Any, Any]:
        return write_part(source, writer, target.node, came), partial_result(source, came)

    return Work(job, writer, write, part)


def _slice_work(
    worker: Worker,
    networks: _Networks,
    target: _Target | None,
    asked: dict[str, Any],
    source: Source,
) -> Work:
    writer = target.writer(source) if target else None
    job = worker.segment_slice(
        source.volume, source.supports, excluded=source.excluded, model=asdict(networks), **asked
    )

    def write(answer: SliceAnswer) -> Any:
        if writer is None:
            return None
        one = answer.preview
        labels = np.zeros(source.volume.shape, one.labels.dtype)
        np.moveaxis(labels, one.axis, 0)[one.index] = one.labels
        return writer.commit(labels, (one.axis, one.index, one.index))

    return Work(job, writer, write)


def _waited(run: Run) -> Run:
    """The run, over and well."""
    run.wait(redraw())
    return run.check()


def _nodes(preparation: Preparation, output: Any) -> tuple[Any, ...]:
    return preparation.nodes if output is None else (*preparation.nodes, output)


def _choice(
    segment_ids: Sequence[str] | None,
    supports: Sequence[Support | str | Path],
    slices: str | Sequence[int],
    axis: str,
    item: int | None,
    window: tuple[float, float] | None,
) -> Choice:
    return Choice(
        None if segment_ids is None else tuple(segment_ids),
        tuple(supports),
        slices if isinstance(slices, str) else tuple(slices),
        axis,
        item,
        window,
    )


def _region(source: Source, asked: tuple[int, int] | None) -> tuple[int, int, int] | None:
    """Array axis, first and last slice that a run answers for."""
    if asked is None:
        return None
    from FewShotSAMLib.data.slicing import GRID_AXIS

    _, orientation = source.volume.canonical()
    return 2 - orientation.permutation[GRID_AXIS[source.supports[0].axis]], *asked


def redraw() -> Callable[[], None] | None:
    """Lets the application redraw, where there is one."""
    application = getattr(slicer, "app", None)
    return None if application is None else application.processEvents
