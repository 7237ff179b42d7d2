"""A report of one segmentation: a single HTML file with its pictures inside."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, Template
from PIL import Image

from ...data.volume import Segment, Volume
from ...models.interfaces import ModelCard
from ...segmentation.results import SliceResult, VolumeResult
from ...version import __version__
from ..option_names import in_options
from .pictures import Stack, contact_sheet
from .summary import doubts, label_volumes


def report_html(
    image: Volume,
    result: VolumeResult,
    truth: Volume | None = None,
    dice: Mapping[int, float] | None = None,
) -> str:
    """The page.

    Args:
        image: what was segmented.
        result: on the image's grid.
        truth: known labels on the same grid, outlined as well.
        dice: label -> overlap with the truth.
    """
    segments = {label: _segment(result, label) for label in sorted(result.names)}
    colours = {label: _css_colour(segment) for label, segment in segments.items()}
    return _template().render(
        title=f"Segmentation of {image.name or 'volume'}",
        facts=f"{_size(image)}, {image.modality}, {result.axis} slices",
        doubts=doubts(result),
        notes=[in_options(note) for note in result.notes],
        picture=_as_base64(sheet(image, result, truth)),
        labels=label_volumes(result),
        colours=colours,
        dice=dice,
        strips=[(s.name, _bars(result, label, colours[label])) for label, s in segments.items()],
        provenance=_provenance(result),
    )


def _size(image: Volume) -> str:
    size = " × ".join(map(str, image.size))
    return f"{size} voxels of {' × '.join(f'{s:.4g}' for s in image.spacing)} mm"


def _as_base64(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, format="PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode("ascii")


def _template() -> Template:
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader, autoescape=True, trim_blocks=True, keep_trailing_newline=True
    )
    return environment.get_template("report.html")


def sheet(image: Volume, result: VolumeResult, truth: Volume | None = None) -> Image.Image:
    """A contact sheet of at most 16 slices of a result."""
    marked = sorted({s.index for s in result.slices if s.source == "support"})
    segments = {label: _segment(result, label) for label in sorted(result.names)}
    stack = Stack.of(image, result.labels, result.axis, segments, truth)
    return contact_sheet(stack, stack.chosen(16, marked), marked)


def _segment(result: VolumeResult, label: int) -> Segment:
    return result.labels.segments.get(label, Segment(result.names[label], (0.5, 0.5, 0.5)))


def _css_colour(segment: Segment) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in segment.colour)


def _bars(result: VolumeResult, label: int, colour: str) -> list[dict[str, Any]]:
    slices = sorted((s for s in result.slices if s.label == label), key=lambda s: s.index)
    return [_bar(one, colour) for one in slices]


def _bar(found: SliceResult, colour: str) -> dict[str, Any]:
    """Height in [0, 1], colour and tooltip of a slice's bar."""
    if not found.present:
        says = f"slice {found.index}: not found"
        return {"height": 0.06, "colour": "#c9d1da", "says": says}
    score = min(max(float(found.score), 0.0), 1.0) if found.score == found.score else 0.0
    says = f"score {score:.2f}, {found.area_mm2 / 100:.1f} cm², {found.source}"
    return {
        "height": max(score, 0.06),
        "colour": "#f2c230" if found.source == "support" else colour,
        "says": f"slice {found.index}: {says}",
    }


def _weights(card: ModelCard) -> str:
    return f"{card.name}, {card.weights or 'no file'}, SHA-256 {card.sha256 or 'none'}"


def _provenance(result: VolumeResult) -> dict[str, str]:
    return {
        "program": f"FewShotSAM {__version__}",
        "method": f"{result.method}, {result.strategy}",
        "model": _weights(result.model),
        "features": _weights(result.features) if result.features else "the model's own",
        "device": result.device,
        "seconds": ", ".join(f"{stage} {t:.1f}" for stage, t in result.seconds.items()),
    }
