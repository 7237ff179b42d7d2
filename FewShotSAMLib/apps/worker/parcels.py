"""Volumes, supports and results as messages, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from ...data.intensity import IntensityRange
from ...data.overview import Overview
from ...data.slicing import FieldOfView
from ...data.standard import Standard
from ...data.support import Support
from ...data.volume import Segment, Volume
from ...models.card import ModelCard
from ...prompting.point_prompts import PointPrompts
from ...segmentation.results import (
    SliceAnswer,
    SlicePreview,
    SliceResult,
    StructureResult,
    VolumeResult,
)
from .messages import Message

Header = dict[str, Any]


def volume_header(volume: Volume) -> Header:
    """Everything of a volume but its voxels."""
    return {
        "spacing": volume.spacing,
        "origin": volume.origin,
        "direction": volume.direction.tolist(),
        "modality": volume.modality,
        "name": volume.name,
        "segments": {str(value): asdict(one) for value, one in volume.segments.items()},
        "notes": volume.notes,
    }


def volume_from(header: Header, voxels: np.ndarray) -> Volume:
    """The inverse of `volume_header`."""
    segments = {
        int(value): Segment(one["name"], tuple(one["colour"]), one["terminology"])
        for value, one in header["segments"].items()
    }
    return Volume(voxels, **{**header, "segments": segments, "notes": tuple(header["notes"])})


def pack_volume(volume: Volume) -> Message:
    """A volume as a message."""
    return Message({"volume": volume_header(volume)}, {"voxels": volume.voxels})


def unpack_volume(message: Message) -> Volume:
    """The inverse of `pack_volume`."""
    return volume_from(message.header["volume"], message.arrays["voxels"])


def pack_support(support: Support) -> Message:
    """A support as a message: its slices, and of the volume they come from the thin copy."""
    header = {
        "image": volume_header(support.volume),
        "labels": volume_header(support.labels),
        "axis": support.axis,
        "slices": support.slices,
        "drawn": {str(label): indices for label, indices in support.drawn.items()},
        "count": support.count,
        "intensity": asdict(support.intensity),
        "standard": asdict(support.standard) if support.standard else None,
        "field": asdict(support.field),
        "overview": None,
    }
    arrays = {"image": support.volume.voxels, "labels": support.labels.voxels}
    if (thin := support.overview) is not None:
        header["overview"] = {"shape": thin.shape, "spacing": thin.spacing}
        arrays["overview"] = thin.grey
    return Message(header, arrays)


def unpack_support(message: Message) -> Support:
    """The inverse of `pack_support`."""
    header, field = message.header, message.header["field"]
    thin = header["overview"]
    return Support(
        volume=volume_from(header["image"], message.arrays["image"]),
        labels=volume_from(header["labels"], message.arrays["labels"]),
        axis=header["axis"],
        slices=tuple(header["slices"]),
        drawn={int(label): tuple(indices) for label, indices in header["drawn"].items()},
        count=header["count"],
        intensity=IntensityRange(**header["intensity"]),
        standard=Standard(**header["standard"]) if header["standard"] else None,
        field=FieldOfView(tuple(field["centre_mm"]), field["side_mm"]),
        overview=thin and Overview(
            message.arrays["overview"], tuple(thin["shape"]), tuple(thin["spacing"])
        ),
    )


def pack_prompts(prompts: Mapping[int, PointPrompts]) -> Header:
    """Points by label, ready for JSON."""
    return {str(label): points.to_json() for label, points in prompts.items()}


def unpack_prompts(header: Header) -> dict[int, PointPrompts]:
    """The inverse of `pack_prompts`."""
    return {int(label): PointPrompts.from_json(points) for label, points in header.items()}


def pack_preview(preview: SlicePreview) -> Message:
    """A slice's labels and results as a message."""
    header = {
        "axis": preview.axis,
        "index": preview.index,
        "results": _results(preview.results),
    }
    return Message(header, {"labels": preview.labels})


def unpack_preview(message: Message) -> SlicePreview:
    """The inverse of `pack_preview`."""
    header = message.header
    return SlicePreview(
        header["axis"], header["index"], message.arrays["labels"],
        _results_from(header["results"]),
    )


def pack_answer(answer: SliceAnswer) -> Message:
    """One slice on its own as a message."""
    preview = pack_preview(answer.preview)
    maps = {f"confidence {label}": one for label, one in answer.confidence.items()}
    return Message(
        {**preview.header, "prompts": pack_prompts(answer.prompts)}, {**preview.arrays, **maps}
    )


def unpack_answer(message: Message) -> SliceAnswer:
    """The inverse of `pack_answer`."""
    maps = {
        int(name.removeprefix("confidence ")): one
        for name, one in message.arrays.items()
        if name.startswith("confidence ")
    }
    return SliceAnswer(
        unpack_preview(message), unpack_prompts(message.header["prompts"]), maps
    )


def pack_result(result: VolumeResult) -> Message:
    """The segmentation of a volume as a message."""
    header = {
        "labels": volume_header(result.labels),
        "slices": _results(result.slices),
        "names": {str(label): name for label, name in result.names.items()},
        "seconds": dict(result.seconds),
        "model": asdict(result.model),
        "device": result.device,
        "axis": result.axis,
        "method": result.method,
        "strategy": result.strategy,
        "features": asdict(result.features) if result.features else None,
        "fob": asdict(result.fob) if result.fob else None,
        "notes": result.notes,
        "structures": [asdict(one) for one in result.structures],
    }
    return Message(header, {"labels": result.labels.voxels})


def unpack_result(message: Message) -> VolumeResult:
    """The inverse of `pack_result`."""
    header = message.header
    features, fob = header["features"], header["fob"]
    return VolumeResult(
        labels=volume_from(header["labels"], message.arrays["labels"]),
        slices=_results_from(header["slices"]),
        names={int(label): name for label, name in header["names"].items()},
        seconds=header["seconds"],
        model=ModelCard(**header["model"]),
        device=header["device"],
        axis=header["axis"],
        method=header["method"],
        strategy=header["strategy"],
        features=ModelCard(**features) if features else None,
        fob=ModelCard(**fob) if fob else None,
        notes=tuple(header["notes"]),
        structures=tuple(StructureResult(**one) for one in header["structures"]),
    )


def pack_example(image: Volume, marked: Volume) -> Message:
    """A volume and the labels of its marked slice as a message."""
    header = {"image": volume_header(image), "marked": volume_header(marked)}
    return Message(header, {"image": image.voxels, "marked": marked.voxels})


def unpack_example(message: Message) -> tuple[Volume, Volume]:
    """The inverse of `pack_example`."""
    header, arrays = message.header, message.arrays
    return tuple(volume_from(header[name], arrays[name]) for name in ("image", "marked"))


def _results(results: Iterable[SliceResult]) -> list[Header]:
    return [
        {
            "index": int(r.index),
            "label": int(r.label),
            "prompts": None if r.prompts is None else r.prompts.to_json(),
            "score": float(r.score),
            "present": bool(r.present),
            "area_mm2": float(r.area_mm2),
            "source": r.source,
        }
        for r in results
    ]


def _results_from(rows: Iterable[Header]) -> tuple[SliceResult, ...]:
    return tuple(
        SliceResult(**{
            **row,
            "prompts": None if row["prompts"] is None else PointPrompts.from_json(row["prompts"]),
        })
        for row in rows
    )
