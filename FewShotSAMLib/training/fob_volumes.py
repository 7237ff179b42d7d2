"""FoB's episodes from unlabelled volumes: two neighbouring slices of one supervoxel are support and
query (methods, section 2, training)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..data.errors import InputError
from ..data.frames import SliceFrame, WholeSliceFrame
from ..data.intensity import IntensityRange, intensity_range, normalise
from ..data.slicing import AXES, extract_slices, slice_spacing, volume_field, whole_field
from ..data.standard import Standard, measure_standard
from ..data.volume import Volume
from .fob_losses import FobBatch
from .pair_changes import gamma_changed, random_gamma, random_warp, warped, warped_masks
from .supervoxels import LEAST, cached_supervoxels

SIDE = 256
AREA = 200  # of 256 x 256 pixels that a supervoxel covers in one of an episode's slices at least
HELD_OUT = 0.2  # share of the volumes, or of the slices of a single one, that is not trained on


@dataclass(frozen=True, eq=False)
class TrainingVolume:
    """A volume made ready.

    Attributes:
        grey: (S, side, side) float16, slices in [0, 1] in the network's frame.
        parts: (S, side, side) uint16, supervoxels, 0 air.
        standard: the volume's z-score; None where the network takes grey levels.
        sha256: of the voxels and their place in the patient.
        name: for messages.
        areas: (supervoxels + 1, S), pixels in each slice.
    """

    grey: np.ndarray
    parts: np.ndarray
    standard: Standard | None
    sha256: str
    name: str
    areas: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        number = int(self.parts.max()) + 1
        areas = np.stack([np.bincount(p.ravel(), minlength=number) for p in self.parts], 1)
        areas[0] = 0  # air is no structure
        object.__setattr__(self, "areas", areas)

    @property
    def outside(self) -> float:
        """The grey level that comes in when a slice is moved: the volume's mean, as published;
        black where the network takes grey levels, whose squares have black around the body."""
        z = self.standard
        return 0.0 if z is None else (z.mean - z.low) / (z.high - z.low)

    def pairs(self, first: int = 0, last: int | None = None) -> np.ndarray:
        """Rows (supervoxel, slice): in that slice and in the next, large enough in one of them;
        both lie from `first` to `last`."""
        last = self.areas.shape[1] - 1 if last is None else last
        large, there = self.areas >= AREA * self.parts[0].size / SIDE**2, self.areas > 0
        both = there[:, :-1] & there[:, 1:] & (large[:, :-1] | large[:, 1:])
        both[:, :first] = False
        both[:, max(last, 0):] = False
        return np.argwhere(both)


def prepare_volume(
    volume: Volume, framing: str, cache: Path, *, side: int = SIDE, least: int = LEAST
) -> TrainingVolume:
    """A volume in the frame of a network, with its supervoxels.

    Slices are those along the axis of the largest spacing, the axial ones where all are alike.

    Args:
        framing: "slice", the whole slice stretched, or "body"; as `FobConfig`.
        cache: the folder where supervoxels are kept.
        side: pixels a side of the network's pictures.

    Raises:
        InputError: RGB, a single slice, or without contrast.
    """
    if volume.is_rgb:
        raise InputError(f"{volume.name}: is a colour image; FoB is trained on grey ones")
    canonical, _ = volume.canonical()
    axis = _axis(canonical)
    stack = extract_slices(canonical.voxels, axis)
    if len(stack) < 2:
        raise InputError(f"{volume.name}: has one slice; episodes need neighbouring ones")
    standard = measure_standard(canonical, axis) if framing == "slice" else None
    intensity, frame, spacing = _framed(canonical, axis, standard, side)
    if not intensity.low < intensity.high:
        raise InputError(f"{volume.name}: nearly all of its voxels have one value")
    grey = _in_frame(stack, intensity, frame)
    parts = cached_supervoxels(grey, spacing, cache, least)
    return TrainingVolume(grey, parts, standard, _sha256(canonical), volume.name)


def _framed(
    canonical: Volume, axis: str, standard: Standard | None, side: int
) -> tuple[IntensityRange, SliceFrame | WholeSliceFrame, tuple[float, float, float]]:
    """Grey levels, frame and, in the frame, mm between columns, rows and slices."""
    dx, dy, dz = slice_spacing(canonical.spacing, axis)
    height, width = shape = extract_slices(canonical.voxels, axis).shape[1:]
    if standard is not None:
        intensity = IntensityRange(standard.low, standard.high, "FoB's")
        frame = WholeSliceFrame(shape, (dx, dy), whole_field(shape, (dx, dy)), side)
        return intensity, frame, (dx * width / side, dy * height / side, dz)
    intensity = intensity_range(canonical)
    view = volume_field(canonical, intensity, axis)
    step = view.side_mm / side
    return intensity, SliceFrame(shape, (dx, dy), view, side), (step, step, dz)


def _in_frame(
    stack: np.ndarray, intensity: IntensityRange, frame: SliceFrame | WholeSliceFrame
) -> np.ndarray:
    """Slices (S, H, W) as the network sees them: (S, side, side) float16 in [0, 1]."""
    grey = np.empty((len(stack), frame.size, frame.size), np.float16)
    for index, plane in enumerate(stack):
        one = torch.from_numpy(normalise(plane, intensity))[None, None]
        grey[index] = frame.images_to_model(one)[0, 0].clamp(0, 1).numpy()
    return grey


def _sha256(canonical: Volume) -> str:
    """Of the voxels and their place in the patient."""
    digest = hashlib.sha256(np.ascontiguousarray(canonical.voxels))
    digest.update(repr((canonical.shape, np.round(canonical.affine, 3).tolist())).encode())
    return digest.hexdigest()


def _axis(canonical: Volume) -> str:
    step = {axis: slice_spacing(canonical.spacing, axis)[2] for axis in AXES}
    return next(axis for axis in AXES if step[axis] >= 0.95 * max(step.values()))


class VolumeEpisodes:
    """Episodes of volumes; some of the volumes are held out. A step's batch depends on the seed
    and the step alone.

    Args:
        volumes: made ready for one network.
        seed: of everything that is drawn.
        device: where batches are made.
        pairs: pairs of slices a batch; 1 as published.
        structures: supervoxels a pair, at most; 1 as published.
        checked: pairs of slices that are held out to measure by.
        held_out: share of the volumes that is not trained on; 0 for none, where the caller
            measures by himself.

    Raises:
        InputError: no supervoxel is large enough in two neighbouring slices.
    """

    def __init__(
        self,
        volumes: Sequence[TrainingVolume],
        *,
        seed: int,
        device: torch.device,
        pairs: int = 1,
        structures: int = 1,
        checked: int = 24,
        held_out: float = HELD_OUT,
    ) -> None:
        self.volumes = _with_pairs(volumes)
        self.seed, self.device = seed, device
        self.pairs, self.structures, self.checked = pairs, structures, checked
        self._learnt, self._apart = _parted(self.volumes, seed, held_out)

    @property
    def held_out_volumes(self) -> list[TrainingVolume]:
        """Those never trained on; of a single one, its last slices are held out."""
        return [self.volumes[v] for v in self._apart]

    def batch(self, step: int) -> FobBatch:
        """Changed pairs of slices of the volumes that are trained on."""
        seed = self.seed * 1_000_003 + step
        return self._batch(self._learnt, np.random.default_rng(seed), self.pairs, seed)

    def held_out(self) -> list[FobBatch]:
        """Pairs of the held-out slices as they are, always the same."""
        random = np.random.default_rng(self.seed)
        left, batches = self.checked if self._apart else 0, []
        while left > 0:
            batches.append(self._batch(self._apart, random, min(left, 4), None))
            left -= 4
        return batches

    def _batch(
        self, source: dict[int, np.ndarray], random: np.random.Generator, count: int,
        changes: int | None,
    ) -> FobBatch:
        generator = None if changes is None else torch.Generator().manual_seed(changes)
        sides: tuple[list, list, list, list] = ([], [], [], [])
        picture: list[int] = []
        for number in range(count):
            volume, places, parts = self._drawn(source, random)
            for side, (grey, masks) in enumerate(self._pair(volume, places, parts, generator)):
                sides[side].append(grey)
                sides[2 + side].append(masks)
            picture += [number] * len(parts)
        return FobBatch(
            torch.stack(sides[0]), torch.stack(sides[1]),
            torch.tensor(picture, device=self.device),
            torch.cat(sides[2]), torch.cat(sides[3]),
        )

    def _drawn(
        self, source: dict[int, np.ndarray], random: np.random.Generator
    ) -> tuple[TrainingVolume, list[int], list[int]]:
        """A volume, the slices of support and query, and the supervoxels that are marked."""
        chosen = int(random.choice(list(source)))
        pairs = source[chosen]
        part = random.choice(np.unique(pairs[:, 0]))
        index = int(random.choice(pairs[pairs[:, 0] == part, 1]))
        others = pairs[(pairs[:, 1] == index) & (pairs[:, 0] != part), 0]
        parts = [part, *random.permutation(others)[: self.structures - 1]]
        places = [index, index + 1] if random.random() < 0.5 else [index + 1, index]
        return self.volumes[chosen], places, parts

    def _pair(
        self, volume: TrainingVolume, places: list[int], parts: list[int],
        generator: torch.Generator | None,
    ) -> list[tuple[Tensor, Tensor]]:
        """Support and query: pictures (3, S, S) and masks (T, S, S), changed by the generator."""
        warp, gamma = (None, None) if generator is None else (
            torch.randint(2, (2,), generator=generator).tolist()
        )
        result = []
        for side, index in enumerate(places):
            grey, masks = self._slice(volume, index, parts)
            if side == gamma:
                grey = gamma_changed(grey, random_gamma(generator))
            if side == warp:
                where = random_warp(grey.shape[-1], generator, self.device)
                grey, masks = warped(grey, where, volume.outside), warped_masks(masks, where)
            result.append((_standardised(grey, volume.standard).expand(3, -1, -1), masks))
        return result

    def _slice(
        self, volume: TrainingVolume, index: int, parts: list[int]
    ) -> tuple[Tensor, Tensor]:
        """(S, S) grey levels and (T, S, S) masks of some supervoxels."""
        grey = torch.from_numpy(volume.grey[index]).to(self.device).float()
        own = torch.from_numpy(volume.parts[index].astype(np.int32)).to(self.device)
        wanted = torch.tensor([int(p) for p in parts], device=self.device, dtype=torch.int32)
        return grey, (own == wanted[:, None, None]).float()


def _standardised(grey: Tensor, standard: Standard | None) -> Tensor:
    """Levels in [0, 1] as z-scores where the network takes those."""
    if standard is None:
        return grey
    return standard.scores(grey * (standard.high - standard.low))


def _with_pairs(volumes: Sequence[TrainingVolume]) -> list[TrainingVolume]:
    some = [v for v in volumes if len(v.pairs())]
    if not some:
        raise InputError(
            f"no supervoxel covers {AREA / SIDE**2:.1%} of the picture in two neighbouring "
            "slices; give volumes of a larger part of the body"
        )
    return some


def _parted(
    volumes: Sequence[TrainingVolume], seed: int, held_out: float
) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray]]:
    """Pairs by volume: to train on, and held out."""
    count = len(volumes)
    if held_out > 0 and count == 1:
        return _slices_apart(volumes[0])
    order = np.random.default_rng(seed).permutation(count)
    number = max(1, round(held_out * count)) if held_out > 0 else 0
    apart = sorted(int(v) for v in order[:number])
    pairs = {v: volume.pairs() for v, volume in enumerate(volumes)}
    return {v: p for v, p in pairs.items() if v not in apart}, {v: pairs[v] for v in apart}


def _slices_apart(volume: TrainingVolume) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray]]:
    """Of a single volume: pairs to train on, and pairs among its last slices."""
    cut = round((1 - HELD_OUT) * len(volume.grey))
    while cut > 2 and not len(volume.pairs(cut)):
        cut -= 1
    learnt, apart = volume.pairs(last=cut - 1), volume.pairs(cut)
    if not len(learnt) or not len(apart):
        raise InputError(
            f"{volume.name}: too few slices to train on some and measure on others; give more "
            "volumes"
        )
    return {0: learnt}, {0: apart}
