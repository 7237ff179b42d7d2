"""From nodes to nodes: read, segment in the job's process, show slices, commit or leave as it was.

`segment` and `segment_slice` serve the panel (`wait=False`), the Python console and scripts without
a window (`wait=True`) alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer

from ..scene.results import ResultWriter
from .job import Worker
from .run import Run, Work
from .source import Choice, Preparation, Source, forget_sources

if TYPE_CHECKING:
    from FewShotSAMLib import Support
    from FewShotSAMLib.prompting.point_prompts import PointPrompts
    from FewShotSAMLib.segmentation.results import Progress, SliceAnswer, VolumeResult


__all__ = ["forget_sources", "segment", "segment_slice", "shared_worker"]


@cache
def shared_worker() -> Worker:
    """The one process that stays warm for the whole application."""
    return Worker()


def segment(
    volume_node: Any,
    support_segmentation: Any = None,
    output_segmentation: Any = None,
    *,
    segment_ids: Sequence[str] | None = None,
    supports: Sequence[Support | str | Path] = (),
    support_slices: str | Sequence[int] = "all",
    axis: str = "auto",
    model: str = "embedded",
    method: str = "synpo",
    features: str | None = None,
    fob: str | None = None,
    strategy: str = "propagate",
    range: tuple[int, int] | None = None,
    window: tuple[float, float] | None = None,
    seed: int = 0,
    assume_present: bool = False,
    device: str = "auto",
    precision: str = "auto",
    allow_cpu: bool = False,
    into: str | None = None,
    overwrite: str = "never",
    item: int | None = None,
    before_change: Callable[[], None] | None = None,
    progress: Callable[[Progress], None] | None = None,
    callback: Callable[[Run], None] | None = None,
    wait: bool = True,
    worker: Worker | None = None,
) -> Any:
    """Segments every painted structure in the whole volume.

    Args:
        volume_node: the volume, a scalar or colour volume node.
        support_segmentation: segmentation node in which the structures are painted on one or more
            slices of the volume; None where `supports` say all.
        output_segmentation: segmentation node that takes the result, for `into="existing"`.
        segment_ids: which segments to segment; None for all.
        supports: further supports, of this or another patient: `FewShotSAMLib.Support` objects or
            files that were saved from them.
        support_slices: which painted slices to use: "all", "middle", "largest", "thirds" or
            indices along the volume's own axis, from 0.
        axis: the direction that was painted in: "auto", "axial", "coronal" or "sagittal".
        model, method, features, fob, device, precision, allow_cpu, seed: as for
            `FewShotSAMLib.load_segmenter`.
        strategy, range, window, assume_present: as for `Segmenter.segment`. `range` is the first
            and last slice, both included, along the volume's own axis, from 0.
        into: "new" for a new segmentation beside the volume, "existing" for
            `output_segmentation`; by default "existing" where that is given.
        overwrite: whose voxels the result may take in an existing segmentation: "never",
            "unlocked" or "all", see `ResultWriter`.
        item: of a volume sequence, which item; None for the one that is shown.
        before_change: called just before an existing segmentation changes.
        progress: called with each new `Progress`.
        callback: called with the run when it is over.
        wait: True waits for the result and returns its segmentation node; False returns a `Run`
            to be polled.
        worker: the process to use; by default the one that stays warm.

    Raises:
        InputError: what was given is unusable. With `wait=False` this is for what is seen at
            once; later the run's state and message tell.
        Cancelled, JobError: with `wait=True`, it was cancelled or failed. Whatever is raised, the
            scene is as it was before.
    """
    choice = _choice(segment_ids, supports, support_slices, axis, item, window)
    preparation = Preparation(volume_node, support_segmentation, choice)

    def begin(source: Source) -> Work:
        writer = _writer(source, output_segmentation, into, overwrite, before_change)
        job = (worker or shared_worker()).segment(
            source.volume,
            source.supports,
            model=_model(model, method, features, fob, device, precision, allow_cpu),
            options={
                "strategy": strategy,
                "range": range,
                "window": window,
                "seed": seed,
                "assume_present": assume_present,
            },
        )

        def write(result: VolumeResult) -> Any:
            return writer.commit(result.labels.voxels, _region(source, range))

        return Work(job, writer, write)

    run = Run(preparation, begin, _nodes(preparation, output_segmentation), progress, callback)
    return _waited(run).node if wait else run


def segment_slice(
    volume_node: Any,
    support_segmentation: Any = None,
    slice_index: int = 0,
    output_segmentation: Any = None,
    *,
    prompts: Mapping[int, PointPrompts] | None = None,
    commit: bool = True,
    segment_ids: Sequence[str] | None = None,
    supports: Sequence[Support | str | Path] = (),
    support_slices: str | Sequence[int] = "all",
    axis: str = "auto",
    model: str = "embedded",
    method: str = "synpo",
    features: str | None = None,
    fob: str | None = None,
    window: tuple[float, float] | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    allow_cpu: bool = False,
    into: str | None = None,
    overwrite: str = "never",
    item: int | None = None,
    before_change: Callable[[], None] | None = None,
    callback: Callable[[Run], None] | None = None,
    wait: bool = True,
    worker: Worker | None = None,
) -> Any:
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
    preparation = Preparation(volume_node, support_segmentation, choice)

    def begin(source: Source) -> Work:
        writer = None
        if commit:
            writer = _writer(source, output_segmentation, into, overwrite, before_change)
        job = (worker or shared_worker()).segment_slice(
            source.volume,
            source.supports,
            slice_index,
            prompts=prompts,
            model=_model(model, method, features, fob, device, precision, allow_cpu),
            options={"window": window, "seed": seed},
        )

        def write(answer: SliceAnswer) -> Any:
            if writer is None:
                return None
            one = answer.preview
            labels = np.zeros(source.volume.shape, one.labels.dtype)
            np.moveaxis(labels, one.axis, 0)[one.index] = one.labels
            return writer.commit(labels, (one.axis, one.index, one.index))

        return Work(job, writer, write)

    run = Run(preparation, begin, _nodes(preparation, output_segmentation), None, callback)
    return _waited(run).answer if wait else run


def _waited(run: Run) -> Run:
    """The run, over and well."""
    run.wait(_tick())
    return run.check()


def _writer(
    source: Source,
    output: Any,
    into: str | None,
    overwrite: str,
    before_change: Callable[[], None] | None,
) -> ResultWriter:
    return ResultWriter(
        source.nodes[0],
        source.segments,
        output=output,
        into=into or ("new" if output is None else "existing"),
        overwrite=overwrite,
        before_change=before_change,
    )


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


def _model(
    model: str,
    method: str,
    features: str | None,
    fob: str | None,
    device: str,
    precision: str,
    allow_cpu: bool,
) -> dict[str, Any]:
    return {
        "model": model,
        "method": method,
        "features": features,
        "fob": fob,
        "device": device,
        "precision": precision,
        "allow_cpu": allow_cpu,
    }


def _tick() -> Callable[[], None] | None:
    """Lets the application redraw, where there is one."""
    application = getattr(slicer, "app", None)
    return None if application is None else application.processEvents
