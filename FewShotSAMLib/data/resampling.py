"""Labels and volumes on another grid, by their place in patient space."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from .errors import InputError
from .label_maps import label_name
from .label_values import present_labels
from .volume import Volume

# Voxels that the share lying outside is estimated from.
_SAMPLE = 200_000


def resample_labels(labels: Volume, like: Volume) -> Volume:
    """``labels`` on the grid of ``like``, each voxel taking the nearest label.

    A label that no voxel of ``like`` is nearest to (a thin drawing on a coarser grid) is placed
    where its own voxels fall, so that nothing inside of ``like`` is lost. On equal grids the
    voxels are kept as they are, with the geometry of ``like``; so they are where a NIfTI header
    that tells no place, or two, is why the grids differ.

    Raises:
        InputError: labels are drawn, but none within ``like``.
    """
    if labels.same_grid(like):
        return _on_grid_of(labels, like, labels.voxels)
    voxel_by_voxel = _same_voxels_elsewhere(labels, like)
    if voxel_by_voxel:
        same = _on_grid_of(labels, like, labels.voxels)
        return replace(same, notes=(*labels.notes, voxel_by_voxel))
    moved = _resample(labels, like, "nearest", 0)
    notes = labels.notes
    present = present_labels(labels.voxels)
    outside = []
    for value in sorted(set(present) - set(present_labels(moved))):
        index, inside = _places(np.flatnonzero(labels.voxels == value), labels, like)
        i, j, k = index[inside].T
        moved[k, j, i] = value
        if not inside.any():
            outside.append(label_name(value, labels.segments))
    if present:
        if not moved.any():
            raise InputError(_no_overlap(labels, like))
        drawn = np.flatnonzero(labels.voxels)
        _, inside = _places(drawn[:: max(1, len(drawn) // _SAMPLE)], labels, like)
        lost = 1 - inside.mean()
        if lost >= 0.005:
            notes = (*notes, f"{lost:.0%} of the labelled voxels lie outside of the image")
        if outside:
            notes = (*notes, f"{', '.join(outside)}: lies wholly outside of the image")
    return replace(_on_grid_of(labels, like, moved), notes=notes)


def _same_voxels_elsewhere(labels: Volume, like: Volume) -> str | None:
    """Why labels that lie elsewhere are taken voxel by voxel, in one sentence; else None."""
    if labels.shape != like.shape:
        return None
    alone = [v.name or what for v, what in ((like, "the image"), (labels, "the mask"))
             if v.places is not None and not v.places.is_placed]  # fmt: skip
    if alone and not _same_box(labels, like):
        return f"taken voxel by voxel, since the header of {alone[0]} tells no place"
    for one, other in ((like, labels), (labels, like)):
        elsewhere = one.places.other if one.places else None
        if elsewhere is not None and _at(one, elsewhere).same_grid(other):
            return (
                f"taken voxel by voxel, since it lies where the other form of the header of "
                f"{one.name or 'the image'} tells"
            )
    return None


def _at(volume: Volume, affine: np.ndarray) -> Volume:
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    return replace(
        volume, spacing=tuple(spacing), origin=tuple(affine[:3, 3]),
        direction=affine[:3, :3] / spacing, places=None,
    )  # fmt: skip


def _same_box(labels: Volume, like: Volume) -> bool:
    """Whether both fill the same box, with axes in another order or direction."""
    apart = np.abs(np.subtract(labels.bounds(), like.bounds())).max()
    return bool(apart < 0.05 * min(like.spacing))


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
        places=like.places,
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
