"""A query and its supports made ready: one frame, one grey scale, and what the method keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
from ..data.standard import Standard, measure_standard
from ..data.support import Support
from ..data.volume import Orientation, Segment, Volume
from ..models.fob import FobModel
from ..prompting.synpo import SynPo
from ..prompting.synpo_parameters import SynPoParameters
from .background import Background
from .encoding import Encoders, SliceEncoder, to_pictures
from .slices import PreparedSlice, Structure
from .work import DrawnSlice, Work, inside_picture


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
        method: "synpo", "fob" or "auto".
        fob: FoB's network for the query's modality; None for "synpo".
    """

    encoders: Encoders
    method: str = "synpo"
    fob: FobModel | None = None

    def query(self, volume: Volume, axis: str, window: tuple[float, float] | None) -> Query:
        """The volume made ready. Raises InputError where it has no content."""
        canonical, orientation = volume.canonical()
        intensity = intensity_range(canonical, window)
        field = volume_field(canonical, intensity, axis)
        shape = extract_slices(canonical.voxels, axis).shape[1:3]
        dx, dy, _ = slice_spacing(canonical.spacing, axis)
        frame, roi = self._frames(shape, (dx, dy), field)
        return Query(volume, canonical, orientation, axis, intensity, frame, roi)

    def work(
        self,
        query: Query,
        supports: Sequence[Support],
        chosen: tuple[int, int],
        seed: int,
        assume_present: bool = False,
    ) -> Work:
        """What a strategy works on.

        Args:
            chosen: first and last canonical slice.

        Raises:
            InputError: nothing that was marked can be seen.
        """
        # The refinement is SynPo's. FoB's points go to SAM once, as published, and a model that
        # reads the joined map loses by it (Testing/Accuracy/fusion.py).
        reads_map = self.encoders.model.uses_confidence
        refine = self.method == "synpo" or (self.method == "auto" and not reads_map)
        synpo = SynPo(SynPoParameters.for_modality(
            query.canonical.modality, roi_size=query.roi.size, refine=refine
        ))
        background = None
        if self.fob is not None:
            background = self._background(query.roi, query.intensity, query.canonical)
        segments = common_segments(supports)
        prepared: dict[int, list[PreparedSlice]] = {label: [] for label in segments}
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
            slices=SliceEncoder(
                stack, query.intensity, query.frame, query.roi, self.encoders,
                background=background,
            ),
            frame=query.roi,
            synpo=synpo,
            background=background,
            structures=structures,
            drawn=tuple(drawn),
            first=chosen[0],
            last=chosen[1],
            spacing=slice_spacing(query.canonical.spacing, query.axis),
            labels=np.zeros(stack.shape[:3], np.uint8 if largest < 256 else np.uint16),
            seed=seed,
            assume_present=assume_present,
        )

    def _frames(
        self, shape: tuple[int, int], spacing: tuple[float, float], field: FieldOfView
    ) -> tuple[SliceFrame, SliceFrame]:
        """Slice pixels to the model's square, and to the region of interest (SynPo's 256)."""
        size = self.encoders.model.input_size
        return (
            SliceFrame(shape, spacing, field, size),
            SliceFrame(shape, spacing, field, min(size, SynPoParameters.roi_size)),
        )

    def _background(
        self,
        roi: SliceFrame,
        intensity: IntensityRange,
        volume: Volume,
        standard: Standard | None = None,
    ) -> Background:
        """FoB on the slices of a volume; its z-score is measured where the network reads it and it
        is not known."""
        if standard is None and self.fob.config.backbone != "embedded":
            standard = measure_standard(volume)
        return Background(self.fob, self.encoders, roi, intensity, standard, self.method)

    def _prepare(
        self, support: Support, synpo: SynPo, prepared: dict[int, list[PreparedSlice]]
    ) -> None:
        """Adds what the method keeps of each of the support's slices, by label."""
        dx, dy, _ = support.spacing
        images = support.images()
        stored = extract_slices(support.volume.voxels, support.axis)
        frame, roi = self._frames(images.shape[1:3], (dx, dy), support.field)
        valid = inside_picture(roi, self.encoders.device)
        background = None
        if self.fob is not None:
            background = self._background(
                roi, support.intensity, support.volume, support.standard
            )
        masks = {label: support.masks(label) for label in support.names}
        for place, image in enumerate(images):
            encoded = self.encoders.encode(
                to_pictures(image[None], frame, self.encoders.device)
            )
            if background is not None:
                encoded = background.encode(encoded, stored[place : place + 1])
            for label, drawn in masks.items():
                if place not in support.positions_of(label):
                    continue
                mask = torch.from_numpy(np.ascontiguousarray(drawn[place]))[None]
                cover = roi.masks_to_model(mask.to(self.encoders.device))[0, 0]
                if not bool((cover > 0).any()):
                    continue
                features = [f[0] for f in encoded.features]
                prepared[label].append(PreparedSlice(
                    synpo.prepare(features, cover, valid=valid),
                    background.prepare(encoded, drawn[place]) if background else None,
                ))


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
