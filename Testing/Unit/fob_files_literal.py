"""How FoB's files are prepared and read, step by step with SimpleITK, to compare the product with.

Nothing here uses the library. Raw files are stored as dcm2nii does: rows from posterior to
anterior, slices from inferior to superior. Arrays are (slice, row, column) as SimpleITK gives
them; nothing is ever turned.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor
from torch.nn import functional as F

PIXEL, THICKNESS, SIDE = 1.25, 7.7, 256  # of prepared MR
CUT, FACTOR = 32, 1.75  # of raw CT


@dataclass
class Prepared:
    """A prepared file.

    Attributes:
        image, mask: (S, h, w).
        raw: the file it was made from.
        start, step: where its first column and row, and its first slice lie, in raw pixels, and how
            far they are from one another: (x, y).
    """

    image: np.ndarray
    mask: np.ndarray
    raw: sitk.Image
    start: tuple[float, float]
    step: tuple[float, float]

    def scores(self) -> np.ndarray:
        """z-scores of the whole file."""
        return (self.image - self.image.mean()) / self.image.std()

    def millimetres(self, points: np.ndarray, index: int) -> np.ndarray:
        """(P, 2) pixels of the network's 256 x 256 picture of slice `index` -> (P, 3)."""
        ratio = self.image.shape[1] / 256
        places = []
        for x, y in points:
            px, py = ((v + 0.5) * ratio - 0.5 for v in (float(x), float(y)))
            raw = (self.start[0] + self.step[0] * px, self.start[1] + self.step[1] * py)
            places.append(
                self.raw.TransformContinuousIndexToPhysicalPoint([*raw, float(index)])
            )
        return np.array(places)


def resampled(image: sitk.Image, spacing: tuple[float, float, float]) -> sitk.Image:
    """Linear, on the same origin, one voxel more than fits."""
    size = [int(n * s / t + 1) for n, s, t in zip(image.GetSize(), image.GetSpacing(), spacing)]
    return sitk.Resample(
        image, size, sitk.Transform(), sitk.sitkLinear, image.GetOrigin(), spacing,
        image.GetDirection(), 0.0, image.GetPixelID(),
    )


def like(array: np.ndarray, image: sitk.Image) -> sitk.Image:
    """An array with spacing, origin and direction of an image."""
    result = sitk.GetImageFromArray(array)
    result.SetSpacing(image.GetSpacing())
    result.SetOrigin(image.GetOrigin())
    result.SetDirection(image.GetDirection())
    return result


def cut_to_square(array: np.ndarray, outside: float) -> np.ndarray:
    """256 x 256 around the middle, pixel by pixel where it is smaller."""
    result = np.full((len(array), SIDE, SIDE), outside, np.float64)
    middle = [n // 2 for n in array.shape[1:]]
    for row in range(SIDE):
        source = row + middle[0] - SIDE // 2
        if not 0 <= source < array.shape[1]:
            continue
        first = middle[1] - SIDE // 2
        columns = [c for c in range(SIDE) if 0 <= c + first < array.shape[2]]
        result[:, row, columns] = array[:, source, [c + first for c in columns]]
    return result


def prepared_mr(image_path: Path, label_path: Path, label: int) -> Prepared:
    """From the raw files; those of a prepared set are read as they are."""
    image, labels = sitk.ReadImage(str(image_path)), sitk.ReadImage(str(label_path))
    grey = sitk.GetArrayFromImage(image)
    drawn = (sitk.GetArrayFromImage(labels) == label).astype(np.float32)
    if image.GetSize()[:2] == (SIDE, SIDE) and np.allclose(image.GetSpacing()[:2], PIXEL):
        return Prepared(grey.astype(np.float64), drawn, image, (0.0, 0.0), (1.0, 1.0))
    top = np.percentile(grey, 99.5)
    grey[grey > top] = top
    new = (PIXEL, PIXEL, THICKNESS)
    grey = sitk.GetArrayFromImage(resampled(like(grey, image), new))
    mask = np.rint(sitk.GetArrayFromImage(resampled(like(drawn, labels), new)))
    step = tuple(PIXEL / s for s in image.GetSpacing()[:2])
    start = tuple((n // 2 - SIDE // 2) * s for n, s in zip(grey.shape[:0:-1], step))
    return Prepared(
        cut_to_square(grey, float(grey.min())), cut_to_square(mask, 0.0), image, start, step
    )


def prepared_ct(image_path: Path, label_path: Path, label: int) -> Prepared:
    """From the raw files, which have 512 x 512 pixels."""
    image, labels = sitk.ReadImage(str(image_path)), sitk.ReadImage(str(label_path))
    grey = np.clip(sitk.GetArrayFromImage(image).astype(np.float64), -125, 275)
    grey = (grey - grey.min()) / (grey.max() - grey.min()) * 255
    drawn = (sitk.GetArrayFromImage(labels) == label).astype(np.float32)
    sx, sy, sz = image.GetSpacing()
    new = (FACTOR * sx, FACTOR * sy, sz)
    inner = (slice(None), slice(CUT, -CUT), slice(CUT, -CUT))
    grey = sitk.GetArrayFromImage(resampled(like(grey[inner], image), new))
    mask = np.rint(sitk.GetArrayFromImage(resampled(like(drawn[inner], labels), new)))
    return Prepared(grey, mask, image, (CUT, CUT), (FACTOR, FACTOR))


def for_network(plane: np.ndarray) -> Tensor:
    """(h, w) of a prepared file -> (256, 256): torchvision's resizing of a tensor."""
    plane = torch.from_numpy(np.ascontiguousarray(plane)).float()
    if plane.shape == (256, 256):
        return plane
    return F.interpolate(
        plane[None, None], (256, 256), mode="bilinear", antialias=True, align_corners=False
    )[0, 0]


def for_sam(scores: np.ndarray, side: int) -> np.ndarray:
    """A slice's z-scores (h, w) -> its 8-bit picture (side, side), enlarged by Pillow."""
    from PIL import Image

    grey = ((scores - scores.min()) / (scores.max() - scores.min()) * 255).astype(np.uint8)
    return np.asarray(Image.fromarray(grey).resize((side, side), Image.BILINEAR))


def folds(count: int) -> list[list[int]]:
    """Indices of the cases of each of the five test folds: 20 (MR) and 30 (CT) cases."""
    step = {20: 4, 30: 6}[count]
    result = [set(range(fold * step, fold * step + step + 1)) for fold in range(4)]
    result.append(set(range(4 * step, count)) | {0})
    return [[n for n in range(count) if n in fold] for fold in result]


def support_indices(count: int) -> list[int]:
    """Which of `count` organ slices are support, three of them."""
    shares = [1 / 6 + n * ((1 - 1 / 3) / 2) for n in range(3)]
    return [int(share * count) for share in shares]


def chunk_borders(count: int) -> list[int]:
    """Where the three chunks of `count` organ slices begin and end."""
    return [int(v) for v in np.linspace(0, count, 4)]
