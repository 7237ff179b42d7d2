"""A report of one segmentation: a single HTML file with its pictures inside."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from html import escape

from PIL import Image

from ..data.volume import Segment, Volume
from ..models.interfaces import ModelCard
from ..segmentation.results import SliceResult, VolumeResult
from ..version import __version__
from .option_names import in_options
from .pictures import Stack, contact_sheet
from .summary import label_volumes

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #1c2530; background: #fff;
  max-width: 1280px; margin: 2em auto; padding: 0 1.2em; }}
h1 {{ font-size: 1.5em; }} h2 {{ font-size: 1.15em; margin-top: 1.8em; }}
img {{ max-width: 100%; border-radius: 4px; }}
table {{ border-collapse: collapse; }}
th, td {{ padding: .25em .9em; border-bottom: 1px solid #dde3ea; text-align: right; }}
th:nth-child(1), td:nth-child(1) {{ text-align: left; }}
.key {{ display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin-right: .5em; }}
svg {{ width: 100%; height: 46px; display: block; }}
.note {{ color: #5b6876; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p class="note">{facts}</p>
{notes}
<img alt="slices with outlines" src="data:image/png;base64,{picture}">
<h2>Labels</h2>
{table}
<h2>Confidence along the slices</h2>
<p class="note">One bar for each slice, as high as its score is, in the order of the file; yellow
where a person drew, grey where the structure was not found. Low bars are where to look first.</p>
{strips}
<h2>How it was made</h2>
{provenance}
<p class="note">For research. Not a medical device; every result needs a person's look.</p>
</body>
</html>
"""


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
    picture = io.BytesIO()
    sheet(image, result, truth).save(picture, format="PNG", optimize=True)
    name = image.name or "volume"
    size = " × ".join(map(str, image.size))
    spacing = " × ".join(f"{s:.4g}" for s in image.spacing)
    return _PAGE.format(
        title=f"Segmentation of {escape(name)}",
        facts=f"{size} voxels of {spacing} mm, {escape(image.modality)}, "
        f"{escape(result.axis)} slices",
        notes=_notes(result),
        picture=base64.b64encode(picture.getvalue()).decode("ascii"),
        table=_label_table(result, dice),
        strips="\n".join(_strip(result, label) for label in sorted(result.names)),
        provenance=_provenance(result),
    )


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


def _notes(result: VolumeResult) -> str:
    lines = "".join(f"<li>{escape(in_options(note))}</li>" for note in result.notes)
    return f"<ul>{lines}</ul>" if lines else ""


def _label_table(result: VolumeResult, dice: Mapping[int, float] | None) -> str:
    heads = ["structure", "label", "volume", "voxels", "slices", "mean score"]
    heads += ["Dice"] if dice else []
    lines = ["<tr>" + "".join(f"<th>{head}</th>" for head in heads) + "</tr>"]
    for row in label_volumes(result):
        key = f'<span class="key" style="background:{_css_colour(_segment(result, row["label"]))}">'
        cells = [
            f"{key}</span>{escape(row['name'])}",
            str(row["label"]),
            f"{row['volume_ml']:.1f} ml",
            f"{row['voxels']:,}",
            str(row["slices"]),
            f"{row['mean_score']:.2f}" if row["slices"] else "–",
        ]
        cells += [f"{dice[row['label']]:.3f}"] if dice else []
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return "<table>" + "\n".join(lines) + "</table>"


def _strip(result: VolumeResult, label: int) -> str:
    """One bar for each slice; a tooltip gives its numbers."""
    slices = sorted((s for s in result.slices if s.label == label), key=lambda s: s.index)
    segment = _segment(result, label)
    bars = "".join(_bar(n, s, _css_colour(segment)) for n, s in enumerate(slices))
    return (
        f"<div>{escape(segment.name)}"
        f'<svg viewBox="0 0 {max(len(slices), 1)} 1" preserveAspectRatio="none" role="img" '
        f'aria-label="confidence of {escape(segment.name)}">{bars}</svg></div>'
    )


def _bar(place: int, found: SliceResult, colour: str) -> str:
    score = min(max(float(found.score), 0.0), 1.0) if found.score == found.score else 0.0
    height = max(score, 0.06) if found.present else 0.06
    if not found.present:
        colour = "#c9d1da"
    elif found.source == "support":
        colour = "#f2c230"
    says = f"slice {found.index}: " + (
        f"score {score:.2f}, {found.area_mm2 / 100:.1f} cm², {found.source}"
        if found.present
        else "not found"
    )
    return (
        f'<rect x="{place + 0.06:.2f}" y="{1 - height:.3f}" width="0.88" height="{height:.3f}" '
        f'fill="{colour}"><title>{escape(says)}</title></rect>'
    )


def _weights(card: ModelCard) -> str:
    return f"{card.name}, {card.weights or 'no file'}, SHA-256 {card.sha256 or 'none'}"


def _provenance(result: VolumeResult) -> str:
    rows = {
        "program": f"FewShotSAM {__version__}",
        "method": f"{result.method}, {result.strategy}",
        "model": _weights(result.model),
        "features": _weights(result.features) if result.features else "the model's own",
        "device": result.device,
        "seconds": ", ".join(f"{stage} {t:.1f}" for stage, t in result.seconds.items()),
    }
    lines = [f"<tr><td>{key}</td><td>{escape(text)}</td></tr>" for key, text in rows.items()]
    return "<table>" + "\n".join(lines) + "</table>"
