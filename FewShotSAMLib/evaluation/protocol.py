"""Who is support, who is query, which slices count: the papers' protocol, and a clinic's.

*Given slices* (SynPo, FoB and their predecessors): support slices at floor({1/6, 1/2, 5/6} * C) of
the support's C organ slices; the query's organ slices are split into three equal chunks, and each
is segmented from its own support slice. Only slices with the organ are scored. That needs the
list of organ slices, which a clinic does not have: *whole volume* hands over the support and the
query, and every voxel counts. Dice is 3-D per patient, then the mean over patients.

What segments comes in as a function, so this file knows no network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..data.slicing import extract_slices
from ..data.support import Support
from ..data.volume import Volume
from .metrics import dice, dice_given_slices, surface_distance, volume_ml
from .surfaces import surface_agreement

PARTS = 3


@dataclass(frozen=True, eq=False)
class Case:
    """A patient with the truth. Both volumes on one grid, in canonical orientation."""

    name: str
    image: Volume
    labels: Volume

    @classmethod
    def of(cls, name: str, image: Volume, labels: Volume) -> Case:
        """A case in canonical orientation. Raises ValueError when the grids differ."""
        if not image.same_grid(labels):
            raise ValueError(f"{name}: image and labels lie on different grids")
        return cls(name, image.canonical()[0], labels.canonical()[0])


# (query, label, indices of its slices along the axis, support with one slice) -> bool (n, H, W)
SegmentSlices = Callable[[Case, int, Sequence[int], Support], np.ndarray]
# (query, support) -> integer labels on the query's grid, (k, j, i)
SegmentVolume = Callable[[Case, Support], np.ndarray]


@dataclass(frozen=True)
class Score:
    """One structure of one patient.

    given: Dice over the slices that contain it; whole: over all slices (NaN where the protocol
    gives the slices away). assd, hd95: millimetres, over what `whole` or else `given` counts.
    volume, truth: millilitres, segmented and true. nsd: normalised surface Dice at 2 mm.
    support: whose slices were marked; "" where the support is of none of the cases.
    """

    case: str
    label: int
    organ: str
    given: float
    whole: float
    assd: float
    hd95: float
    volume: float
    truth: float
    nsd: float = float("nan")
    support: str = ""


def support_slices(count: int) -> tuple[int, ...]:
    """Which of `count` organ slices are support: floor({1/6, 1/2, 5/6} * count)."""
    if count < 1:
        raise ValueError("the support has no slice with this organ")
    return tuple(count * part // (2 * PARTS) for part in (1, 3, 5))


def query_chunks(slices: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """The query's organ slices in three equal chunks, in order.

    Where their number cannot be divided by three the later chunks are the longer ones
    (borders at floor(count * part / 3)); chunks may be empty.
    """
    borders = [len(slices) * part // PARTS for part in range(PARTS + 1)]
    return tuple(tuple(slices[a:b]) for a, b in zip(borders, borders[1:], strict=False))


def organ_slices(case: Case, label: int, axis: str) -> list[int]:
    """Indices of the slices along the axis on which the truth has this label, rising."""
    stack = extract_slices(case.labels.voxels, axis) == label
    return np.flatnonzero(stack.any(axis=(1, 2))).tolist()


def evaluate_given_slices(
    support: Case, queries: Iterable[Case], organs: Mapping[int, str], segment: SegmentSlices, *,
    axis: str = "axial",
) -> list[Score]:
    """The papers' protocol: one support patient, three of its slices, organ slices given.

    organs: label -> name. Organs that support or query lack are left out.
    Dice 3-D over the given slices; `whole` is NaN.
    """
    scores = []
    supports = {label: _supports_of(support, label, axis) for label in organs}
    for query in queries:
        for label, organ in organs.items():
            truth = extract_slices(query.labels.voxels, axis) == label
            if not truth.any() or not supports[label]:
                continue
            prediction = _segment_given(query, label, axis, supports[label], segment)
            score = _score(query, label, organ, axis, prediction, truth, whole=False)
            scores.append(replace(score, support=support.name))
    return scores


def _segment_given(
    query: Case, label: int, axis: str, supports: Sequence[Support], segment: SegmentSlices
) -> np.ndarray:
    """bool (S, H, W): each chunk of the organ's slices from its own support."""
    given = organ_slices(query, label, axis)
    parts = [
        segment(query, label, chunk, one)
        for chunk, one in zip(query_chunks(given), supports, strict=True)
        if chunk
    ]
    prediction = np.zeros(extract_slices(query.labels.voxels, axis).shape, bool)
    prediction[given] = np.concatenate(parts)
    return prediction


