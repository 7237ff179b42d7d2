"""The support: slices of an image with a mask that a person drew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .colours import default_colour
from .drawn_planes import drawn_axis, planes_note
from .errors import InputError
from .intensity import IntensityRange, intensity_range, normalise
from .label_values import present_labels, whole_numbers
from .overview import Overview
from .resampling import resample_labels
from .slice_choice import choose_slices
from .slicing import (
    AXES,
    GRID_AXIS,
    FieldOfView,
    check_axis,
    extract_slices,
    put_slices,
    slice_spacing,
    volume_field,
)
from .standard import Standard, measure_standard
from .support_file import read_parts, write_parts
from .volume import Segment, Volume


@dataclass(frozen=True, eq=False)
class Support:
    """Marked slices of one image, with what is needed to use them anywhere.

    Args:
        volume: the kept slices only, in canonical orientation: (S, j, i[, 3]) for axial,
            (k, S, i) for coronal, (k, j, S) for sagittal ones. Its origin is that of the first
            kept slice; between kept slices there may be gaps.
        labels: the drawn labels of the same slices, uint8 or uint16, with names and colours.
        axis: "axial", "coronal" or "sagittal".
        slices: index along the axis, in the whole canonical volume, of each kept slice, rising.
        drawn: for each label the members of ``slices`` to use for it.
        count: slices along the axis in the whole volume.
        intensity: measured on the whole volume.
        field: the body's square, measured on the whole volume.
        standard: FoB's clipping and z-score, measured on the whole volume; None in supports kept
            by a program that did not know it.
        overview: a thin copy of the whole volume, by which another patient's is aligned to it;
            None where it was left out.
    """

    volume: Volume
    labels: Volume
    axis: str
    slices: tuple[int, ...]
    drawn: Mapping[int, tuple[int, ...]]
    count: int
    intensity: IntensityRange
    field: FieldOfView
    standard: Standard | None = None
    overview: Overview | None = None

    @property
    def names(self) -> dict[int, str]:
        """Label value -> name, by rising value."""
        return {value: self.labels.segments[value].name for value in sorted(self.drawn)}

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know about the drawing, one sentence each."""
        return self.labels.notes

    @property
    def spacing(self) -> tuple[float, float, float]:
        """(dx, dy, dz) mm: along a slice's columns, its rows, and from slice to slice."""
        return slice_spacing(self.volume.spacing, self.axis)

    def images(self) -> np.ndarray:
        """Grey levels in [0, 1] of the kept slices, float32 (S, H, W[, 3])."""
        return normalise(extract_slices(self.volume.voxels, self.axis), self.intensity)

    def standard_images(self) -> np.ndarray:
        """z-scores of the kept slices, float32 (S, H, W), as `standard` says; where it is not
        known, measured on the kept slices."""
        standard = self.standard or measure_standard(self.volume, self.axis)
        return standard.apply(extract_slices(self.volume.voxels, self.axis))

    def masks(self, label: int) -> np.ndarray:
        """Where ``label`` is drawn on the kept slices, bool (S, H, W)."""
        self._check_label(label)
        return extract_slices(self.labels.voxels, self.axis) == label

    def slices_of(self, label: int) -> tuple[int, ...]:
        """Indices in the whole canonical volume of the slices to use for ``label``."""
        self._check_label(label)
        return self.drawn[label]

    def positions_of(self, label: int) -> tuple[int, ...]:
        """The same slices as positions in ``images()`` and ``masks()``."""
        return tuple(self.slices.index(index) for index in self.slices_of(label))

    def matches(self, volume: Volume) -> bool:
        """Whether this support was drawn on ``volume``: the same place in patient space and the
        same voxels on the kept slices, whatever the axis order they are stored in."""
        whole, _ = volume.canonical()
        grid_axis = GRID_AXIS[self.axis]
        if whole.size[grid_axis] != self.count or whole.is_rgb != self.volume.is_rgb:
            return False
        same = replace(
            whole,
            voxels=_keep(whole.voxels, self.axis, self.slices),
            origin=_first_origin(whole, self.axis, self.slices[0]),
        )
        if not same.same_grid(self.volume) or not np.allclose(
            same.spacing, self.volume.spacing, rtol=1e-3
        ):
            return False
        exact = same.voxels.dtype.kind != "f" and self.volume.voxels.dtype.kind != "f"
        if exact:
            return np.array_equal(same.voxels, self.volume.voxels)
        return np.allclose(same.voxels, self.volume.voxels, rtol=1e-5, atol=1e-6, equal_nan=True)

    @classmethod
    def from_labels(
        cls,
        volume: Volume,
        labels: Volume,
        names: Mapping[int, str] | None = None,
        axis: str = "auto",
        slices: str | Sequence[int] = "all",
        window: tuple[float, float] | None = None,
        keep_labels: Sequence[int] | None = None,
        overview: bool = True,
    ) -> Support:
        """A support from an image and its labels.

        Args:
            volume: the image, in any orientation.
            labels: integer labels; brought to the image's grid by physical space if needed.
            names: label value -> name; else the labels' own names, else "label_N".
            axis: "auto" finds the axis that was drawn on.
            slices: which slices to use for each label, of the C slices that carry it: "all", the
                "middle" one, the one with the "largest" area, "thirds" (at 1/6, 1/2 and 5/6 of
                C, the papers' protocol), or indices along the image file's own axis, from 0.
            window: (low, high) stored values shown as black to white.
            keep_labels: use only these values.
            overview: keep a thin copy of the whole volume, without which another patient's
                structures are looked for by their looks alone.

        Raises:
            InputError: nothing is drawn, a label or slice asked for is not there, labels are no
                labels or lie elsewhere, or the image has no content.
        """
        name = labels.name or "labels"
        labels, wanted = _wanted_labels(labels, volume, keep_labels, name)
        canonical, orientation = volume.canonical()
        drawing = orientation.apply(labels.voxels)
        axis = _axis_of(drawing, canonical, axis)
        drawn = choose_slices(
            extract_slices(drawing, axis), wanted, slices, axis, orientation, name
        )
        missing = sorted(set(wanted) - set(drawn))
        if not drawn or (keep_labels is not None and missing):
            where = f"{axis} slices" if isinstance(slices, str) else f"slices {slices}"
            raise InputError(
                f"{name}: label {missing[0]} is not drawn on {where}; choose with axis= or slices="
            )
        known = labels.segments
        notes = _drawing_notes(drawing, axis, missing, {**known}, isinstance(slices, str))
        kept = tuple(sorted(set().union(*drawn.values())))
        intensity = intensity_range(volume, window)
        image = replace(
            canonical, voxels=np.array(_keep(canonical.voxels, axis, kept)),
            origin=_first_origin(canonical, axis, kept[0]),
        )
        own = replace(
            image, voxels=_drawing_of(_keep(drawing, axis, kept), drawn), name=name,
            modality="other", notes=(*labels.notes, *notes),
            segments={v: _segment(v, names, known) for v in sorted(drawn)},
        )
        measured = _measured(canonical, axis, intensity, overview)
        return cls(image, own, axis, kept, drawn, intensity=intensity, **measured)

    def save(self, path: str | Path, *, keep_name: bool = False) -> None:
        """Keep this support in one .nrrd file, from which ``load`` makes the same one anywhere.

        Args:
            path: where to.
            keep_name: keep the file names of image and drawing as well, which may tell who the
                patient is, and the notes on how the image was read.

        Raises:
            InputError: another extension, or it cannot be written there.
        """
        write_parts(vars(self), path, keep_name=keep_name)

    @classmethod
    def load(cls, path: str | Path) -> Support:
        """The support that ``save`` wrote.

        Raises:
            InputError: missing or unreadable, not a support, or damaged.
        """
        return cls(**read_parts(path))

    def _check_label(self, label: int) -> None:
        if label not in self.drawn:
            raise InputError(
                f"the support has no label {label}; it holds {', '.join(map(str, self.names))}"
            )


