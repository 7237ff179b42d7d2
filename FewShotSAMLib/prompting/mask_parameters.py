"""How masks are decoded from prompts, and refined."""

from __future__ import annotations

from dataclasses import dataclass

ROI_SIZE = 256  # side of the region of interest that maps, points and masks are worked in


@dataclass(frozen=True)
class MaskParameters:
    """Constants of decoding and of the noise-aware refinement (SynPo's NRM).

    Attributes:
        mask_index: which of SAM's three masks to take: 0 for volumes, 1 for skin pictures. SAM's
            own score is a bad judge here and is never asked.
        refine: whether masks of slices on their own are refined.
        minimum_component_area: pixels of the ROI; smaller components cannot win.
        minimum_component_share: the same as a share of the largest component's area.
        outside_logit: value of the mask prompt outside the kept component.

    Raises ValueError for a negative area.
    """

    mask_index: int = 0
    refine: bool = True
    minimum_component_area: int = 16
    minimum_component_share: float = 0.1
    outside_logit: float = -10.0

    def __post_init__(self) -> None:
        if self.minimum_component_area < 0:
            raise ValueError("minimum_component_area cannot be below 0")
