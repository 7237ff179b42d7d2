"""Labels and volumes on another grid, by their place in patient space."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from .errors import InputError
from .label_values import present_labels
from .volume import Volume

# Voxels that the share lying outside is estimated from.
_SAMPLE = 200_000


def resample_labels(labels: Volume, like: Volume) -> Volume:
    """``labels`` on the grid of ``like``, each voxel taking the nearest label.

    A label that no voxel of ``like`` is nearest to (a thin drawing on a coarser grid) is placed
    where its own voxels fall, so that nothing inside of ``like`` is lost. On equal grids the
    voxels are kept as they are, with the geometry of ``like``.

    Raises:
        InputError: labels are drawn, but none within ``like``.
    """
    if labels.same_grid(like):
        return _on_grid_of(labels, like, labels.voxels)
    moved = _resample(labels, like, "nearest", 0)
    notes = labels.notes
    present = present_labels(labels.voxels)
    for value in sorted(set(present) - set(present_labels(moved))):
        index, inside = _places(np.flatnonzero(labels.voxels == value), labels, like)
        i, j, k = index[inside].T
        moved[k, j, i] = value
    if present:
        if not moved.any():
            raise InputError(_no_overlap(labels, like))
        drawn = np.flatnonzero(labels.voxels)
        _, inside = _places(drawn[:: max(1, len(drawn) // _SAMPLE)], labels, like)
        lost = 1 - inside.mean()
        if lost >= 0.005:
            notes = (*notes, f"{lost:.0%} of the labelled voxels lie outside of the image")
    return replace(_on_grid_of(labels, like, moved), notes=notes)


def _places(flat: np.ndarray, labels: Volume, like: Volume) -> tuple[np.ndarray, np.ndarray]:
    """Nearest voxels (i, j, k) of ``like`` to voxels of ``labels``, and which lie inside of it."""
    k, j, i = np.unravel_index(flat, labels.shape)
    world = labels.index_to_world(np.stack((i, j, k), axis=1))
    index = np.rint(like.world_to_index(world)).astype(int)
    return index, np.all((index >= 0) & (index < like.size), axis=1)


def resample_volume(volume: Volume, like: Volume) -> Volume:
    """Grey voxels on the grid of ``like``, linear, float32; 0 (CT: -1024) outside."""
    if volume.same_grid(like):
        return _on_grid_of(volume, like, volume.voxels)
    outside = -1024 if volume.modality == "CT" else 0
    source = volume.with_voxels(volume.voxels.astype(np.float32))
    return _on_grid_of(volume, like, _resample(source, like, "linear", outside))


def _on_grid_of(volume: Volume, like: Volume, voxels: np.ndarray) -> Volume:
    return replace(
        volume,
        voxels=voxels,
        spacing=like.spacing,
        origin=like.origin,
        direction=like.direction,
    )


def _resample(volume: Volume, like: Volume, how: str, outside: float) -> np.ndarray:
    import SimpleITK as sitk

    resampler = sitk.ResampleImageFilter()
    resampler.SetInterpolator(sitk.sitkNearestNeighbor if how == "nearest" else sitk.sitkLinear)
    resampler.SetDefaultPixelValue(float(outside))
    resampler.SetSize([int(n) for n in like.size])
    resampler.SetOutputSpacing(like.spacing)
    resampler.SetOutputOrigin(like.origin)
    resampler.SetOutputDirection(like.direction.ravel().tolist())
    image: Any = volume.to_sitk()
    return sitk.GetArrayFromImage(resampler.Execute(image))


def _no_overlap(labels: Volume, like: Volume) -> str:
    def span(volume: Volume) -> str:
        low, high = volume.bounds()
        return " x ".join(f"{a:.0f}..{b:.0f}" for a, b in zip(low, high))

    return (
        f"{labels.name or 'labels'}: nothing of it is drawn within {like.name or 'the image'} "
        f"(it spans {span(labels)} mm, the image {span(like)} mm, LPS); "
        "choose the labels of this image"
    )
