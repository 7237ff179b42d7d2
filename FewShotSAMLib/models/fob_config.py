"""Sizes and variants of a FoB network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MODALITIES = ("CT", "MR", "any")


@dataclass(frozen=True)
class FobConfig:
    """Sizes and variants of a FoB network, stored with weights trained here.

    Attributes:
        backbone: "resnet101" (published), or "embedded": the embedded model's pyramid, frozen,
            with a small adapter.
        channels: C of the features; with "embedded" at least as many as the similarity features
            have, which they begin as.
        points: K background prompts.
        grid: cells a side of the feature map.
        image_size: S, pixels a side of pictures, masks, maps and points.
        key_stride: side of the blocks of cells that are averaged into one key and value of the
            context's attention; 1 as published.
        neck: blocks that look around each place, with the cosine to the foreground in view,
            before the attention; 0 as published.
        pyramid: channels of the embedded model's maps that the adapter reads, "embedded" only;
            the last two are the similarity features.
        refinement: "official", as published: the sampler is fed pixel coordinates, prototypes
            in sorted order are paired with unsorted points, and nothing reaches these weights in
            training. "repaired": normalised coordinates, one order, gradients. "none": points
            stay where the heat maps found them. Repaired, it learns to move points towards the
            mean of where they might be, which is nearer to the structure and often inside of it
            (Testing/Accuracy/fob_refinement.py); published, it hardly moves them.
        framing: what a picture shows: "published", the pixels of the files that the published
            networks were trained on (`data.published_frame`); "slice", the whole slice stretched
            to the square; or "body", the square around the body that the promptable model sees.
        rows: "anterior first", upright, or "posterior first", as the published networks saw axial
            slices: their loader takes NIfTI files as they are stored, and never turns them.
        modality: "CT", "MR" or "any", what the weights were trained on.
    """

    backbone: Literal["resnet101", "embedded"] = "resnet101"
    channels: int = 512
    points: int = 10
    grid: int = 64
    image_size: int = 256
    key_stride: int = 1
    neck: int = 0
    pyramid: tuple[int, ...] = ()
    refinement: Literal["official", "repaired", "none"] = "official"
    framing: Literal["slice", "body", "published"] = "slice"
    rows: Literal["anterior first", "posterior first"] = "anterior first"
    modality: str = "any"

    def __post_init__(self) -> None:
        for name, known in (
            ("backbone", ("resnet101", "embedded")),
            ("refinement", ("official", "repaired", "none")),
            ("framing", ("slice", "body", "published")),
            ("rows", ("anterior first", "posterior first")),
            ("modality", MODALITIES),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, "
                                 f"not {getattr(self, name)!r}")
        turned = self.rows == "posterior first" or self.framing == "published"
        if self.backbone == "embedded" and turned:
            raise ValueError("backbone embedded reads what the promptable model sees: upright, and "
                             "not framing published")
        similarity = sum(self.pyramid[-2:])
        if self.backbone == "embedded" and self.channels < similarity:
            raise ValueError(f"channels must be at least {similarity}, as many as the last two of "
                             f"pyramid have together, not {self.channels}")


def published_config(modality: str = "any") -> FobConfig:
    """What the published checkpoints are.

    CHAOS's rows run from posterior to anterior in their files, and so do those of Synapse's
    (its preparation keeps the order of the raw NIfTI files).
    """
    return FobConfig(modality=modality, framing="published", rows="posterior first")
