"""The one call: a query volume, supports, and out comes its segmentation."""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch

from ..data.errors import InputError
from ..data.frames import SliceFrame
from ..data.intensity import IntensityRange, intensity_range
from ..data.slicing import (
    GRID_AXIS,
    FieldOfView,
    extract_slices,
    put_slices,
    slice_spacing,
    volume_field,
)
from ..data.support import Support
from ..data.volume import Orientation, Segment, Volume
from ..models.devices import ChosenDevice, choose_device
from ..models.memory import MemoryPolicy
from ..models.registry import load_models
from ..prompting.point_prompts import PointPrompts
from ..prompting.synpo import SynPo, SynPoSupport
from ..prompting.synpo_parameters import SynPoParameters
from .encoding import Encoders, SliceEncoder, to_pictures
from .independent import segment_independently
from .monitor import Monitor, ShowSlice
from .one_slice import segment_one
from .propagation import propagate
from .results import (
    PreviewCallback,
    ProgressCallback,
    SliceAnswer,
    SlicePreview,
    SliceResult,
    VolumeResult,
)
from .slices import Structure, propose
from .work import DrawnSlice, Work, inside_picture

METHODS = ("synpo",)


class Strategy(Protocol):
    """Fills the work's label stack and gives one result per worked slice and structure."""

    def __call__(self, work: Work, monitor: Monitor) -> list[SliceResult]: ...


STRATEGIES: Mapping[str, Strategy] = {
    "slices": segment_independently,
    "propagate": propagate,
}


def load_segmenter(
    model: str = "embedded",
    method: str = "synpo",
    device: str = "auto",
    features: str | None = None,
    seed: int = 0,
    *,
    precision: str = "auto",
    allow_cpu: bool = False,
    tell: Callable[[str], None] | None = None,
) -> Segmenter:
    """A segmenter with its networks loaded.

    Args:
        model: name of a preset ("embedded", "fast", "balanced", "best") or promptable model.
        method: how prompts are chosen.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        features: another feature encoder than the model's own choice.
        seed: of every random choice; the same seed gives the same result.
        precision: "auto", "fp32", "bf16" or "fp16".
        allow_cpu: when a GPU's memory does not hold the network, go on on the CPU.
        tell: called with one sentence when batches shrink or the device changes.

    Raises:
        InputError: a name is not known (the known ones are listed), weights are missing, or the
            device is not usable.
    """
    if method not in METHODS:
        raise InputError(f"method {method!r}: unknown; use one of {', '.join(METHODS)}")
    chosen = choose_device(device)
    memory = MemoryPolicy(allow_cpu, tell) if tell else MemoryPolicy(allow_cpu)
    promptable, encoder = load_models(
        model, features, chosen.device, precision=precision, memory=memory
    )
    return Segmenter(Encoders(promptable, encoder, chosen.device), chosen, method, seed)


@dataclass(frozen=True, eq=False)
class _Query:
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


