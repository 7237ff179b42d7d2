"""A query and its supports made ready: one frame, one grey scale, and what the method keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial

import numpy as np
import torch
from torch import Tensor

from ..data.errors import InputError
from ..data.frames import SliceFrame
from ..data.intensity import IntensityRange, intensity_range
from ..data.overview import Overview
from ..data.slicing import (
    GRID_AXIS,
    FieldOfView,
    extract_slices,
    put_slices,
    slice_spacing,
    volume_field,
)
from ..data.standard import measure_standard
from ..data.support import Support
from ..data.volume import Orientation, Segment, Volume
from ..prompting.interfaces import (
    Kept,
    MethodBuilder,
    SliceSpace,
    SliceView,
    ViewingBuilder,
)
from ..prompting.mask_parameters import ROI_SIZE
from .encoding import Encoders, SliceEncoder
from .exclusion import Excluded
from .finding.prior import Prior, find_priors
from .slices import MarkedSlice, Structure
from .work import DrawnSlice, Work


@dataclass(frozen=True, eq=False)
class Query:
    """A query volume made ready: canonical, with its stack of slices, frame and range."""

    volume: Volume
    canonical: Volume
    orientation: Orientation
    axis: str
    intensity: IntensityRange
    frame: SliceFrame
    roi: SliceFrame

    @property
    def stack(self) -> np.ndarray:
        return extract_slices(self.canonical.voxels, self.axis)

    def file_index(self, index: int) -> int:
        """A slice's index along the file's own axis; its own inverse."""
        return self.orientation.canonical_index(GRID_AXIS[self.axis], index)

    @property
    def file_axis(self) -> int:
        """The file's array axis (0 = k, 1 = j, 2 = i) that slices lie along."""
        return 2 - self.orientation.permutation[GRID_AXIS[self.axis]]

    def in_file(self, plane: np.ndarray) -> np.ndarray:
        """One slice (H, W) as a 2-D array in the file's own order, a copy."""
        whole = self.orientation.restore(put_slices(plane[None], self.axis))
        return np.array(whole.take(0, self.file_axis))


