"""What decides whether a study is done: hashes of inputs, supports, settings and weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...data.support import Support
from ...data.volume import Volume
from ...models.fob_choice import FILE as SHIPPED_FOB
from ...prompting.registry import trained_methods
from ...weights.catalogue import EMBEDDED, catalogue
from ...weights.resources import models_folder, sha256_of
from ...weights.store import WeightStore
from .settings import BatchSettings
from .study import Study


def input_hash(files: Iterable[Path]) -> str:
    """SHA-256 of the contents of files, whatever their names and order."""
    return _joined(sorted(sha256_of(path) for path in files))


def support_hash(support: Support) -> str:
    """SHA-256 of a support: its voxels, drawing, names and geometry, however it was kept."""
    digest = hashlib.sha256()
    for volume in (support.volume, support.labels):
        digest.update(_text(_described(volume)))
        digest.update(np.ascontiguousarray(volume.voxels).tobytes())
    parts = (support.axis, support.slices, support.count, sorted(support.drawn.items()))
    measured = (support.intensity, support.field, support.standard)
    digest.update(_text([parts, [repr(one) for one in measured]]))
    return digest.hexdigest()


def weights_hashes(settings: BatchSettings) -> dict[str, str]:
    """SHA-256 by name of the weights that the settings load. Nothing is loaded here.

    Raises:
        InputError: weights are missing (the command that brings them is named).
    """
    preset = catalogue().presets.get(settings.model)
    names = {preset.model if preset else settings.model}
    names.add(settings.features or (preset.features if preset else "none"))
    hashes = {name: _hash_of(name, "embedded.safetensors") for name in names - {"none"}}
    if settings.method in trained_methods():
        offered = preset.prompts if preset and preset.prompts else (EMBEDDED,)
        for name in (settings.fob,) if settings.fob else offered:
            hashes[f"fob {name}"] = _hash_of(name, SHIPPED_FOB)
    return dict(sorted(hashes.items()))


def run_key(
    settings: BatchSettings, supports: Sequence[Support], weights: dict[str, str]
) -> str:
    """What all studies of a batch have in common."""
    return _joined([
        json.dumps(settings.of_result(), sort_keys=True),
        *sorted(support_hash(one) for one in supports),
        json.dumps(weights, sort_keys=True),
    ])  # fmt: skip


def study_key(run: str, study: Study, content: str) -> str:
    """What one result comes from: the batch's key, the image's content and its own supports."""
    own = sorted(sha256_of(path) for path in study.supports)
    mask = sha256_of(study.mask) if study.mask else ""
    return _joined([run, content, study.series, *own, mask])


def _hash_of(name: str, shipped: str) -> str:
    if name == EMBEDDED:
        return sha256_of(models_folder() / shipped)
    if name in catalogue().weights:
        store = WeightStore()
        # Of a preset's prompt generators, one for each modality, only one need be there.
        optional = shipped == SHIPPED_FOB and not store.is_present(name)
        return "missing" if optional else store.find(name).sha256
    return sha256_of(Path(name)) if Path(name).is_file() else name


def _described(volume: Volume) -> list[Any]:
    segments = [(n, s.name, s.colour, s.terminology) for n, s in sorted(volume.segments.items())]
    geometry = [volume.spacing, volume.origin, volume.direction.tolist()]
    return [volume.shape, str(volume.voxels.dtype), volume.modality, geometry, segments]


def _text(value: Any) -> bytes:
    return json.dumps(value, default=str).encode("utf-8")


def _joined(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode("utf-8")).hexdigest()
