"""The one call: a query volume, supports, and out comes its segmentation."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from ..data.errors import InputError
from ..data.support import Support
from ..data.volume import Volume
from ..models.devices import ChosenDevice, choose_device
from ..models.interfaces import PromptableModel, RememberingModel
from ..models.memory import MemoryPolicy
from ..models.registry import check_remembers, load_models
from ..prompting.interfaces import MethodBuilder, MethodSettings
from ..prompting.point_prompts import PointPrompts
from ..prompting.registry import DEFAULT, check_method, load_method
from .encoding import Encoders
from .file_order import canonical_range, labels_in_file, result_in_file, show_in_file
from .finding.expected import guided
from .finding.sizes import KnownSizes
from .independent import segment_independently
from .judging import DOUBTFUL_CHOICES, judge
from .monitor import Monitor
from .one_slice import segment_one
from .preparation import Preparation, Query, common_axis
from .propagation import propagate
from .remembering import segment_by_memory
from .result_notes import result_notes
from .results import (
    PreviewCallback,
    ProgressCallback,
    SliceAnswer,
    SlicePreview,
    SliceResult,
    StructureResult,
    VolumeResult,
)
from .work import Work


class Strategy(Protocol):
    """Fills the work's label stack and gives one result per worked slice and structure."""

    def __call__(self, work: Work, monitor: Monitor) -> list[SliceResult]: ...


STRATEGIES: Mapping[str, Strategy] = {
    "slices": segment_independently,
    "propagate": propagate,
    "memory": segment_by_memory,
}


def load_segmenter(
    model: str = "embedded",
    method: str = DEFAULT,
    device: str = "auto",
    features: str | None = None,
    seed: int = 0,
    *,
    precision: str = "auto",
    allow_cpu: bool = False,
    fob: str | None = None,
    tell: Callable[[str], None] | None = None,
) -> Segmenter:
    """A segmenter with its networks loaded.

    Args:
        model: name of a preset ("embedded", "fast", "balanced", "best") or promptable model.
        method: how prompts are chosen, one of `prompting.registry.METHODS`: "synpo" (no
            training), "fob" (a trained network puts points around the structure) or "auto" (both
            together, see `prompting.fusion`).
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        features: another feature encoder than the model's own choice.
        seed: of every random choice; the same seed gives the same result.
        precision: "auto", "fp32", "bf16" or "fp16".
        allow_cpu: when a GPU's memory does not hold the network, go on on the CPU.
        fob: FoB's weights: "embedded", a name of the catalogue or a file; by default the
            preset's, or the embedded ones.
        tell: called with one sentence when batches shrink, the device changes, or weights were
            made for another modality.

    Raises:
        InputError: a name is not known (the known ones are listed), weights are missing, or the
            device is not usable.
    """
    check_method(method, fob)
    chosen = choose_device(device)
    memory = MemoryPolicy(allow_cpu, tell) if tell else MemoryPolicy(allow_cpu)
    promptable, encoder = load_models(
        model, features, chosen.device, precision=precision, memory=memory
    )
    builder = load_method(
        method, MethodSettings(promptable, chosen.device, precision, model, fob, memory.tell)
    )
    return Segmenter(Encoders(promptable, encoder, chosen.device), chosen, method, seed, builder)


