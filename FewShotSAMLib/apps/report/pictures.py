"""Slices with the outlines of labels, side by side on one sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from ...data.intensity import intensity_range, normalise
from ...data.slicing import GRID_AXIS, extract_slices, slice_spacing
from ...data.volume import Segment, Volume

TILE_WIDTH = 300
MARGIN = 6


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices of an image and of labels on its grid, as they are shown.

    Attributes:
        grey: float32 (S, H, W[, 3]) in [0, 1].
        labels: integers (S, H, W).
        truth: integers (S, H, W), or None.
        numbers: of each slice, its index in the file.
        spacing: mm (dx, dy) of a slice's columns and rows.
        segments: names and colours of the labels.
    """

    grey: np.ndarray
    labels: np.ndarray
    truth: np.ndarray | None
    numbers: Sequence[int]
    spacing: tuple[float, float]
    segments: Mapping[int, Segment]

    @classmethod
    def of(
        cls,
        image: Volume,
        labels: Volume,
        axis: str,
        segments: Mapping[int, Segment],
        truth: Volume | None = None,
    ) -> Stack:
        """All slices along `axis`; the volumes are on one grid."""
        canonical, orientation = image.canonical()
        grey = extract_slices(normalise(canonical.voxels, intensity_range(image)), axis)
        grid_axis = GRID_AXIS[axis]

        def shown(volume: Volume) -> np.ndarray:
            return extract_slices(orientation.apply(volume.voxels), axis)

        return cls(
            grey=grey,
            labels=shown(labels),
            truth=None if truth is None else shown(truth),
            numbers=[orientation.canonical_index(grid_axis, n) for n in range(len(grey))],
            spacing=slice_spacing(canonical.spacing, axis)[:2],
            segments=segments,
        )

    def carrying(self, always: Sequence[int] = ()) -> list[int]:
        """Positions of all slices that carry a label (of all slices where none does), and of those
        that `always` names by their numbers."""
        full = self.labels.any(axis=(1, 2))
        if self.truth is not None:
            full |= self.truth.any(axis=(1, 2))
        there = np.flatnonzero(full) if full.any() else np.arange(len(self.labels))
        return sorted({*map(int, there), *self._positions(always)})

    def chosen(self, count: int, always: Sequence[int] = ()) -> list[int]:
        """At most `count` positions spread over the slices that carry a label.

        `always` names slices by number that are among them in any case.
        """
        there = self.carrying()
        fixed = self._positions(always)[:count]
        free = max(min(count, len(there)) - len(fixed), 0)
        spread = np.rint(np.linspace(0, len(there) - 1, free)).astype(int)
        return sorted({*fixed, *(there[place] for place in spread)})

    def _positions(self, numbers: Sequence[int]) -> list[int]:
        wanted = set(numbers)
        return [position for position, number in enumerate(self.numbers) if number in wanted]

    def window(self) -> tuple[slice, slice]:
        """Rows and columns around what is not dark, for all slices alike."""
        bright = self.grey.max(axis=0)
        bright = ndimage.uniform_filter(bright.max(axis=-1) if bright.ndim == 3 else bright, 5)
        inside = (bright > 0.08) | self.labels.any(axis=0)
        if not inside.any():
            return slice(None), slice(None)
        rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        return (
            slice(max(rows[0] - 4, 0), rows[-1] + 5),
            slice(max(columns[0] - 4, 0), columns[-1] + 5),
        )


