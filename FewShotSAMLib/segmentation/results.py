"""What a segmentation gives back, and how it tells of its progress."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..data.volume import Volume
from ..models.interfaces import ModelCard
from ..prompting.point_prompts import PointPrompts


@dataclass(frozen=True)
class Progress:
    """How far a stage has come: `done` of `total` steps, and one line for a person."""

    stage: str
    done: int
    total: int
    message: str = ""


ProgressCallback = Callable[[Progress], None]


class Cancelled(Exception):
    """The caller's event asked to stop; nothing was changed."""


@dataclass(frozen=True, eq=False)
class SliceResult:
    """One structure in one slice.

    Attributes:
        index: slice, counted along the query file's own axis from 0.
        label: label value.
        prompts: points in pixels (x, y) of the slice as shown (axial: columns to the left of the
            patient, rows to the back), or None where none were used.
        score: confidence of the result, 0 to 1.
        present: whether the structure was found in the slice.
        area_mm2: of its mask.
        source: "support" (drawn by a person), "prompted" or "propagated".
    """

    index: int
    label: int
    prompts: PointPrompts | None
    score: float
    present: bool
    area_mm2: float
    source: str


@dataclass(frozen=True, eq=False)
class VolumeResult:
    """Labels of a whole volume and how they came about.

    Attributes:
        labels: uint8 or uint16 in the query's own grid, with names and colours.
        slices: one entry per worked slice and label.
        names: label value -> name.
        seconds: time per stage.
        model: the promptable model; device: where it ran, and why.
        axis: "axial", "coronal" or "sagittal"; method, strategy: as asked for.
        features: the second encoder, or None where there was none.
    """

    labels: Volume
    slices: tuple[SliceResult, ...]
    names: Mapping[int, str]
    seconds: Mapping[str, float]
    model: ModelCard
    device: str
    axis: str
    method: str
    strategy: str
    features: ModelCard | None = None
