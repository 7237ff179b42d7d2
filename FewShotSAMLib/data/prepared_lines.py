"""Which pixels of a slice stand in the prepared files that FoB's published networks saw.

The files were made from raw scans (Ouyang et al. 2020, whose preparation FoB took over). MR:
resampled to 1.25 mm and cut to 256 pixels around the middle, 320 mm. CT: 32 of 512 pixels cut off
at each side, the rest at every 1.75th pixel, 257 of them, which the network's loader brings to 256.
Nothing is stretched. A file that has been prepared already is taken as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

MR_PIXEL, MR_SIDE = 1.25, 256  # mm, pixels
CT_SIDE = 257  # pixels of a prepared file
_CT_SHARE = 448 / 512  # of the side of a raw slice that is kept


@dataclass(frozen=True)
class PreparedLine:
    """Pixels of a prepared file along one side of a slice.

    Attributes:
        start, step: the first one's place and their distance, in pixels of the slice.
        count: how many they are.
        dark: of these the last ones, which lie outside of what was kept of the raw slice.
    """

    start: float
    step: float
    count: int
    dark: int = 0


def is_prepared(shape: tuple[int, int], spacing: tuple[float, float], modality: str) -> bool:
    """Whether slices of shape (H, W) and (dx, dy) mm are those of a prepared file."""
    if modality == "CT":
        return tuple(shape) == (CT_SIDE, CT_SIDE)
    exact = all(abs(s - MR_PIXEL) < 0.005 for s in spacing)
    return tuple(shape) == (MR_SIDE, MR_SIDE) and exact


def prepared_lines(
    shape: tuple[int, int], spacing: tuple[float, float], modality: str
) -> tuple[PreparedLine, PreparedLine]:
    """Along x and along y, for slices of shape (H, W) and (dx, dy) mm; what is not CT counts as MR.

    A raw CT that has not 512 x 512 pixels keeps the same share of its longer side.
    """
    if is_prepared(shape, spacing, modality):
        return (PreparedLine(0.0, 1.0, shape[1]), PreparedLine(0.0, 1.0, shape[0]))
    sides = shape[::-1]
    if modality != "CT":
        return tuple(_mr_line(n, s) for n, s in zip(sides, spacing, strict=True))
    pixel = _CT_SHARE * max(n * s for n, s in zip(sides, spacing, strict=True)) / (CT_SIDE - 1)
    return tuple(
        PreparedLine(n / 2 - (CT_SIDE - 1) / 2 * pixel / s, pixel / s, CT_SIDE, 1)
        for n, s in zip(sides, spacing, strict=True)
    )


def _mr_line(count: int, spacing: float) -> PreparedLine:
    step = MR_PIXEL / spacing
    resampled = int(count * spacing / MR_PIXEL + 1)
    return PreparedLine((resampled // 2 - MR_SIDE // 2) * step, step, MR_SIDE)
