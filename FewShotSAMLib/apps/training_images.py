"""The volumes that a training command is given: files and folders, looked through to the bottom."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from ..data.dicom import find_series
from ..data.errors import InputError
from ..data.files import DICOM, VOLUMES, extension, is_dicom_file
from ..data.links import real_path
from ..data.reading import read_volume
from ..data.volume import Volume

FEWEST_VALUES = 32  # a volume of whole numbers with fewer different ones is taken for labels


def read_training_volumes(
    paths: Sequence[Path], modality: str | None, tell: Callable[[str], None]
) -> Iterator[Volume]:
    """Every volume that can be read, one after another; those that cannot be, or that look like
    labels, are told and left out.

    Args:
        paths: files, and folders that are looked through with all that is below them.
        modality: "CT" or "MR"; None to find it out.
        tell: called with a line for each volume that is left out.

    Raises:
        InputError: a path is not there.
    """
    for path, series in _places(paths):
        try:
            volume = read_volume(path, modality=modality, series=series)
            _check_is_image(path, volume)
        except InputError as problem:
            tell(f"left out: {problem}")
        else:
            yield volume


def _places(paths: Sequence[Path]) -> Iterator[tuple[Path, str | None]]:
    """Files and DICOM series, each once and in the order of their names."""
    for path in paths:
        if not path.exists():
            raise InputError(f"{path}: no such file or folder")
    seen: set[Path] = set()
    for path in paths:
        for found, series in _below(path) if path.is_dir() else [(path, None)]:
            key = real_path(found) / (series or "")
            if key not in seen:
                seen.add(key)
                yield found, series


def _below(
    folder: Path, above: frozenset[Path] = frozenset()
) -> Iterator[tuple[Path, str | None]]:
    """All below a folder; `above` are those that it lies in, to which a link may lead back."""
    above |= {real_path(folder)}
    entries = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    files = [p for p in entries if p.is_file()]
    if any(_is_dicom(p) for p in files):
        # One folder of slices may hold several series, in folders of their own or not.
        number = len(find_series(folder))
        yield from ((folder, str(n + 1) if number > 1 else None) for n in range(number))
        return
    for path in entries:
        if path.is_dir() and real_path(path) not in above:
            yield from _below(path, above)
        elif _is_volume(path):
            yield path, None


def _is_dicom(path: Path) -> bool:
    kind = extension(path)
    return kind in DICOM or (kind not in VOLUMES and is_dicom_file(path))


def _is_volume(path: Path) -> bool:
    kind = extension(path)
    if kind in (".img", ".img.gz"):  # read through the header beside it
        return not path.with_name(path.name[: -len(kind)] + ".hdr").exists()
    return kind in VOLUMES


def _check_is_image(path: Path, volume: Volume) -> None:
    few = np.unique(volume.voxels.ravel()[:: max(1, volume.voxels.size // 500_000)])
    if len(few) < FEWEST_VALUES and np.array_equal(few, np.rint(few)):
        raise InputError(
            f"{path}: has {len(few)} different values only, like labels; FoB needs none"
        )
