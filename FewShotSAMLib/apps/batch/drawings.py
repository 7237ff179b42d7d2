"""Drawings that lie among images in a folder: they are no studies."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ...data.errors import InputError
from ...data.files import extension
from ...data.reading import read_labels

# labels.nii.gz, label_1.nrrd, labelsTr/case.nii.gz, case-seg.nrrd, segmentations/liver.nii.gz
_CALLED = re.compile(
    r"(?<![a-z])(labels?(map)?(tr|ts)?|masks?|seg(mentations?)?|gt|ground ?truth)(?![a-z])",
    re.IGNORECASE,
)
_EVEN = 0.5  # of the neighbours inside structures, how many are alike; of images a tenth are


def is_drawing(path: Path, root: Path) -> bool:
    """Whether an image file is called as drawings are, or a folder above it below `root`, and holds
    what drawings hold: whole numbers, the same over large areas."""
    inside = path.relative_to(root).as_posix()
    if not _CALLED.search(inside[: len(inside) - len(extension(path))]):
        return False
    try:
        voxels = read_labels(path).voxels
    except (InputError, OSError):
        return False  # what is the matter with it is said when it is its turn
    left, right = voxels[:, :, :-1], voxels[:, :, 1:]
    drawn = (left != 0) | (right != 0)
    return not drawn.any() or float(np.mean(left[drawn] == right[drawn])) > _EVEN