def _drawing_notes(
    drawing: np.ndarray,
    axis: str,
    missing: Sequence[int],
    segments: Mapping[int, Segment],
    all_slices: bool,
) -> tuple[str, ...]:
    """On planes of several axes, and on labels that were drawn in another axis alone."""
    note = planes_note(drawing, axis) if all_slices else None
    lost = [segments[v].name if v in segments else f"label {v}" for v in missing if all_slices]
    left = [
        f"{name} was drawn along another axis than the {axis} one and is left out; axis= chooses it"
        for name in lost
    ]
    return (*((note,) if note else ()), *left)


def _wanted_labels(
    labels: Volume, volume: Volume, keep_labels: Sequence[int] | None, name: str
) -> tuple[Volume, list[int]]:
    """Labels on the image's grid, the wanted ones only, and which these are."""
    if labels.is_rgb:
        raise InputError(f"{name}: is a colour image; read it with read_labels")
    labels = labels.with_voxels(whole_numbers(labels.voxels, name))
    labels = resample_labels(labels, volume)
    present = present_labels(labels.voxels)
    if not present:
        raise InputError(f"{name}: the mask is empty; mark the structure on at least one slice")
    wanted = list(present) if keep_labels is None else [int(v) for v in keep_labels]
    for value in wanted:
        if value not in present:
            raise InputError(
                f"{name}: has no label {value}; it holds {', '.join(map(str, present))}"
            )
    if len(wanted) < len(present):
        labels = labels.with_voxels(np.where(np.isin(labels.voxels, wanted), labels.voxels, 0))
    return labels, wanted


def _measured(
    canonical: Volume, axis: str, intensity: IntensityRange, overview: bool
) -> dict[str, Any]:
    """What a support keeps of the whole volume."""
    return {
        "count": canonical.size[GRID_AXIS[axis]],
        "field": volume_field(canonical, intensity, axis),
        "standard": measure_standard(canonical, axis),
        "overview": Overview.of(canonical, axis, intensity) if overview else None,
    }


def _axis_of(drawing: np.ndarray, canonical: Volume, axis: str) -> str:
    if axis == "auto":
        return drawn_axis(drawing, canonical.spacing)
    if axis not in AXES:
        raise InputError(f"axis {axis!r} is unknown; use auto, {', '.join(AXES)}")
    return axis


def _drawing_of(drawing: np.ndarray, drawn: Mapping[int, tuple[int, ...]]) -> np.ndarray:
    """The labels that are used, in as few bytes as hold them."""
    drawing = np.where(np.isin(drawing, list(drawn)), drawing, 0)
    return drawing.astype(np.uint8 if max(drawn) < 256 else np.uint16)


def _keep(voxels: np.ndarray, axis: str, kept: Sequence[int]) -> np.ndarray:
    return put_slices(extract_slices(voxels, axis)[list(kept)], axis)


def _first_origin(whole: Volume, axis: str, first: int) -> tuple[float, float, float]:
    index = np.zeros(3)
    index[GRID_AXIS[check_axis(axis)]] = first
    return tuple(whole.index_to_world(index))


def _segment(
    value: int, names: Mapping[int, str] | None, segments: Mapping[int, Segment]
) -> Segment:
    known = segments.get(value)
    name = (names or {}).get(value) or (known.name if known else f"label_{value}")
    return replace(known, name=name) if known else Segment(name, default_colour(value))
