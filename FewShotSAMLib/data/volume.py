"""A volume of voxels with its place in patient space, and its closest-LPS orientation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import permutations
from typing import Any

import numpy as np

from .errors import InputError
from .nifti_places import NiftiPlaces

MODALITIES = ("CT", "MR", "RGB", "other")


@dataclass(frozen=True)
class Segment:
    """Name and look of one label value.

    ``colour`` is RGB in 0..1; ``terminology`` is Slicer's terminology entry, kept as it was read.
    """

    name: str
    colour: tuple[float, float, float]
    terminology: str = ""


@dataclass(frozen=True)
class Orientation:
    """How a grid was permuted and flipped to reach its canonical (closest LPS) form.

    Axes are numbered i, j, k = 0, 1, 2. Canonical axis ``a`` is source axis ``permutation[a]``,
    reversed where ``flips[a]``. ``shape`` is the source's voxel array shape (k, j, i).
    """

    permutation: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    shape: tuple[int, int, int]

    def apply(self, voxels: np.ndarray) -> np.ndarray:
        """A source array (k, j, i[, channel]) in the canonical orientation, as a view."""
        order = [2 - self.permutation[2 - n] for n in range(3)]
        turned = voxels.transpose(*order, *range(3, voxels.ndim))
        return turned[self._reversals()]

    def restore(self, voxels: np.ndarray) -> np.ndarray:
        """A canonical array (k, j, i[, channel]) back in the source's orientation, as a view."""
        order = [2 - self.permutation[2 - n] for n in range(3)]
        back = [order.index(n) for n in range(3)]
        return voxels[self._reversals()].transpose(*back, *range(3, voxels.ndim))

    def canonical_index(self, axis: int, index: int) -> int:
        """Index along canonical axis ``axis`` (i, j, k = 0, 1, 2) of a source index along the
        source axis that became it. Its own inverse."""
        size = self.shape[2 - self.permutation[axis]]
        return size - 1 - index if self.flips[axis] else index

    def _reversals(self) -> tuple[slice, ...]:
        return tuple(slice(None, None, -1 if self.flips[2 - n] else 1) for n in range(3))


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels on a regular grid in patient space.

    Args:
        voxels: (k, j, i), or (k, j, i, 3) for RGB. bool is kept as uint8.
        spacing: millimetres along i, j, k.
        origin: LPS millimetres of the centre of voxel (0, 0, 0).
        direction: 3x3; its columns are the LPS unit directions of i, j, k.
        modality: "CT", "MR", "RGB" or "other".
        name: file or node name, for messages.
        segments: for label volumes, value -> name and colour.
        notes: what a person should know about how it was read, one sentence each.
        places: what a NIfTI header tells, where it was read from one.
    """

    voxels: np.ndarray
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: np.ndarray = field(default_factory=lambda: np.eye(3))
    modality: str = "other"
    name: str = ""
    segments: Mapping[int, Segment] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    places: NiftiPlaces | None = None

    def __post_init__(self) -> None:
        shape = self.voxels.shape
        what = self.name or "volume"
        if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] != 3):
            raise InputError(f"{what}: voxels of shape {shape}; expected (k, j, i) or (k, j, i, 3)")
        if 0 in shape:
            raise InputError(f"{what}: holds no voxels (size {shape[2]} x {shape[1]} x {shape[0]})")
        spacing = tuple(float(s) for s in self.spacing)
        origin = tuple(float(x) for x in self.origin)
        direction = np.array(self.direction, dtype=np.float64).reshape(3, 3)
        if len(spacing) != 3 or not all(np.isfinite(s) and s > 0 for s in spacing):
            raise InputError(f"{what}: spacing {spacing} is not three positive lengths")
        if len(origin) != 3 or not np.isfinite(origin).all():
            raise InputError(f"{what}: origin {origin} is not a point")
        if not np.isfinite(direction).all() or abs(np.linalg.det(direction)) < 1e-3:
            raise InputError(f"{what}: its direction matrix is degenerate; repair its header")
        if self.modality not in MODALITIES:
            raise InputError(f"{what}: modality {self.modality!r} is none of {MODALITIES}")
        direction.flags.writeable = False
        if self.voxels.dtype == bool:
            object.__setattr__(self, "voxels", self.voxels.view(np.uint8))
        object.__setattr__(self, "spacing", spacing)
        object.__setattr__(self, "origin", origin)
        object.__setattr__(self, "direction", direction)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along k, j, i."""
        return self.voxels.shape[:3]

    @property
    def size(self) -> tuple[int, int, int]:
        """Voxels along i, j, k."""
        return self.shape[::-1]

    @property
    def is_rgb(self) -> bool:
        return self.voxels.ndim == 4

    @property
    def affine(self) -> np.ndarray:
        """4x4, voxel (i, j, k, 1) -> LPS millimetres."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.direction * np.asarray(self.spacing)
        matrix[:3, 3] = self.origin
        return matrix

    def index_to_world(self, index: np.ndarray) -> np.ndarray:
        """Voxel positions (..., 3) as (i, j, k) -> LPS millimetres (..., 3)."""
        affine = self.affine
        return np.asarray(index, dtype=np.float64) @ affine[:3, :3].T + affine[:3, 3]

    def world_to_index(self, points: np.ndarray) -> np.ndarray:
        """LPS millimetres (..., 3) -> continuous voxel positions (i, j, k) (..., 3)."""
        affine = self.affine
        inverse = np.linalg.inv(affine[:3, :3])
        return (np.asarray(points, dtype=np.float64) - affine[:3, 3]) @ inverse.T

    def corners(self) -> np.ndarray:
        """LPS millimetres (8, 3) of the centres of the eight corner voxels."""
        last = np.asarray(self.size) - 1
        steps = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij"), axis=-1)
        return self.index_to_world(steps.reshape(8, 3) * last)

    def same_grid(self, other: Volume, tolerance: float = 0.05) -> bool:
        """Whether both have the same size and no corner lies further apart than ``tolerance``
        of the smallest spacing."""
        if self.shape != other.shape:
            return False
        apart = np.linalg.norm(self.corners() - other.corners(), axis=1).max()
        return bool(apart <= tolerance * min(self.spacing))

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest LPS millimetres reached, voxel edges included."""
        edge = np.abs(self.direction) @ np.asarray(self.spacing) / 2
        corners = self.corners()
        return corners.min(axis=0) - edge, corners.max(axis=0) + edge

    def canonical(self) -> tuple[Volume, Orientation]:
        """The same voxels (a view) in the axis order and directions closest to LPS: k runs from
        inferior to superior, j from anterior to posterior, i from right to left. Nothing is
        interpolated; ``Orientation.restore`` brings an array of the result's shape back."""
        cosines = self.direction
        order = max(
            permutations(range(3)),
            key=lambda p: round(sum(abs(cosines[a, p[a]]) for a in range(3)), 6),
        )
        flips = tuple(bool(cosines[a, order[a]] < 0) for a in range(3))
        orientation = Orientation(order, flips, self.shape)
        first = np.zeros(3)
        for a in range(3):
            first[order[a]] = self.size[order[a]] - 1 if flips[a] else 0
        signs = np.where(flips, -1.0, 1.0)
        turned = replace(
            self,
            voxels=orientation.apply(self.voxels),
            spacing=tuple(self.spacing[a] for a in order),
            origin=tuple(self.index_to_world(first)),
            direction=cosines[:, list(order)] * signs,
            places=None,
        )
        return turned, orientation

    def axes(self) -> str:
        """The closest anatomical direction of i, j and k, such as "LPS"."""
        _, orientation = self.canonical()
        letters = [""] * 3
        for a in range(3):
            letters[orientation.permutation[a]] = ("LPS", "RAI")[orientation.flips[a]][a]
        return "".join(letters)

    def with_voxels(self, voxels: np.ndarray, **changes: Any) -> Volume:
        """Other voxels on the same grid."""
        if voxels.shape[:3] != self.shape:
            raise ValueError(f"voxels of shape {voxels.shape} do not fit the grid {self.shape}")
        return replace(self, voxels=voxels, **changes)

    @classmethod
    def from_sitk(cls, image: Any, **fields: Any) -> Volume:
        """From a 2-D or 3-D ``SimpleITK.Image`` with one or three components.

        A 2-D image becomes one slice of 1 mm.
        """
        import SimpleITK as sitk

        voxels = sitk.GetArrayFromImage(image)
        dimension = image.GetDimension()
        spacing, origin = image.GetSpacing(), image.GetOrigin()
        direction = np.asarray(image.GetDirection()).reshape(dimension, dimension)
        if dimension == 2:
            whole = np.eye(3)
            whole[:2, :2] = direction
            voxels, direction = voxels[None], whole
            spacing, origin = (*spacing, 1.0), (*origin, 0.0)
        elif dimension != 3:
            raise InputError(f"{fields.get('name', 'image')}: {dimension}-D; expected 2-D or 3-D")
        return cls(voxels, spacing, origin, direction, **fields)

    def to_sitk(self) -> Any:
        """A ``SimpleITK.Image`` with the same voxels and geometry (RGB as a vector image)."""
        import SimpleITK as sitk

        image = sitk.GetImageFromArray(np.ascontiguousarray(self.voxels), isVector=self.is_rgb)
        image.SetSpacing(self.spacing)
        image.SetOrigin(self.origin)
        image.SetDirection(self.direction.ravel().tolist())
        return image
