"""The baseline without learning: one marked slice, carried outwards by registration.

What any few-shot method has to beat on the same patient. The marked slice's mask is warped to its
neighbour, the result to the next one, and so on to both ends of the volume. Without a stop rule
it runs on beyond the structure, which only the whole-volume score sees.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import SimpleITK as sitk
import torch

from ..segmentation.registration import NeighbourFields

# (slice index, probabilities (H, W) carried there) -> whether the structure is still there
Continues = Callable[[int, np.ndarray], bool]


def carry_outwards(
    fields: NeighbourFields,
    mask: np.ndarray,
    index: int,
    *,
    slices: int,
    goes_on: Continues | None = None,
) -> np.ndarray:
    """Probabilities (S, H, W) of a structure marked on one slice.

    mask: (H, W) of slice `index`. slices: S. goes_on: ends a direction when it says False; that
    slice and all beyond it stay empty. None: never.
    """
    carried = np.zeros((slices, *mask.shape), np.float32)
    carried[index] = mask
    for step in (1, -1):
        last = index
        while 0 <= last + step < slices:
            maps = torch.from_numpy(carried[last])[None].to(fields.upwards.device)
            now = fields.carry(maps, last, last + step)[0].cpu().numpy()
            if goes_on is not None and not goes_on(last + step, now):
                break
            carried[last + step] = now
            last += step
    return carried


def simpleitk_fields(
    slices: np.ndarray,
    *,
    shrink: int = 2,
    iterations: tuple[int, ...] = (30, 20),
    smoothing: float = 1.5,
) -> NeighbourFields:
    """Neighbouring slices registered by ITK's fast symmetric forces demons.

    An implementation that shares nothing with the library's own. slices: (S, H, W) in [0, 1].
    shrink: the finest level's shrink factor; each level before it halves again. Histograms are
    matched first. smoothing: sigma over the displacement in pixels of each level.
    """
    small = [_shrink(sitk.GetImageFromArray(one.astype(np.float32)), shrink) for one in slices]
    pairs = list(zip(small, small[1:], strict=False))
    upwards = [_demons(above, below, iterations, smoothing) for below, above in pairs]
    downwards = [_demons(below, above, iterations, smoothing) for below, above in pairs]
    both = (torch.from_numpy(np.stack(each)) for each in (upwards, downwards))
    return NeighbourFields(*both, slices.shape[1:3])


def _shrink(image: sitk.Image, factor: int) -> sitk.Image:
    """Mean over factor x factor pixels, with pixels of size 1 again."""
    small = sitk.BinShrink(image, [factor, factor]) if factor > 1 else image
    small.SetSpacing((1.0, 1.0))
    small.SetOrigin((0.0, 0.0))
    return small


def _filter(steps: int, smoothing: float) -> sitk.FastSymmetricForcesDemonsRegistrationFilter:
    demons = sitk.FastSymmetricForcesDemonsRegistrationFilter()
    demons.SetNumberOfIterations(steps)
    demons.SetNumberOfThreads(1)  # pictures this small only lose by being shared out
    demons.SetSmoothDisplacementField(True)
    demons.SetStandardDeviations(smoothing)  # ITK takes this sigma in pixels of the level
    return demons


def _demons(
    target: sitk.Image, source: sitk.Image, iterations: tuple[int, ...], smoothing: float
) -> np.ndarray:
    """Displacement (2, h, w) in pixels that brings the source to the target."""
    source = sitk.HistogramMatching(source, target, 128, 7, True)
    field = None
    for level, steps in enumerate(iterations):
        factor = 2 ** (len(iterations) - 1 - level)
        fixed, moving = (
            sitk.BinShrink(image, [factor, factor]) if factor > 1 else image
            for image in (target, source)
        )
        demons = _filter(steps, smoothing)
        if field is None:
            field = demons.Execute(fixed, moving)
        else:
            start = sitk.Resample(
                field, fixed, sitk.Transform(), sitk.sitkLinear, 0.0, field.GetPixelID()
            )
            field = demons.Execute(fixed, moving, start)
    return np.moveaxis(sitk.GetArrayFromImage(field), -1, 0).astype(np.float32)