class Segmenter:
    """Networks and a prompt method, ready for any number of volumes. See `load_segmenter`.

    Args:
        encoders: the loaded networks; device: where they run.
        method: the prompt method's name; builder: the method, loaded, or None to load it with
            what it has by itself.
        seed: of every random choice.

    Attributes:
        keeps_slices: whether what was computed of a volume's slices stays until `segment` is given
            another volume. Off, for its memory; it serves who asks for few slices again and again.
    """

    keeps_slices = False

    def __init__(
        self,
        encoders: Encoders,
        device: ChosenDevice,
        method: str = DEFAULT,
        seed: int = 0,
        builder: MethodBuilder | None = None,
    ) -> None:
        self.encoders, self.device, self.method, self.seed = encoders, device, method, seed
        builder = builder or load_method(method, MethodSettings(encoders.model, device.device))
        self._preparation = Preparation(encoders, builder)
        self._opened: tuple[tuple, Query, Work] | None = None  # of the last `segment_slice`
        self._encoded: tuple[tuple, Work] | None = None  # of the last `segment`
        self._sizes = KnownSizes()

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
        doubtful: str = "keep",
        preview: PreviewCallback | None = None,
        excluded: Volume | None = None,
    ) -> VolumeResult:
        """Segments every structure of the supports in the volume.

        Args:
            volume: the query, in any orientation.
            supports: one or more, all drawn along the same axis. Supports of the query itself
                keep their drawn slices as they are.
            strategy: "slices", each slice on its own; "propagate", from the marked or most
                certain slices outwards; "memory", the same by SAM 2's own memory of slices.
            range: first and last slice to work on, both included, counted along the file's own
                axis from 0; None for all.
            progress: called after every step, from this thread; cancel: set from anywhere to stop.
            window: stored values shown as black and white; by default CT window or MR percentiles.
            seed: instead of the segmenter's.
            assume_present: every slice of the range holds every structure (papers: given slices).
            doubtful: "keep" draws doubtful structures and says so, "drop" leaves them empty.
            preview: called with slices as their labels come, from this thread, last as they stay.
            excluded: nonzero voxels, on the volume's grid, belong to other structures: none of
                them is in the result, and structures end there.

        Raises:
            InputError: nothing to segment, supports that do not fit together, a range outside of
                the volume, a strategy that is unknown or not for this model.
            Cancelled: `cancel` was set.
        """
        _check_choices(strategy, doubtful, self.encoders.model)
        monitor = Monitor(progress, cancel)
        seed = self.seed if seed is None else seed
        supports = _as_list(supports)
        with monitor.stage("prepare"):
            axis = common_axis(supports)
            query = self._preparation.query(volume, axis, window)
            chosen = canonical_range(query, range)
        monitor.previews = show_in_file(query, preview)
        with monitor.stage("support"):
            work = self._preparation.work(query, supports, chosen, seed, assume_present, excluded)
            work = self._with_kept_slices((volume, axis, window, seed), work)
            work = self._sizes.fitted(work, monitor, [volume, excluded, *supports], window, seed)
        results = STRATEGIES[strategy](work, monitor)
        with monitor.stage("judge"):
            results, structures = judge(work, results, doubtful)
            monitor.show_changed(work.labels, results)
        with monitor.stage("write back"):
            labels = labels_in_file(query, work, supports)
        return self._result(query, work, supports, labels, results, structures, monitor, strategy)

    def _with_kept_slices(self, key: tuple, work: Work) -> Work:
        """The work with the encoded slices and displacements of the last one, where `key` is as it
        was then."""
        if not self.keeps_slices:
            return work
        if self._encoded is None or not _same(self._encoded[0], key):
            self._encoded = key, work
        before = self._encoded[1]
        return replace(work, slices=before.slices, fields=before.fields)

    def _result(
        self, query: Query, work: Work, supports: Sequence[Support], labels: Volume,
        results: Sequence[SliceResult], structures: Sequence[StructureResult],
        monitor: Monitor, strategy: str,
    ) -> VolumeResult:
        """Labels and results of slices with what they were made by."""
        return VolumeResult(
            labels=labels,
            slices=tuple(sorted(
                (result_in_file(r, query) for r in results), key=lambda r: (r.label, r.index)
            )),
            names={value: s.name for value, s in labels.segments.items()},
            seconds=dict(monitor.seconds),
            model=self.encoders.model.card,
            device=self._device_text(),
            axis=query.axis,
            method=self.method,
            strategy=strategy,
            features=self.encoders.features.card if self.encoders.features else None,
            fob=work.method.card,
            notes=result_notes(query.volume, supports, query.roi.size),
            structures=tuple(structures),
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
        query = self._preparation.query(volume, common_axis(supports), window)
        first, _ = canonical_range(query, (slice_index, slice_index))
        work = self._preparation.work(query, supports, (first, first), seed)
        work = self._sizes.fitted(work, Monitor(), [volume, *supports], window, seed)
        encoded = work.slices.one(first)
        proposals, _ = guided(work, encoded, [first], work.structures)
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
        excluded: Volume | None = None,
    ) -> SliceAnswer:
        """One slice on its own, the quickest look at what the supports give.

        What was computed for the volume and the supports is kept until others are given, so that
        asking again with other points takes the decoder's time only. In another patient the first
        call tries the structures' sizes.

        Args:
            slice_index: along the file's own axis, from 0.
            prompts: by label, points in pixels (x, y) of the slice as shown, instead of the
                chosen ones. The structure is then taken to be there; with no positive point it is
                taken not to be. Negative points that the model does not see are left out.
            window, seed, excluded: as for `segment`.

        Raises:
            InputError: as for `segment`; prompts for a label that is not segmented or was drawn
                by hand in this slice; a positive point outside of what the model sees.
        """
        supports = _as_list(supports)
        seed = self.seed if seed is None else seed
        key = (volume, excluded, *supports, window, seed)
        if self._opened is None or not _same(self._opened[0], key):
            query = self._preparation.query(volume, common_axis(supports), window)
            whole = canonical_range(query, None)
            work = self._preparation.work(query, supports, whole, seed, excluded=excluded)
            work.slices.encode_singly()
            made_of = [volume, excluded, *supports]
            work = self._sizes.fitted(work, Monitor(), made_of, window, seed)
            self._opened = (key, query, work)
        _, query, work = self._opened
        first, _ = canonical_range(query, (slice_index, slice_index))
        one = segment_one(replace(work, first=first, last=first), first, prompts or {})
        return SliceAnswer(
            SlicePreview(
                query.file_axis, slice_index, query.in_file(one.labels),
                tuple(result_in_file(r, query) for r in one.results),
            ),
            {r.label: r.prompts for r in one.results if r.prompts is not None},
            {label: query.in_file(one_map) for label, one_map in one.confidence.items()},
        )

    def work(self, volume: Volume, supports: Sequence[Support] | Support) -> Work:
        """The query made ready, for those who go on by themselves (canonical orientation)."""
        supports = _as_list(supports)
        query = self._preparation.query(volume, common_axis(supports), None)
        work = self._preparation.work(query, supports, canonical_range(query, None), self.seed)
        return self._sizes.fitted(work, Monitor(), [volume, *supports], None, self.seed)


def _check_choices(strategy: str, doubtful: str, model: PromptableModel) -> None:
    if strategy not in STRATEGIES:
        raise InputError(f"strategy {strategy!r}: unknown; use one of {', '.join(STRATEGIES)}")
    if strategy == "memory" and not isinstance(model, RememberingModel):
        check_remembers(model.card.name)
    if doubtful not in DOUBTFUL_CHOICES:
        raise InputError(f"doubtful {doubtful!r}: unknown; use keep or drop")


def _as_list(supports: Sequence[Support] | Support) -> Sequence[Support]:
    return [supports] if isinstance(supports, Support) else supports


def _same(one: tuple, other: tuple) -> bool:
    """The same volume and supports (not merely equal ones), and equal settings."""
    return len(one) == len(other) and all(a is b or a == b for a, b in zip(one, other))
