"""What a person should know of a segmentation: how its inputs were read, and drawings too small for
the model to see."""

from __future__ import annotations

from collections.abc import Sequence

from ..data.reading_notes import reading_notes
from ..data.support import Support
from ..data.volume import Volume


def result_notes(volume: Volume, supports: Sequence[Support], pixels: int) -> tuple[str, ...]:
    """``reading_notes`` and ``small_drawing_notes`` together."""
    return (*reading_notes(volume, supports), *small_drawing_notes(supports, pixels))


def small_drawing_notes(supports: Sequence[Support], pixels: int) -> tuple[str, ...]:
    """One sentence on each structure whose drawings are all smaller than a pixel of the model's.

    Args:
        supports: as they are used.
        pixels: per side of the square that the model sees of a slice.
    """
    largest: dict[str, tuple[float, float]] = {}
    for support in supports:
        dx, dy, _ = support.spacing
        pixel = support.field.side_mm / pixels
        for label, name in support.names.items():
            places = list(support.positions_of(label))
            area = float(support.masks(label)[places].sum(axis=(1, 2)).max()) * dx * dy
            largest[name] = max(largest.get(name, (0.0, pixel)), (area, pixel))
    return tuple(
        f"{name}: what was drawn ({area:.2g} mm2) is smaller than a pixel of what the model sees "
        f"({pixel:.2g} mm), so that little will be found; draw more of it"
        for name, (area, pixel) in largest.items()
        if area < pixel**2
    )
