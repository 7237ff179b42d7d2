"""The places in patient space that a NIfTI header tells: qform and sform, with their codes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FORMS = ("qform", "sform")

# Corners further apart than this share of the smallest spacing are another place.
_APART = 0.25


@dataclass(frozen=True, eq=False)
class NiftiPlaces:
    """What a header tells, and what was taken of it.

    Attributes:
        affines: "qform" and "sform" -> 4x4, voxel (i, j, k, 1) -> LPS mm; those whose code is 0
            are left out.
        codes: "qform" and "sform" -> code.
        taken: the form that the volume lies at; "" where there is none.
        size: voxels along i, j, k.
        chosen: whether a person chose it.
    """

    affines: dict[str, np.ndarray]
    codes: dict[str, int]
    taken: str
    size: tuple[int, int, int]
    chosen: bool = False

    @property
    def is_placed(self) -> bool:
        """Whether the header tells any place."""
        return bool(self.affines)

    @property
    def other(self) -> np.ndarray | None:
        """The form that was not taken, where it tells another place; else None."""
        if len(self.affines) < 2:
            return None
        taken = self.affines[self.taken]
        (other,) = (affine for form, affine in self.affines.items() if form != self.taken)
        spacing = np.linalg.norm(taken[:3, :3], axis=0).min()
        return other if largest_shift(taken, other, self.size) > _APART * spacing else None


def largest_shift(one: np.ndarray, other: np.ndarray, size: tuple[int, int, int]) -> float:
    """How far apart two 4x4 place a corner of a grid at most, mm."""
    last = np.asarray(size) - 1
    corners = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij"), axis=-1)
    places = np.concatenate((corners.reshape(8, 3) * last, np.ones((8, 1))), axis=1)
    return float(np.linalg.norm((places @ (one - other).T)[:, :3], axis=1).max())
