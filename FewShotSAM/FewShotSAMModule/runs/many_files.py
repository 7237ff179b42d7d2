"""The volumes of a folder, one after the other: each is loaded, segmented, written and let go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer

from FewShotSAMLib import InputError

from ..scene.preview import remove_with_parts
from ..scene.work_copy import write_segmentation
from . import logic
from .job import DONE
from .many import ManyRuns, Turn, check_many
from .run import Run

if TYPE_CHECKING:
    from FewShotSAMLib import Support

VOLUMES = (".nii.gz", ".nii", ".nrrd", ".mha")
RESULT = ".seg.nrrd"


def volume_files(folder: Path) -> list[Path]:
    """The files of a folder that may hold volumes, by name; segmentations are none."""
    if not folder.is_dir():
        return []
    return sorted(
        path for path in folder.iterdir()
        if path.name.lower().endswith(VOLUMES) and not path.name.lower().endswith(RESULT)
    )  # fmt: skip


def result_file(path: Path, folder: Path) -> Path:
    """Where the result of a volume's file goes."""
    ending = next(one for one in VOLUMES if path.name.lower().endswith(one))
    return folder / f"{path.name[: -len(ending)]}{RESULT}"


def segment_files(
    paths: Sequence[Path],
    results: Path,
    supports: Sequence[Support | str | Path] | Support | str | Path,
    *,
    callback: Callable[[Run], None] | None = None,
    wait: bool = True,
    **options: Any,
) -> ManyRuns:
    """Segments files by the same supports; nothing of them stays in the scene.

    Args:
        paths: volumes; results: the folder that gets `<name>.seg.nrrd` for each, made where it is
            not there. A result that is there already is left alone, and its volume is skipped.
        supports, callback, wait, options: as for `many.segment_many`.

    Returns:
        The runs; `failed` says by file name what was not segmented.

    Raises:
        InputError: no support or one that cannot be used, an option that is of one volume, or a
            folder that cannot be made.
    """
    given = check_many(supports, options)
    try:
        results.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise InputError(
            f"{results}: the folder cannot be made ({problem.strerror}); choose another one"
        ) from None
    turns = []
    for path in paths:
        if not (target := result_file(path, results)).exists():
            begin = partial(_begin, path, supports=given, wait=False, **options)
            turns.append(Turn(path.name, begin, partial(_end, target)))
    many = ManyRuns(turns, callback)
    if wait:
        many.wait(logic.redraw())
    return many


def _begin(path: Path, **options: Any) -> Run:
    volume = slicer.modules.volumes.logic().AddArchetypeVolume(str(path), path.name)
    if volume is None:
        raise InputError(f"{path}: is not readable as a volume")
    try:
        return logic.segment(volume, **options)
    except InputError:
        remove_with_parts(volume)
        raise


def _end(target: Path, run: Run) -> None:
    try:
        if run.state == DONE:
            write_segmentation(run.node, target)
    finally:
        for node in (run.node, run.volume_node):
            if node is not None:
                remove_with_parts(node)
        logic.forget_sources()
