"""Point prompts of one class in one slice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

POSITIVE = 1
NEGATIVE = 0


@dataclass(frozen=True, eq=False)
class PointPrompts:
    """Points that tell a promptable model what belongs to an object and what does not.

    points: float32 (P, 2), (x, y) = (column, row) in pixels of the region of interest (ROI),
        pixel centres at integers.
    labels: int8 (P,), 1 = positive (inside), 0 = negative (outside).

    Raises ValueError when the two do not fit together, or a point is not finite.
    """

    points: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    labels: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int8))

    def __post_init__(self) -> None:
        points = np.asarray(self.points, dtype=np.float32)
        labels = np.asarray(self.labels, dtype=np.int8)
        if points.size == 0:
            points = points.reshape(0, 2)
        if points.ndim != 2 or points.shape[1] != 2:
            raise ValueError(f"points must have shape (P, 2), not {points.shape}")
        if labels.shape != (len(points),):
            raise ValueError(f"{len(points)} points need as many labels, not {labels.shape}")
        if not np.isfinite(points).all():
            raise ValueError("points must be finite numbers")
        if not np.isin(labels, (POSITIVE, NEGATIVE)).all():
            raise ValueError("point labels must be 1 (positive) or 0 (negative)")
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "labels", labels)

    @classmethod
    def of(cls, positives: np.ndarray, negatives: np.ndarray | None = None) -> PointPrompts:
        """Prompts from positive (P, 2) and negative (Q, 2) points, positives first."""
        positives = np.asarray(positives, dtype=np.float32).reshape(-1, 2)
        none = np.zeros((0, 2), np.float32)
        negatives = none if negatives is None else np.asarray(negatives, np.float32).reshape(-1, 2)
        labels = np.repeat([POSITIVE, NEGATIVE], [len(positives), len(negatives)])
        return cls(np.concatenate([positives, negatives]), labels)

    @property
    def positives(self) -> np.ndarray:
        """Positive points (P, 2)."""
        return self.points[self.labels == POSITIVE]

    @property
    def negatives(self) -> np.ndarray:
        """Negative points (Q, 2)."""
        return self.points[self.labels == NEGATIVE]

    def __len__(self) -> int:
        return len(self.points)

    def __add__(self, other: PointPrompts) -> PointPrompts:
        """All points of both, in order."""
        return PointPrompts(
            np.concatenate([self.points, other.points]),
            np.concatenate([self.labels, other.labels]),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain lists, ready for `json.dumps`: {"points": [[x, y], ...], "labels": [1, 0, ...]}."""
        return {"points": self.points.tolist(), "labels": self.labels.tolist()}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> PointPrompts:
        """The inverse of `to_json`."""
        return cls(np.array(content["points"], np.float32), np.array(content["labels"], np.int8))
