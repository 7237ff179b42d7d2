"""A report of one segmentation: a single HTML file with its pictures inside."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, Template
from PIL import Image

from ...data.volume import Segment, Volume
from ...models.interfaces import ModelCard
from ...segmentation.results import SliceResult, VolumeResult
from ...version import __version__
from ..option_names import in_options
from .pictures import Stack, contact_sheet, tile
from .review_need import DOUBTFUL, NOT_FOUND
from .summary import label_volumes

THUMBNAIL = 240  # pixels


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
    rows = label_volumes(result)
    return template("report.html").render(
        title=f"Segmentation of {image.name or 'volume'}",
        facts=f"{_size(image)}, {image.modality}, {result.axis} slices",
        warnings=_warnings(image, result, rows),
        tiles=_tiles(image, result, truth, rows),
        labels=rows,
        colours=colours,
        dice=dice,
        strips=[(s.name, _bars(result, label, colours[label])) for label, s in segments.items()],
        provenance=_provenance(result),
    )


def _size(image: Volume) -> str:
    size = " × ".join(map(str, image.size))
    return f"{size} voxels of {' × '.join(f'{s:.4g}' for s in image.spacing)} mm"


def _warnings(
    image: Volume, result: VolumeResult, rows: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """What a person has to know before anything else, the worst first."""
    missing = [row["name"] for row in rows if row["state"] == NOT_FOUND]
    doubtful = [row for row in rows if row["state"] == DOUBTFUL]
    said = [{"bad": True, "says": f"Not found: {', '.join(missing)}."}] if missing else []
    said += [
        {"says": f"Doubtful: {row['name']} (confidence {row['confidence']:.2f})."}
        for row in sorted(doubtful, key=lambda row: row["confidence"])
    ]
    notes = [in_options(note) for note in result.notes]
    notes = notes or [f"{note[:1].upper()}{note[1:]}." for note in image.notes]
    return said + [{"says": note} for note in notes]


def _tiles(
    image: Volume, result: VolumeResult, truth: Volume | None, rows: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Every slice that carries a label or was marked, with its picture."""
    stack, marked = _stack(image, result, truth)
    doubtful: dict[int, list[str]] = {}
    for row in rows:
        for index in row["look_at"]:
            doubtful.setdefault(index, []).append(row["name"])
    chosen = stack.carrying([*marked, *doubtful])
    window = stack.window()
    return [_tile(stack, place, window, marked, doubtful) for place in chosen]


def _tile(
    stack: Stack,
    place: int,
    window: tuple[slice, slice],
    marked: Sequence[int],
    doubtful: Mapping[int, Sequence[str]],
) -> dict[str, Any]:
    number = stack.numbers[place]
    picture = tile(stack, place, *window, marked)
    names = ", ".join(doubtful.get(number, ()))
    return {
        "number": number,
        "doubtful": bool(names),
        "says": f"slice {number}" + (f", in doubt: {names}" if names else ""),
        "width": picture.width,
        "height": picture.height,
        "picture": jpeg_base64(picture),
    }


def thumbnail(image: Volume, result: VolumeResult) -> str:
    """The slice with most of what was found, as a small JPEG in base64."""
    stack, marked = _stack(image, result, None)
    fullest = int((stack.labels > 0).sum(axis=(1, 2)).argmax())
    picture = tile(stack, fullest, *stack.window(), marked)
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    return jpeg_base64(picture)


def jpeg_base64(picture: Image.Image) -> str:
    """A picture for a data address."""
    file = io.BytesIO()
    picture.save(file, format="JPEG", quality=82)
    return base64.b64encode(file.getvalue()).decode("ascii")


def template(name: str) -> Template:
    """One of the pages in this folder."""
    loader = FileSystemLoader(Path(__file__).parent, encoding="utf-8")
    environment = Environment(
        loader=loader, autoescape=True, trim_blocks=True, keep_trailing_newline=True
    )
    return environment.get_template(name)


def sheet(image: Volume, result: VolumeResult, truth: Volume | None = None) -> Image.Image:
    """A contact sheet of at most 16 slices of a result."""
    stack, marked = _stack(image, result, truth)
    return contact_sheet(stack, stack.chosen(16, marked), marked)


def _stack(image: Volume, result: VolumeResult, truth: Volume | None) -> tuple[Stack, list[int]]:
    """The slices, and the numbers of those that a person drew on."""
    marked = sorted({s.index for s in result.slices if s.source == "support"})
    segments = {label: _segment(result, label) for label in sorted(result.names)}
    return Stack.of(image, result.labels, result.axis, segments, truth), marked


def _segment(result: VolumeResult, label: int) -> Segment:
    return result.labels.segments.get(label, Segment(result.names[label], (0.5, 0.5, 0.5)))


def _css_colour(segment: Segment) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in segment.colour)


def _bars(result: VolumeResult, label: int, colour: str) -> list[dict[str, Any]]:
    slices = sorted((s for s in result.slices if s.label == label), key=lambda s: s.index)
    return [_bar(one, colour) for one in slices]


def _bar(found: SliceResult, colour: str) -> dict[str, Any]:
    """Slice, height in [0, 1], colour and tooltip of a slice's bar."""
    if not found.present:
        says = f"slice {found.index}: not found"
        return {"index": found.index, "height": 0.06, "colour": "#c9d1da", "says": says}
    score = min(max(float(found.score), 0.0), 1.0) if found.score == found.score else 0.0
    says = f"score {score:.2f}, {found.area_mm2 / 100:.1f} cm², {found.source}"
    return {
        "index": found.index,
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