class Segmenter:
    """Networks and a prompt method, ready for any number of volumes. See `load_segmenter`."""

    def __init__(
        self, encoders: Encoders, device: ChosenDevice, method: str = "synpo", seed: int = 0
    ) -> None:
        self.encoders, self.device, self.method, self.seed = encoders, device, method, seed
        self._opened: tuple[tuple, _Query, Work] | None = None  # of the last `segment_slice`

    def segment(
        self,
        volume: Volume,
        supports: Sequence[Support] | Support,
        *,
        strategy: str = "propagate",
        range: tuple[int, int] | None = None,
        progress: ProgressCallback | None = None,
        cancel: threading.Event | None = None,
        window: tuple[float, float] | None = None,
        seed: int | None = None,
        assume_present: bool = False,
        preview: PreviewCallback | None = None,
    ) -> VolumeResult:
        """Segments every structure of the supports in the volume.

        Args:
            volume: the query, in any orientation.
            supports: one or more, all drawn along the same axis. Supports of the query itself
                keep their drawn slices as they are.
            strategy: "slices", each slice on its own; "propagate", from the marked or most
                certain slices outwards.
            range: first and last slice to work on, both included, counted along the file's own
                axis from 0; None for all.
            progress: called after every step, from this thread.
            cancel: set it from anywhere to stop.
            window: stored values shown as black and white in the query; by default the CT window
                or the MR percentiles.
            seed: instead of the segmenter's.
            assume_present: every slice of the range holds every structure (the papers' "given
                slices"), so none is left empty for want of certainty.
            preview: called with a slice each time it has new labels, from this thread.

        Raises:
            InputError: nothing to segment, supports that do not fit together, a range outside of
                the volume, an unknown strategy.
            Cancelled: `cancel` was set.
        """
        if strategy not in STRATEGIES:
            raise InputError(f"strategy {strategy!r}: unknown; use one of {', '.join(STRATEGIES)}")
        monitor = Monitor(progress, cancel)
        seed = self.seed if seed is None else seed
        supports = _as_list(supports)
        with monitor.stage("prepare"):
            axis = _common_axis(supports)
            query = self._query(volume, axis, window)
            chosen = _range(query, range)
        monitor.show = _shower(query, preview)
        with monitor.stage("support"):
            work = self._work(query, supports, chosen, seed, assume_present)
        results = STRATEGIES[strategy](work, monitor)
        with monitor.stage("write back"):
            labels = query.orientation.restore(put_slices(work.labels, axis))
            segments = _segments(supports)
            found = Volume(
                np.ascontiguousarray(labels), volume.spacing, volume.origin, volume.direction,
                "other", volume.name, segments,
            )
        return VolumeResult(
            labels=found,
            slices=tuple(sorted(
                (_in_file(r, query) for r in results), key=lambda r: (r.label, r.index)
            )),
            names={value: s.name for value, s in segments.items()},
            seconds=dict(monitor.seconds),
            model=self.encoders.model.card,
            device=self._device_text(),
            axis=axis,
            method=self.method,
            strategy=strategy,
            features=self.encoders.features.card if self.encoders.features else None,
        )

    def _device_text(self) -> str:
        """Where the networks are now: one may have had to leave the device for want of memory."""
        chosen = self.device.device
        both = (self.encoders.model, self.encoders.features)
        networks = {network.card.name: network for network in both if network is not None}
        moved = [
            f"{name} on {where}"
            for name, network in networks.items()
            if (where := getattr(network, "device", chosen)).type != chosen.type
        ]
        left = f"; for want of memory {' and '.join(moved)}" if moved else ""
        return f"{chosen} ({self.device.reason}{left})"

    def prompts(
        self,
        volume: Volume,
        supports: Sequence[Support] | Support,
        slice_index: int,
        *,
        window: tuple[float, float] | None = None,
        seed: int | None = None,
    ) -> dict[int, PointPrompts]:
        """The prompts of one slice, by label, in pixels (x, y) of the slice as shown.

        Args:
            slice_index: along the file's own axis, from 0.
            window, seed: as for `segment`.
        """
        supports = _as_list(supports)
        seed = self.seed if seed is None else seed
        query = self._query(volume, _common_axis(supports), window)
        first, _ = _range(query, (slice_index, slice_index))
        work = self._work(query, supports, (first, first), seed)
        encoded = work.slices.one(first)
        proposals = propose(work.synpo, encoded, work.structures, work.valid, seed)
        return {
            structure.label: work.in_slice(proposal.prompts[0])
            for structure, proposal in zip(work.structures, proposals, strict=True)
        }

    def segment_slice(
        self,
        volume: Volume,
        supports: Sequence[Support] | Support,
        slice_index: int,
        *,
        prompts: Mapping[int, PointPrompts] | None = None,
        window: tuple[float, float] | None = None,
        seed: int | None = None,
    ) -> SliceAnswer:
        """One slice on its own, the quickest look at what the supports give.

        What was computed for the volume and the supports is kept until others are given, so that
        asking again with other points takes the decoder's time only.

        Args:
            slice_index: along the file's own axis, from 0.
            prompts: by label, points in pixels (x, y) of the slice as shown, instead of the
                chosen ones. The structure is then taken to be there; with no positive point it is
                taken not to be. Negative points that the model does not see are left out.
            window, seed: as for `segment`.

        Raises:
            InputError: as for `segment`; prompts for a label that is not segmented or was drawn
                by hand in this slice; a positive point outside of what the model sees.
        """
        supports = _as_list(supports)
        seed = self.seed if seed is None else seed
        key = (volume, *supports, window, seed)
        if self._opened is None or not _same(self._opened[0], key):
            query = self._query(volume, _common_axis(supports), window)
            work = self._work(query, supports, _range(query, None), seed)
            work.slices.batch = 1  # neighbours are not asked for
            self._opened = (key, query, work)
        _, query, work = self._opened
        first, _ = _range(query, (slice_index, slice_index))
        one = segment_one(replace(work, first=first, last=first), first, prompts or {})
        return SliceAnswer(
            SlicePreview(
                query.file_axis, slice_index, query.in_file(one.labels),
                tuple(_in_file(r, query) for r in one.results),
            ),
            {r.label: r.prompts for r in one.results if r.prompts is not None},
            {label: query.in_file(one_map) for label, one_map in one.confidence.items()},
        )

    def work(self, volume: Volume, supports: Sequence[Support] | Support) -> Work:
        """The query made ready, for those who go on by themselves (canonical orientation)."""
        supports = _as_list(supports)
        query = self._query(volume, _common_axis(supports), None)
        return self._work(query, supports, _range(query, None), self.seed)

    def _query(
        self, volume: Volume, axis: str, window: tuple[float, float] | None
    ) -> _Query:
        canonical, orientation = volume.canonical()
        intensity = intensity_range(canonical, window)
        field = volume_field(canonical, intensity, axis)
        shape = extract_slices(canonical.voxels, axis).shape[1:3]
        dx, dy, _ = slice_spacing(canonical.spacing, axis)
        frame, roi = self._frames(shape, (dx, dy), field)
        return _Query(volume, canonical, orientation, axis, intensity, frame, roi)

    def _frames(
        self, shape: tuple[int, int], spacing: tuple[float, float], field: FieldOfView
    ) -> tuple[SliceFrame, SliceFrame]:
        """Slice pixels to the model's square, and to the region of interest (SynPo's 256)."""
        size = self.encoders.model.input_size
        return (
            SliceFrame(shape, spacing, field, size),
            SliceFrame(shape, spacing, field, min(size, SynPoParameters.roi_size)),
        )

    def _work(
        self,
        query: _Query,
        supports: Sequence[Support],
        chosen: tuple[int, int],
        seed: int,
        assume_present: bool = False,
    ) -> Work:
        modality = query.canonical.modality
        synpo = SynPo(
            SynPoParameters.for_modality(modality, roi_size=query.roi.size)
        )
        segments = _segments(supports)
        prepared: dict[int, list[SynPoSupport]] = {label: [] for label in segments}
        drawn: list[DrawnSlice] = []
        for support in supports:
            self._prepare(support, synpo, prepared)
            if support.matches(query.volume):
                drawn += [
                    DrawnSlice(label, index, support.masks(label)[place])
                    for label in support.names
                    for index, place in zip(
                        support.slices_of(label), support.positions_of(label), strict=True
                    )
                ]
        structures = tuple(
            Structure(label, segments[label].name, tuple(kept))
            for label, kept in prepared.items()
            if kept
        )
        if not structures:
            raise InputError(
                "nothing that was marked lies in the part of its image that the model sees; mark "
                "the structure inside the body"
            )
        largest = structures[-1].label
        stack = query.stack
        return Work(
            slices=SliceEncoder(stack, query.intensity, query.frame, query.roi, self.encoders),
            frame=query.roi,
            synpo=synpo,
            structures=structures,
            drawn=tuple(drawn),
            first=chosen[0],
            last=chosen[1],
            spacing=slice_spacing(query.canonical.spacing, query.axis),
            labels=np.zeros(stack.shape[:3], np.uint8 if largest < 256 else np.uint16),
            seed=seed,
            assume_present=assume_present,
        )

    def _prepare(
        self, support: Support, synpo: SynPo, prepared: dict[int, list[SynPoSupport]]
    ) -> None:
        """Adds what the method keeps of each of the support's slices, by label."""
        dx, dy, _ = support.spacing
        images = support.images()
        frame, roi = self._frames(images.shape[1:3], (dx, dy), support.field)
        valid = inside_picture(roi, self.encoders.device)
        masks = {label: support.masks(label) for label in support.names}
        for place, image in enumerate(images):
            encoded = self.encoders.encode(
                to_pictures(image[None], frame, self.encoders.device)
            )
            for label, drawn in masks.items():
                if place not in support.positions_of(label):
                    continue
                mask = torch.from_numpy(np.ascontiguousarray(drawn[place]))[None]
                cover = roi.masks_to_model(mask.to(self.encoders.device))[0, 0]
                if bool((cover > 0).any()):
                    prepared[label].append(
                        synpo.prepare([f[0] for f in encoded.features], cover, valid=valid)
                    )


