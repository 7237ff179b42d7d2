"""What a segmentation gives back, and how it tells of its progress."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ..data.volume import Volume
from ..models.card import ModelCard
from ..prompting.point_prompts import PointPrompts
from .found import Signals


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
        score: confidence of the result, 0 to 1: an estimate of its Dice where `signals` are known.
        present: whether the structure was found in the slice.
        area_mm2: of its mask.
        source: "support" (drawn by a person), "prompted" or "propagated".
        signals: what the score was made from, or None.
    """

    index: int
    label: int
    prompts: PointPrompts | None
    score: float
    present: bool
    area_mm2: float
    source: str
    signals: Signals | None = None


FOUND, DOUBTFUL, NOT_FOUND = "found", "doubtful", "not found"


@dataclass(frozen=True)
class StructureResult:
    """One structure in the whole volume.

    Attributes:
        label: label value; name: as the support has it.
        confidence: estimated Dice, 0 to 1.
        state: "found", "doubtful" (drawn, or left out where that was asked for) or "not found"
            (left empty).
    """

    label: int
    name: str
    confidence: float
    state: str


@dataclass(frozen=True, eq=False)
class SlicePreview:
    """Labels of one slice while the rest is still being worked on; a later one replaces it.

    Attributes:
        axis: the slice's array axis of the query's own voxels, 0 = k, 1 = j, 2 = i.
        index: along that axis, from 0.
        labels: 2-D, uint8 or uint16, what `voxels.take(index, axis)` would give of the labels.
        results: one for each structure.
    """

    axis: int
    index: int
    labels: np.ndarray
    results: tuple[SliceResult, ...]


PreviewCallback = Callable[[SlicePreview], None]


@dataclass(frozen=True, eq=False)
class SliceAnswer:
    """One slice segmented on its own.

    Attributes:
        preview: its labels and results.
        prompts: by label, the points that were used, in pixels (x, y) of the slice as shown.
            A structure that was drawn by hand in this slice has none.
        confidence: by label, float32 of the labels' shape: how much each pixel looks like the
            structure. Lowest where the model does not see.
    """

    preview: SlicePreview
    prompts: Mapping[int, PointPrompts]
    confidence: Mapping[int, np.ndarray]


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
        features: the second encoder, and fob: the prompt method's own network; None where there
            was none.
        notes: what a person should know about how the image and the drawings were read.
        structures: one entry per label, how sure each is as a whole.
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
    fob: ModelCard | None = None
    notes: tuple[str, ...] = ()
    structures: tuple[StructureResult, ...] = ()
