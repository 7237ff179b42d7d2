"""A folder of images with known labels: which files belong together."""

from __future__ import annotations

import re
from pathlib import Path

from ..data.errors import InputError
from ..data.files import READABLE, extension


def find_pairs(dataset: Path) -> list[tuple[str, Path, Path]]:
    """(name, image, labels) of every case of a folder, by number.

    Raises:
        InputError: no such folder, no pairs, or an image without its labels.
    """
    if not dataset.is_dir():
        raise InputError(f"{dataset}: no such folder")
    if (dataset / "images").is_dir() and (dataset / "labels").is_dir():
        images, labels = _named(dataset / "images", ""), _named(dataset / "labels", "")
    else:
        images, labels = _named(dataset, "image_"), _named(dataset, "label_")
    if not images:
        raise InputError(
            f"{dataset}: holds neither image_N and label_N files nor the folders images and labels"
        )
    alone = sorted(set(images) ^ set(labels))
    if alone:
        path = images.get(alone[0]) or labels[alone[0]]
        raise InputError(f"{path}: has no partner; name image and labels alike")
    return [(name, images[name], labels[name]) for name in sorted(images, key=_by_number)]


def _named(folder: Path, prefix: str) -> dict[str, Path]:
    """Readable files of a folder by what stands between the prefix and the extension."""
    found = {}
    for path in sorted(folder.glob(f"{prefix}*")):
        kind = extension(path)
        if kind in (*READABLE, ".seg.nrrd"):
            found[path.name[len(prefix) : len(path.name) - len(kind)]] = path
    return found


def _by_number(name: str) -> list[tuple[int, str]]:
    """Sorts names by the numbers in them."""
    return [(int(part or 0), text) for text, part in re.findall(r"(\D*)(\d*)", name)]
