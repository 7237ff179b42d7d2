"""What the panel's choices ask of the module's logic: as keyword arguments, and as a script."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .choices import Extent, Into, SupportSource
from .context import Context
from .script_text import Choices, changed_options, python_text
from .shown_slices import ShownSlices
from .state import slice_range

if TYPE_CHECKING:
    from .structures_list import StructuresList


class Request:
    """Reads the panel's parameters anew each time."""

    def __init__(self, context: Context, structures: StructuresList, shown: ShownSlices) -> None:
        self._context, self._structures, self._shown = context, structures, shown

    def networks(self) -> dict[str, str | None]:
        """Keyword arguments that say what has to be installed and loaded."""
        p = self._context.parameters
        return {
            "model": p.preset.value,
            "method": p.method.value,
            "fob": p.fobWeights or None if p.method.trained else None,
        }

    def options(self) -> dict[str, Any]:
        """Keyword arguments of the logic's `segment`, but for the range."""
        p, structures = self._context.parameters, self._structures
        every = len(structures.chosen) == len(structures.segments)
        return {
            "segment_ids": None if self.from_file or every else structures.chosen,
            **self.networks(),
            "strategy": p.strategy.value,
            "axis": p.axis.value,
            "device": p.device.value,
            "precision": p.precision.value,
            "seed": p.seed,
            "overwrite": p.overwrite.value,
        }

    def slice_options(self) -> dict[str, Any]:
        """Keyword arguments of the logic's `segment_slice`, for the direction that is shown."""
        options = {k: v for k, v in self.options().items() if k != "strategy"}
        return {**options, "axis": self._shown.axis()}

    def inputs(self) -> dict[str, Any]:
        """Support and output as the logic takes them."""
        p = self._context.parameters
        return {
            "support_segmentation": None if self.from_file else p.supportSegmentation,
            "supports": [Path(p.supportFile)] if self.from_file else (),
            "output_segmentation": p.output if p.into is Into.existing else None,
        }

    def range(self) -> tuple[int, int] | None:
        """The slices to segment, as the logic takes them."""
        p, count = self._context.parameters, self._shown.count()
        if p.extent is Extent.around:
            _axis, index, _view = self._shown.place()
            return max(index - p.aroundSlices, 0), min(index + p.aroundSlices, count - 1)
        if p.extent is Extent.between:
            return self._shown.marked
        return slice_range(p.firstSlice, p.lastSlice, count)

    def script(self, segment: inspect.Signature) -> str:
        """The same for Slicer's Python console.

        Args:
            segment: signature of the logic's `segment`, whose defaults need not be said.
        """
        p, inputs = self._context.parameters, self.inputs()
        drawn, output = inputs["support_segmentation"], inputs["output_segmentation"]
        defaults = {name: one.default for name, one in segment.parameters.items()}
        return python_text(
            Choices(
                volume=p.volume.GetName(),
                segmentation=drawn.GetName() if drawn else "",
                support_file=p.supportFile if inputs["supports"] else "",
                output=output.GetName() if output else "",
                options=changed_options({**self.options(), "range": self.range()}, defaults),
            )
        )

    @property
    def from_file(self) -> bool:
        """Whether what is marked comes from a saved support."""
        return self._context.parameters.supportSource is SupportSource.file