def evaluate_whole_volume(
    support: Support | Case,
    queries: Iterable[Case],
    organs: Mapping[int, str],
    segment: SegmentVolume,
    *,
    axis: str = "axial",
    slices: str | Sequence[int] = "thirds",
) -> list[Score]:
    """One support patient, other patients whole: as in a clinic.

    support: a case, whose `slices` become the support, or a finished support. Organs that the
    case or a query lacks are left out.
    Both Dice are reported; `given` is over the organ slices of the same whole segmentation.
    """
    name = ""
    if isinstance(support, Case):
        name, organs = support.name, marked_organs(support, organs)
        support = _support(support, organs, axis, slices)
    return [
        replace(score, support=name)
        for query in queries
        for score in score_labels(query, segment(query, support), organs, axis)
    ]


def evaluate_same_patient(
    cases: Iterable[Case],
    organs: Mapping[int, str],
    segment: SegmentVolume,
    *,
    axis: str = "axial",
    slices: str | Sequence[int] = "middle",
) -> list[Score]:
    """Each patient from its own marked slice (the middle one of each organ), whole volume.

    The marked slices count like all others.
    """
    scores = []
    for case in cases:
        support = _support(case, organs, axis, slices)
        found = score_labels(case, segment(case, support), organs, axis)
        scores += [replace(score, support=case.name) for score in found]
    return scores


def score_labels(
    case: Case, prediction: np.ndarray, organs: Mapping[int, str], axis: str
) -> list[Score]:
    """Scores of a whole segmentation (k, j, i); organs that the truth lacks are left out."""
    if prediction.shape != case.labels.shape:
        raise ValueError(f"{case.name}: segmented {prediction.shape}, truth {case.labels.shape}")
    predicted = extract_slices(prediction, axis)
    truth = extract_slices(case.labels.voxels, axis)
    return [
        _score(case, label, organ, axis, predicted == label, truth == label, whole=True)
        for label, organ in organs.items()
        if (truth == label).any()
    ]


def marked_organs(case: Case, organs: Mapping[int, str]) -> dict[int, str]:
    """Those that the truth of a case has."""
    return {n: name for n, name in organs.items() if (case.labels.voxels == n).any()}


def _support(
    case: Case, organs: Mapping[int, str], axis: str, slices: str | Sequence[int]
) -> Support:
    present = list(marked_organs(case, organs))
    return Support.from_labels(
        case.image, case.labels, names=dict(organs), axis=axis, slices=slices, keep_labels=present
    )


def _supports_of(case: Case, label: int, axis: str) -> list[Support]:
    """The three supports of one label, one slice each; none when the label is absent."""
    present = organ_slices(case, label, axis)
    if not present:
        return []
    return [
        Support.from_labels(
            case.image, case.labels, axis=axis, slices=[present[index]], keep_labels=[label]
        )
        for index in support_slices(len(present))
    ]


def _score(
    case: Case, label: int, organ: str, axis: str, prediction: np.ndarray, truth: np.ndarray, *,
    whole: bool,
) -> Score:
    """The score of two stacks of slices (S, H, W)."""
    order = {"axial": (0, 1, 2), "coronal": (0, 2, 1), "sagittal": (1, 2, 0)}[axis]
    steps = tuple(case.image.spacing[n] for n in order)
    distance = surface_distance(prediction, truth, steps)
    return Score(
        case=case.name,
        label=label,
        organ=organ,
        given=dice_given_slices(prediction, truth),
        whole=dice(prediction, truth) if whole else float("nan"),
        assd=distance.assd,
        hd95=distance.hd95,
        volume=volume_ml(prediction, steps),
        truth=volume_ml(truth, steps),
        nsd=surface_agreement(prediction, truth, steps).nsd,
    )
