"""The images that a command is given: files and folders, looked through to the bottom."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from os.path import commonpath
from pathlib import Path

from ..data.errors import InputError
from ..data.files import DICOM, PICTURES, VOLUMES, extension, is_dicom_file
from ..data.links import real_path

FEWEST_SLICES = 3  # a DICOM series with fewer images is a localiser or a screen shot
_NOT_IMAGES = {"SEG", "RTSTRUCT", "RTDOSE", "RTPLAN", "SR", "PR", "KO"}
_VOXELS = (".img", ".img.gz", ".raw", ".raw.gz", ".raw.bz2", ".zraw")  # beside a header
_TAGS = ("SeriesInstanceUID", "SeriesDescription", "Modality", "ImageType", "NumberOfFrames")


@dataclass(frozen=True)
class Place:
    """One image: a file, or one series of a DICOM folder.

    Attributes:
        path: the file, or the lowest folder with all files of the series.
        files: what has to be read for it.
        root: the input that it was found in; the file itself where that was named.
        series: UID, and description: of the DICOM series; "" for a file.
    """

    path: Path
    files: tuple[Path, ...]
    root: Path
    series: str = ""
    description: str = ""


def find_places(
    inputs: Sequence[Path], tell: Callable[[str], None], leave_out: Iterable[Path] = ()
) -> list[Place]:
    """Every image file and DICOM series in files and folders, each once, in the order of names.

    Hidden files, segmentations (.seg.nrrd) and what `leave_out` names (files, or folders with all
    below them) are passed over; DICOM objects that are no stack of images are told.

    Raises:
        InputError: an input is not there.
    """
    skipped = frozenset(real_path(path) for path in leave_out)
    found: dict[tuple[Path, str], Place] = {}
    for root in inputs:
        if not root.exists():
            raise InputError(f"{root}: no such file or folder")
        files = [root] if root.is_file() else list(_files_below(root, skipped))
        for place in _places(root, files, tell):
            found.setdefault((real_path(place.files[0]), place.series), place)
    return list(found.values())


def _files_below(folder: Path, skipped: frozenset[Path]) -> Iterator[Path]:
    skipped |= {real_path(folder)}  # a link in it may lead back to it
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or real_path(path) in skipped:
            continue
        if path.is_dir():
            yield from _files_below(path, skipped)
        else:
            yield path


def _places(root: Path, files: Sequence[Path], tell: Callable[[str], None]) -> Iterator[Place]:
    slices = [path for path in files if _is_dicom(path)]
    for path in files:
        if _is_image(path) or (path == root and path not in slices):
            yield Place(path, image_files(path), root)
    yield from _series(root, slices, tell)


def _is_dicom(path: Path) -> bool:
    kind = extension(path)
    return kind in DICOM or (kind not in (*VOLUMES, *PICTURES) and is_dicom_file(path))


def _is_image(path: Path) -> bool:
    kind = extension(path)
    if kind in (".img", ".img.gz"):  # read through the header beside it
        return not path.with_name(path.name[: -len(kind)] + ".hdr").exists()
    return kind in (*VOLUMES, *PICTURES)


def image_files(path: Path) -> tuple[Path, ...]:
    """An image file and, where it is a header, the files of the same name that hold its voxels."""
    kind = extension(path)
    if kind not in (".hdr", ".mhd", ".nhdr"):
        return (path,)
    stem = path.name[: -len(kind)]
    voxels = {f"{stem}{ending}".lower() for ending in _VOXELS}
    return (path, *sorted(p for p in path.parent.iterdir() if p.name.lower() in voxels))


def _series(root: Path, files: Sequence[Path], tell: Callable[[str], None]) -> Iterator[Place]:
    """DICOM files by series, wherever they lie."""
    if root.is_file() and files:
        yield Place(root, (root,), root)
        return
    groups: dict[str, list[tuple[Path, dict[str, str]]]] = {}
    for path in files:
        tags = _tags(path)
        if tags.get("SeriesInstanceUID"):
            groups.setdefault(tags["SeriesInstanceUID"], []).append((path, tags))
    for uid, members in groups.items():
        said = members[0][1]
        paths = tuple(path for path, _ in members)
        folder = Path(commonpath([path.parent for path in paths]))
        if reason := _no_stack([tags for _, tags in members]):
            tell(f"left out: {folder}: series {said.get('SeriesDescription') or uid}: {reason}")
        else:
            yield Place(folder, paths, root, uid, said.get("SeriesDescription", ""))


def _tags(path: Path) -> dict[str, str]:
    """What a DICOM file says of its series; nothing for a file that is none."""
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    try:
        said = dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS))
    except (InvalidDicomError, OSError, ValueError, EOFError):
        return {}
    return {tag: _text(said.get(tag)) for tag in _TAGS}


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    parts = value if isinstance(value, Iterable) else [value]
    return "\\".join(str(part) for part in parts)


def _no_stack(tags: Sequence[dict[str, str]]) -> str:
    """Why a series is no stack of slices to segment; "" where it is one."""
    modality = tags[0]["Modality"]
    if modality in _NOT_IMAGES:
        return f"a DICOM {modality}, not an image"
    if all("LOCALIZER" in one["ImageType"].upper() for one in tags):
        return "a localiser"
    images = sum(int(one["NumberOfFrames"] or 1) for one in tags)
    return f"{images} image(s) only" if images < FEWEST_SLICES else ""