def _as_list(supports: Sequence[Support] | Support) -> Sequence[Support]:
    return [supports] if isinstance(supports, Support) else supports


def _common_axis(supports: Sequence[Support]) -> str:
    if not supports:
        raise InputError("no support given; mark the structure on one slice first")
    axes = sorted({s.axis for s in supports})
    if len(axes) > 1:
        raise InputError(
            f"the supports are drawn on {' and '.join(axes)} slices; use supports of one axis"
        )
    return axes[0]


def _segments(supports: Sequence[Support]) -> dict[int, Segment]:
    """Names and colours of all labels; the same label must mean the same structure."""
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


def _range(query: _Query, asked: tuple[int, int] | None) -> tuple[int, int]:
    """First and last canonical slice of a range in file indices."""
    count = len(query.stack)
    if asked is None:
        return 0, count - 1
    try:
        first, last = (operator.index(value) for value in asked)
    except (TypeError, ValueError):
        raise InputError(
            f"range {asked!r}: give the first and the last slice as two whole numbers"
        ) from None
    if not 0 <= first <= last < count:
        raise InputError(
            f"slices {first} to {last}: {query.volume.name or 'the volume'} has {count} "
            f"{query.axis} slices, 0 to {count - 1}"
        )
    ends = sorted((query.file_index(first), query.file_index(last)))
    return ends[0], ends[1]


def _same(one: tuple, other: tuple) -> bool:
    """The same volume and supports (not merely equal ones), and equal settings."""
    return len(one) == len(other) and all(a is b or a == b for a, b in zip(one, other))


def _shower(query: _Query, preview: PreviewCallback | None) -> ShowSlice | None:
    """From slices in canonical orientation to previews of the file's."""
    if preview is None:
        return None

    def show(index: int, plane: np.ndarray, results: Sequence[SliceResult]) -> None:
        preview(SlicePreview(
            query.file_axis, query.file_index(index), query.in_file(plane),
            tuple(_in_file(r, query) for r in results),
        ))

    return show


def _in_file(result: SliceResult, query: _Query) -> SliceResult:
    return replace(result, index=query.file_index(result.index))
