"""Method "auto": SynPo and FoB together, by the rule of `prompting.fusion`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from ...models.fob import FobModel
from ...models.interfaces import PromptableModel
from ..encoded_slices import EncodedSlices
from ..fusion import joined_maps, with_background
from ..interfaces import MethodBuilder, MethodSettings, Near, Proposal, Question, SliceSpace
from ..mask_parameters import MaskParameters
from .fob import FobKept, FobMethod, choose, guiding


def load(settings: MethodSettings) -> MethodBuilder:
    """FoB's weights are read when a volume's modality is known."""
    choice = choose(settings)
    return lambda space: FusionMethod(choice.for_modality(space.modality), settings.model, space)


class FusionMethod:
    """Both methods on the slices of one volume.

    Args:
        network: FoB's, for the modality.
        model: the promptable model.
        space: the slices.
    """

    def __init__(self, network: FobModel, model: PromptableModel, space: SliceSpace) -> None:
        self.fob = FobMethod(network, model, space)
        self.synpo = self.fob.guide
        self.card = self.fob.card
        # A model that reads the joined map loses by the refinement (Testing/Accuracy/fusion.py).
        self.masks = MaskParameters(refine=not model.uses_confidence)

    def encode(self, encoded: EncodedSlices, stored: np.ndarray) -> EncodedSlices:
        """With FoB's features and thresholds."""
        return self.fob.encode(encoded, stored)

    def prepare(self, encoded: EncodedSlices, mask: np.ndarray, cover: Tensor) -> FobKept:
        """What both keep of a marked slice."""
        return self.fob.prepare(encoded, mask, cover)

    def remember(self, encoded: EncodedSlices, logits: Tensor) -> FobKept:
        """What both keep of a mask that was found."""
        return self.fob.remember(encoded, logits)

    def propose(
        self, encoded: EncodedSlices, kept: Sequence[FobKept], near: Near | None = None
    ) -> Proposal:
        """The joined map, SynPo's positives from it, and FoB's negatives."""
        return self.propose_all([Question(encoded, kept, near)])[0]

    def propose_all(self, questions: Sequence[Question]) -> list[Proposal]:
        """The same of several structures, with one k-means for all of them."""
        looks, answers = zip(*(self.fob.look(asked) for asked in questions), strict=True)
        joined = [
            replace(look, confidence=joined_maps(look.confidence, answer.alike))
            for look, answer in zip(looks, answers, strict=True)
        ]
        proposals = self.synpo.points(joined, [guiding(asked.near) for asked in questions])
        return [
            with_background(proposal, answer.prompts, look.supports)
            for proposal, answer, look in zip(proposals, answers, looks, strict=True)
        ]
