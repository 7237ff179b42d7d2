"""Method "fob": a trained network puts points around the structure and into it.

Which marked slice speaks for a slice, and how much the slice looks like it, SynPo's maps say. A
slice on its own gets FoB's points, as published. Where a structure is followed from slice to slice
its positives come from SynPo's map near the neighbour's mask, and FoB puts the negatives around.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from ...models.fob import FobModel
from ...models.fob_choice import FobChoice
from ...models.interfaces import PromptableModel
from ..encoded_slices import EncodedSlices
from ..fob import FobSupport
from ..fob_slices import FobSliceAnswer, FobSlices
from ..fusion import with_background
from ..interfaces import MethodBuilder, MethodSettings, Near, Proposal, Question, SliceSpace
from ..mask_parameters import MaskParameters
from ..published_view import PublishedView
from ..support_choice import CombinedConfidence
from ..synpo import SynPoSupport
from .synpo import SynPoMethod


def load(settings: MethodSettings) -> MethodBuilder:
    """Weights are read when a volume's modality is known."""
    return FobBuilder(choose(settings), settings.model)


def choose(settings: MethodSettings) -> FobChoice:
    """The weights that go with these settings. Raises InputError for unknown ones."""
    return FobChoice(
        settings.preset, settings.weights, settings.model, settings.device,
        precision=settings.precision, tell=settings.tell,
    )


class FobBuilder:
    """Makes FoB ready for the slices of a volume.

    Args:
        choice: of the weights.
        model: the promptable model.
    """

    def __init__(self, choice: FobChoice, model: PromptableModel) -> None:
        self.choice, self.model = choice, model

    def __call__(self, space: SliceSpace) -> FobMethod:
        return FobMethod(self.choice.for_modality(space.modality), self.model, space)

    def view(self, modality: str) -> PublishedView | None:
        """How the promptable model sees slices: with published weights as it was published."""
        config = self.choice.for_modality(modality).config
        if config.framing != "published":
            return None
        return PublishedView(modality, config.rows == "posterior first")


@dataclass(frozen=True, eq=False)
class FobKept:
    """What SynPo and FoB keep of one slice with a mask."""

    synpo: SynPoSupport
    background: FobSupport


def guiding(near: Near | None) -> Near | None:
    """What the neighbour says, with SynPo's part alone of what was kept."""
    return near if near is None or near.kept is None else replace(near, kept=near.kept.synpo)


class FobMethod:
    """FoB on the slices of one volume, guided by SynPo's maps.

    Args:
        network: FoB's, for the modality.
        model: the promptable model, whose embeddings the small FoB reads where they fit.
        space: the slices.
    """

    masks = MaskParameters(refine=False)  # FoB's points go to SAM once, as published

    def __init__(self, network: FobModel, model: PromptableModel, space: SliceSpace) -> None:
        self.card = network.card
        self.guide = SynPoMethod(space)
        self.background = FobSlices(network, model, space)

    def encode(self, encoded: EncodedSlices, stored: np.ndarray) -> EncodedSlices:
        """With FoB's features and thresholds."""
        return self.background.encode(encoded, stored)

    def prepare(self, encoded: EncodedSlices, mask: np.ndarray, cover: Tensor) -> FobKept:
        """What SynPo keeps, and prototypes of the structure and of the ring around it."""
        return FobKept(
            self.guide.prepare(encoded, mask, cover), self.background.prepare(encoded, mask)
        )

    def remember(self, encoded: EncodedSlices, logits: Tensor) -> FobKept:
        """The same of a mask that was found."""
        return FobKept(
            self.guide.remember(encoded, logits), self.background.remember(encoded, logits)
        )

    def propose(
        self, encoded: EncodedSlices, kept: Sequence[FobKept], near: Near | None = None
    ) -> Proposal:
        """SynPo's map and FoB's points, or near a neighbour's mask FoB's negatives alone."""
        return self.propose_all([Question(encoded, kept, near)])[0]

    def propose_all(self, questions: Sequence[Question]) -> list[Proposal]:
        """The same of several structures, with one k-means for all that are followed."""
        seen = [self.look(asked) for asked in questions]
        proposals = [
            Proposal(look.confidence, answer.prompts, look.affinity) for look, answer in seen
        ]
        followed = [n for n, asked in enumerate(questions) if asked.near is not None]
        if followed:
            near = [guiding(questions[n].near) for n in followed]
            positive = self.guide.points([seen[n][0] for n in followed], near)
            for n, proposal in zip(followed, positive, strict=True):
                look, answer = seen[n]
                proposals[n] = with_background(proposal, answer.prompts, look.supports)
        return proposals

    def look(self, asked: Question) -> tuple[CombinedConfidence, FobSliceAnswer]:
        """What SynPo's maps and FoB say of N slices, FoB from the slice that speaks for each."""
        encoded, kept, near = asked.encoded, asked.kept, asked.near
        look = self.guide.look(encoded, [one.synpo for one in kept], guiding(near))
        if near is None or near.kept is None:
            speaking = [kept[index].background for index in look.chosen.tolist()]
        else:
            speaking = [near.kept.background] * len(encoded)
        return look, self.background.answer(encoded, speaking)