def contact_sheet(
    stack: Stack, positions: Sequence[int], marked: Sequence[int] = (), columns: int = 4
) -> Image.Image:
    """One sheet of slices with outlines.

    Args:
        stack: the slices.
        positions: which of them.
        marked: numbers of the slices that a person drew on; their tiles are framed.
        columns: tiles in a row.

    Returns:
        RGB; results outlined in their segments' colours, the truth in dotted white.
    """
    rows, cols = stack.window()
    tiles = [tile(stack, position, rows, cols, marked) for position in positions]
    width, height = tiles[0].size
    columns = min(columns, len(tiles))
    lines = -(-len(tiles) // columns)
    legend = 30
    size = (
        columns * (width + MARGIN) + MARGIN,
        lines * (height + MARGIN) + MARGIN + legend,
    )
    sheet = Image.new("RGB", size, (16, 18, 22))
    for n, one in enumerate(tiles):
        line, column = divmod(n, columns)
        sheet.paste(one, (MARGIN + column * (width + MARGIN), MARGIN + line * (height + MARGIN)))
    _write_legend(sheet, stack, size[1] - legend)
    return sheet


def tile(
    stack: Stack, position: int, rows: slice, cols: slice, marked: Sequence[int]
) -> Image.Image:
    """One slice with outlines and its number, RGB, `TILE_WIDTH` wide in its true proportions.

    Args:
        position: of the slice in the stack; rows, cols: what of it is shown.
        marked: numbers of the slices that a person drew on.
    """
    grey = stack.grey[position][rows, cols]
    dx, dy = stack.spacing
    height = max(round(TILE_WIDTH * grey.shape[0] * dy / (grey.shape[1] * dx)), 24)
    size = (TILE_WIDTH, min(height, 3 * TILE_WIDTH))
    pixels = np.rint(255.0 * np.clip(grey, 0.0, 1.0) ** 0.85).astype(np.uint8)
    shown = Image.fromarray(pixels).convert("RGB").resize(size, Image.Resampling.BICUBIC)
    picture = np.array(shown)
    _draw_outlines(picture, stack, position, rows, cols)
    shown = Image.fromarray(picture)
    _write_number(shown, stack.numbers[position], stack.numbers[position] in marked)
    return shown


def _draw_outlines(
    picture: np.ndarray, stack: Stack, position: int, rows: slice, cols: slice
) -> None:
    """Into a picture (H, W, 3): the labels of a slice in their colours, the truth dotted."""
    size = picture.shape[1::-1]
    dots = np.add.outer(np.arange(size[1]), np.arange(size[0])) % 6 < 3
    for label, segment in stack.segments.items():
        if stack.truth is not None:
            edge = _outline(stack.truth[position][rows, cols] == label, size)
            picture[edge & dots] = 255
        edge = _outline(stack.labels[position][rows, cols] == label, size)
        picture[edge] = np.rint(255.0 * np.array(segment.colour)).astype(np.uint8)


def _write_number(tile: Image.Image, number: int, drawn: bool) -> None:
    """The slice's number in its corner, and a frame where a person drew."""
    draw = ImageDraw.Draw(tile)
    draw.text(
        (6, 4),
        f"slice {number}" + (", marked" if drawn else ""),
        fill=(255, 214, 90) if drawn else (225, 225, 225),
        font=ImageFont.load_default(14),
    )
    if drawn:
        corner = (tile.width - 1, tile.height - 1)
        draw.rectangle((0, 0, *corner), outline=(255, 214, 90), width=2)


def _outline(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The border, two pixels wide, of a mask (H, W) shown at `size` (width, height)."""
    if not mask.any():
        return np.zeros(size[::-1], bool)
    large = Image.fromarray(mask.astype(np.float32)).resize(size, Image.Resampling.BICUBIC)
    inside = np.asarray(large) > 0.5
    return inside & ~ndimage.binary_erosion(inside, iterations=2, border_value=0)


def _write_legend(sheet: Image.Image, stack: Stack, top: int) -> None:
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(14)
    x = MARGIN + 2
    for segment in stack.segments.values():
        colour = tuple(round(255 * part) for part in segment.colour)
        draw.rectangle((x, top + 8, x + 12, top + 20), fill=colour)
        draw.text((x + 18, top + 5), segment.name, fill=(225, 225, 225), font=font)
        x += 18 + int(draw.textlength(segment.name, font=font)) + 18
    if stack.truth is not None:
        draw.text((x, top + 5), "dotted: truth", fill=(225, 225, 225), font=font)
