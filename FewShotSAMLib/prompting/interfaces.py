"""The interface behind which every prompt method stands.

A *prompt method* turns marked slices into prompts for other slices. It keeps something of each
marked slice, and of each slice that was just segmented; from that it says of other slices how
much they look like the structure, and which points to give to the promptable model. What it keeps
is its own affair: everything outside passes it on and never looks inside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from ..data.frames import SliceFrame
from ..data.intensity import IntensityRange
from ..data.standard import Standard
from ..models.card import ModelCard
from ..models.interfaces import PromptableModel
from .encoded_slices import EncodedSlices
from .mask_parameters import MaskParameters
from .point_prompts import PointPrompts

# Whatever a method keeps of one slice with a mask; only that method knows what is in it.
Kept: TypeAlias = Any


@dataclass(frozen=True, eq=False)
class SliceSpace:
    """The slices of one volume, the query's or a support's, as a method works on them.

    Attributes:
        modality: of the query, "CT", "MR", "RGB" or "other".
        roi: slice pixels to the region of interest, the square of R x R that maps, prompts and
            masks are worked in.
        intensity: what becomes black and white.
        standard: gives the volume's z-score; it is measured when first asked for.
        device: where tensors lie.
        seed: of every random choice.
    """

    modality: str
    roi: SliceFrame
    intensity: IntensityRange
    standard: Callable[[], Standard]
    device: torch.device
    seed: int = 0

    @cached_property
    def valid(self) -> Tensor:
        """bool (R, R): pixels of the region of interest that lie in the slice."""
        whole = torch.ones(1, *self.roi.shape, device=self.device)
        return self.roi.masks_to_model(whole)[0, 0] > 0.5


@dataclass(frozen=True, eq=False)
class Near:
    """What is known of a structure's place, from the neighbouring slice or from its body's plan.

    Attributes:
        place: bool (R, R) or (N, R, R), where the structure can be.
        kept: what the method kept of the neighbouring slice (`PromptMethod.remember`), or None.
        share: its weight beside the marked slices', 0 to 1.
    """

    place: Tensor
    kept: Kept | None = None
    share: float = 0.0


@dataclass(frozen=True, eq=False)
class Question:
    """One structure in N slices, as `PromptMethod.propose` is asked for it."""

    encoded: EncodedSlices
    kept: Sequence[Kept]
    near: Near | None = None


@dataclass(frozen=True, eq=False)
class Proposal:
    """What a method says of one structure in N slices.

    Attributes:
        confidence: (N, R, R), how much each pixel looks like the structure, on the scale of raw
            cosines (models with `uses_confidence` read it).
        prompts: N sets of points, in pixels of the region of interest.
        affinity: (N,), how much each slice looks as if it held the structure: 0 as the support's
            background, 1 as its foreground.
    """

    confidence: Tensor
    prompts: list[PointPrompts]
    affinity: Tensor


@runtime_checkable
class PromptMethod(Protocol):
    """Marked slices to prompts, on the slices of one volume.

    Attributes:
        masks: how masks from its prompts are decoded and refined.
        card: what reports say of a network of its own, or None.
    """

    masks: MaskParameters
    card: ModelCard | None

    def encode(self, encoded: EncodedSlices, stored: np.ndarray) -> EncodedSlices:
        """The same N slices with what the method reads besides, as `extra`.

        Args:
            encoded: by the promptable model and the feature encoder.
            stored: (N, H, W[, 3]) stored values of the slices.
        """
        ...

    def prepare(self, encoded: EncodedSlices, mask: np.ndarray, cover: Tensor) -> Kept:
        """What the method keeps of one marked slice.

        Args:
            encoded: that slice alone.
            mask: (H, W) bool, what was drawn.
            cover: (R, R), 0 to 1, the same over the region of interest; not all 0.
        """
        ...

    def remember(self, encoded: EncodedSlices, logits: Tensor) -> Kept:
        """The same of a slice that was just segmented.

        Args:
            encoded: that slice alone.
            logits: (R, R), positive inside, not all negative.
        """
        ...

    def propose(
        self, encoded: EncodedSlices, kept: Sequence[Kept], near: Near | None = None
    ) -> Proposal:
        """Confidence map and points of one structure in N slices.

        A slice's proposal does not depend on the others in the batch.

        Args:
            encoded: the N slices.
            kept: of the structure's marked slices, at least one.
            near: what the neighbouring slice says, where the structure is being followed.
        """
        ...


@runtime_checkable
class BatchedMethod(Protocol):
    """A `PromptMethod` that is quicker with several structures together than one by one."""

    def propose_all(self, questions: Sequence[Question]) -> list[Proposal]:
        """What `propose` says to each question; no answer depends on the other questions."""
        ...


@dataclass(frozen=True)
class MethodSettings:
    """What a method may load its networks with.

    Attributes:
        model: the promptable model, loaded.
        device, precision: where and how networks compute.
        preset: name of the preset or model; a preset may bring weights for a trained method.
        weights: those the user asked for, or None.
        tell: called with one sentence when something is to be known.
    """

    model: PromptableModel
    device: torch.device
    precision: str = "auto"
    preset: str = ""
    weights: str | None = None
    tell: Callable[[str], None] | None = None


# Makes a loaded method ready for the slices of one volume.
MethodBuilder: TypeAlias = Callable[[SliceSpace], PromptMethod]


class SliceView(Protocol):
    """What a promptable model sees of slices, where that is not the body's square in grey."""

    def frame(
        self, shape: tuple[int, int], spacing: tuple[float, float], size: int
    ) -> SliceFrame:
        """From slices (H, W) of (dx, dy) mm to squares of `size` pixels."""
        ...

    def pictures(
        self, stored: np.ndarray, frame: SliceFrame, standard: Standard, device: torch.device
    ) -> Tensor:
        """(N, H, W[, 3]) stored values -> (N, 3, S, S) in [0, 1]."""
        ...


@runtime_checkable
class ViewingBuilder(Protocol):
    """A `MethodBuilder` whose method was made with a view of its own."""

    def view(self, modality: str) -> SliceView | None:
        """The view of images of a modality; None for the body's square."""
        ...