@dataclass(frozen=True)
class Preparation:
    """Makes queries and supports ready for some encoders and a method.

    Attributes:
        encoders: the networks that read slices.
        method: makes the prompt method ready for a volume's slices.
    """

    encoders: Encoders
    method: MethodBuilder
    # The last supports and what was made of them: a batch has the same for each of its volumes.
    _last: list[tuple[tuple, tuple[Support, ...], tuple[Structure, ...]]] = field(
        default_factory=list, repr=False
    )

    def query(self, volume: Volume, axis: str, window: tuple[float, float] | None) -> Query:
        """The volume made ready. Raises InputError where it has no content."""
        canonical, orientation = volume.canonical()
        intensity = intensity_range(canonical, window)
        field = volume_field(canonical, intensity, axis)
        shape = extract_slices(canonical.voxels, axis).shape[1:3]
        dx, dy, _ = slice_spacing(canonical.spacing, axis)
        frame, roi = self._frames(shape, (dx, dy), field, canonical.modality)
        return Query(volume, canonical, orientation, axis, intensity, frame, roi)

    def work(
        self,
        query: Query,
        supports: Sequence[Support],
        chosen: tuple[int, int],
        seed: int,
        assume_present: bool = False,
        excluded: Volume | None = None,
    ) -> Work:
        """What a strategy works on.

        Args:
            chosen: first and last canonical slice.
            excluded: see `Segmenter.segment`.

        Raises:
            InputError: nothing that was marked can be seen; `excluded` is on another grid.
        """
        modality, stack = query.canonical.modality, query.stack
        space = SliceSpace(
            modality, query.roi, query.intensity,
            lru_cache(partial(measure_standard, query.canonical, query.axis)),
            self.encoders.device, seed,
        )
        method = self.method(space)
        segments = common_segments(supports)
        own = [support for support in supports if support.matches(query.volume)]
        structures = self._kept_structures(supports, segments, modality, seed)
        return Work(
            slices=SliceEncoder(
                stack, query.intensity, query.frame, query.roi, self.encoders, method=method,
                pictures=self._pictures(query.frame, space),
            ),
            frame=query.roi,
            method=method,
            structures=structures,
            drawn=tuple(_drawn(own)),
            first=chosen[0],
            last=chosen[1],
            spacing=slice_spacing(query.canonical.spacing, query.axis),
            labels=np.zeros(
                stack.shape[:3], np.uint8 if structures[-1].label < 256 else np.uint16
            ),
            assume_present=assume_present,
            priors=_priors(query, supports, own, structures),
            excluded=Excluded.of(
                excluded, query.volume, query.orientation, query.axis, query.roi, space.device
            ),
        )

    def _kept_structures(
        self, supports: Sequence[Support], segments: Mapping[int, Segment], modality: str, seed: int
    ) -> tuple[Structure, ...]:
        """Those of the last call, where it had the very same supports."""
        key = (modality, seed, *(id(support) for support in supports))
        for known, _, structures in self._last:
            if known == key:
                return structures
        structures = self._structures(supports, segments, modality, seed)
        self._last[:] = [(key, tuple(supports), structures)]  # held, so that no id comes again
        return structures

    def _structures(
        self,
        supports: Sequence[Support],
        segments: Mapping[int, Segment],
        modality: str,
        seed: int,
    ) -> tuple[Structure, ...]:
        """What the supports' marked slices give, by label."""
        prepared: dict[int, list[tuple[Kept, MarkedSlice, int]]] = {n: [] for n in segments}
        for number, support in enumerate(supports):
            for label, kept, marked in self._kept(support, modality, seed):
                prepared[label].append((kept, marked, number))
        structures = tuple(
            Structure(label, segments[label].name, *map(tuple, zip(*several, strict=True)))
            for label, several in prepared.items()
            if several
        )
        if not structures:
            raise InputError(
                "nothing that was marked lies in the part of its image that the model sees; mark "
                "the structure inside the body"
            )
        return structures

    def _view(self, modality: str) -> SliceView | None:
        return self.method.view(modality) if isinstance(self.method, ViewingBuilder) else None

    def _frames(
        self, shape: tuple[int, int], spacing: tuple[float, float], field: FieldOfView,
        modality: str,
    ) -> tuple[SliceFrame, SliceFrame]:
        """Slice pixels to the model's square, and to the region of interest."""
        size, view = self.encoders.model.input_size, self._view(modality)
        sizes = size, min(size, ROI_SIZE)
        if view is not None:
            return tuple(view.frame(shape, spacing, s) for s in sizes)
        return tuple(SliceFrame(shape, spacing, field, s) for s in sizes)

    def _pictures(
        self, frame: SliceFrame, space: SliceSpace
    ) -> Callable[[np.ndarray], Tensor] | None:
        """The method's own way from stored values to the model's input, if it has one."""
        view = self._view(space.modality)
        if view is None:
            return None
        return lambda stored: view.pictures(stored, frame, space.standard(), space.device)

    def _kept(
        self, support: Support, modality: str, seed: int
    ) -> Iterator[tuple[int, Kept, MarkedSlice]]:
        """What the method keeps of each of the support's slices, with its label and itself."""
        dx, dy, _ = support.spacing
        stored = extract_slices(support.volume.voxels, support.axis)
        frame, roi = self._frames(stored.shape[1:3], (dx, dy), support.field, modality)
        space = SliceSpace(
            modality, roi, support.intensity,
            lambda: support.standard or measure_standard(support.volume, support.axis),
            self.encoders.device, seed,
        )
        method = self.method(space)
        masks = {label: support.masks(label) for label in support.names}
        slices = SliceEncoder(
            stored, support.intensity, frame, roi, self.encoders, method=method,
            pictures=self._pictures(frame, space),
        )
        for place in range(len(slices)):
            encoded = slices.one(place)
            for label, drawn in masks.items():
                if place not in support.positions_of(label):
                    continue
                mask = torch.from_numpy(np.ascontiguousarray(drawn[place]))[None]
                cover = roi.masks_to_model(mask.to(self.encoders.device))[0, 0]
                if bool((cover > 0).any()):
                    kept = method.prepare(encoded, drawn[place], cover)
                    yield label, kept, MarkedSlice(encoded, method, cover)


def _drawn(own: Sequence[Support]) -> Iterator[DrawnSlice]:
    """Slices of the volume itself that were drawn on."""
    for support in own:
        for label in support.names:
            places = zip(support.slices_of(label), support.positions_of(label), strict=True)
            for index, place in places:
                yield DrawnSlice(label, index, support.masks(label)[place])


def _priors(
    query: Query, supports: Sequence[Support], own: Sequence[Support],
    structures: Sequence[Structure],
) -> dict[int, Prior]:
    """Where structures that nobody drew in the query itself, as `own`, are expected."""
    drawn = {label for support in own for label in support.names}
    others = [s for s in supports if s not in own and s.overview is not None]
    labels = [s.label for s in structures if s.label not in drawn]
    if not others or not labels:
        return {}
    overview = Overview.of(query.canonical, query.axis, query.intensity)
    return find_priors(overview, query.roi, others, labels)


def common_axis(supports: Sequence[Support]) -> str:
    """The axis that all supports are drawn along.

    Raises:
        InputError: there are several, or no support.
    """
    if not supports:
        raise InputError("no support given; mark the structure on one slice first")
    axes = sorted({s.axis for s in supports})
    if len(axes) > 1:
        raise InputError(
            f"the supports are drawn on {' and '.join(axes)} slices; use supports of one axis"
        )
    return axes[0]


def common_segments(supports: Sequence[Support]) -> dict[int, Segment]:
    """Names and colours of all labels; the same label must mean the same structure.

    Raises:
        InputError: it does not.
    """
    segments: dict[int, Segment] = {}
    for support in supports:
        for label in support.names:
            segment = support.labels.segments[label]
            known = segments.setdefault(label, segment)
            if known.name != segment.name:
                raise InputError(
                    f"label {label} is {known.name!r} in one support and {segment.name!r} in "
                    "another; give each structure one label"
                )
    return dict(sorted(segments.items()))
