"""Coloured pictures as labels: one colour a structure, with transparency and palettes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from .errors import InputError
from .label_values import whole_numbers
from .volume import Segment, Volume

MOST_COLOURS = 64
# A colour with fewer pixels than this share of the commonest one may be an edge.
_EDGE_SHARE = 0.25
_EDGE_COLOURS = 6


def colour_labels(picture: Volume, known: Mapping[int, Segment] | None = None) -> Volume:
    """An RGB picture's colours as labels 1, 2, ... in the order of (R, G, B); black is 0.

    Colours of ``known`` segments take their values, other colours the free ones. Soft edges of one
    colour are cut at half.

    Raises:
        InputError: there are too many colours for a mask.
    """
    full = np.iinfo(picture.voxels.dtype).max
    places = {_code(segment.colour, full): value for value, segment in (known or {}).items()}
    pixels, note = _without_soft_edges(picture.voxels, places, full)
    codes = _codes(pixels)
    colours = [int(code) for code in np.unique(codes) if code]
    if len(colours) > MOST_COLOURS:
        raise InputError(
            f"{picture.name or 'picture'}: has {len(colours)} colours, so it is no mask; "
            "draw each structure in one flat colour on black"
        )
    free = (n for n in range(1, 65536) if n not in places.values())
    voxels = np.zeros(codes.shape, np.uint16)
    segments = {}
    for code in colours:
        value = places.get(code) or next(free)
        voxels[codes == code] = value
        if code not in places:
            segments[value] = _segment(_parts(code), full)
    return replace(
        picture, voxels=whole_numbers(voxels, picture.name), modality="other", segments=segments,
        notes=(*picture.notes, *((note,) if note else ())),
    )  # fmt: skip


def palette_labels(
    indices: np.ndarray, palette: np.ndarray, transparent: frozenset[int], grid: Volume
) -> Volume | None:
    """Labels of a picture with a palette: its indices, 0 and transparent ones being background.

    None where black is another index than 0 (a program sorted the colours its own way), so that
    the colours count, not their numbers.

    Args:
        indices: (1, H, W), uint8.
        palette: (N, 3), 0 to 255.
    """
    used = [int(n) for n in np.unique(indices) if n not in transparent]
    colours = {n: tuple(palette[n]) if n < len(palette) else (0, 0, 0) for n in used}
    if any(n and not any(colours[n]) for n in used) or (0 in used and len(used) > 1 and (
        any(colours[0]) and any(not any(c) for c in colours.values())
    )):
        return None
    voxels = np.where(np.isin(indices, used), indices, 0).astype(np.uint8)
    segments = {n: _segment(colours[n], 255) for n in used if n}
    return grid.with_voxels(voxels, modality="other", segments=segments)


def _without_soft_edges(
    pixels: np.ndarray, known: Mapping[int, int], full: int
) -> tuple[np.ndarray, str | None]:
    """The pixels cut at half where all colours are shades of one, and a note."""
    codes = _codes(pixels)
    found, counts = np.unique(codes[codes > 0], return_counts=True)
    if len(found) <= _EDGE_COLOURS or any(int(code) in known for code in found):
        return pixels, None
    main = np.array(_parts(int(found[np.argmax(counts)])), dtype=float)
    colours = np.array([_parts(int(code)) for code in found], dtype=float)
    share = colours @ main / (main @ main)
    apart = np.abs(colours - share[:, None] * main).max(axis=1)
    few = counts < _EDGE_SHARE * counts.max()
    others = (share < 0.98) | (share > 1.02)
    if apart.max() > 0.03 * full or not few[others].all():
        return pixels, None
    inside = pixels @ main / (main @ main) > 0.5
    cut = np.where(inside[..., None], main.astype(pixels.dtype), 0)
    return cut, f"its edges are soft ({len(found)} shades of one colour); it is cut at half"


def _codes(pixels: np.ndarray) -> np.ndarray:
    wide = pixels.astype(np.int64)
    return (wide[..., 0] << 32) | (wide[..., 1] << 16) | wide[..., 2]


def _parts(code: int) -> tuple[int, int, int]:
    return code >> 32, code >> 16 & 0xFFFF, code & 0xFFFF


def _code(colour: tuple[float, float, float], full: int) -> int:
    red, green, blue = (round(part * full) for part in colour)
    return (red << 32) | (green << 16) | blue


def _segment(parts: tuple[int, int, int], full: int) -> Segment:
    bytes_ = [round(int(part) * 255 / full) for part in parts]
    name = "#{:02x}{:02x}{:02x}".format(*bytes_)
    return Segment(name, tuple(int(part) / full for part in parts))
