"""Method "synpo": points from confidence maps, with nothing to train."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from ..encoded_slices import EncodedSlices
from ..interfaces import MethodBuilder, MethodSettings, Near, Proposal, Question, SliceSpace
from ..mask_parameters import MaskParameters
from ..support_choice import CombinedConfidence, combine
from ..synpo import SynPo, SynPoSupport
from ..synpo_parameters import SynPoParameters


def load(settings: MethodSettings) -> MethodBuilder:
    """There is nothing to load."""
    return SynPoMethod


class SynPoMethod:
    """SynPo on the slices of one volume; it keeps a `SynPoSupport` of each slice."""

    masks = MaskParameters(refine=True)
    card = None

    def __init__(self, space: SliceSpace) -> None:
        self.space = space
        self.synpo = SynPo(SynPoParameters.for_modality(space.modality, roi_size=space.roi.size))

    def encode(self, encoded: EncodedSlices, stored: np.ndarray) -> EncodedSlices:
        """The encoders' features are all it reads."""
        return encoded

    def prepare(self, encoded: EncodedSlices, mask: np.ndarray, cover: Tensor) -> SynPoSupport:
        """Prototypes and statistics of one slice."""
        features = [f[0] for f in encoded.features]
        return self.synpo.prepare(features, cover, valid=self.space.valid)

    def remember(self, encoded: EncodedSlices, logits: Tensor) -> SynPoSupport:
        """The same, each pixel weighted by how sure its mask is."""
        cover = logits.sigmoid()
        cover = torch.where(cover > 0.5, cover, torch.zeros_like(cover))
        features = [f[0] for f in encoded.features]
        return self.synpo.prepare(features, cover, valid=self.space.valid)

    def propose(
        self, encoded: EncodedSlices, kept: Sequence[SynPoSupport], near: Near | None = None
    ) -> Proposal:
        """Points from the map of the marked slice that is most like each slice."""
        return self.propose_all([Question(encoded, kept, near)])[0]

    def propose_all(self, questions: Sequence[Question]) -> list[Proposal]:
        """The same of several structures, with one k-means for all of them."""
        looks = [self.look(asked.encoded, asked.kept, asked.near) for asked in questions]
        return self.points(looks, [asked.near for asked in questions])

    def look(
        self, encoded: EncodedSlices, kept: Sequence[SynPoSupport], near: Near | None
    ) -> CombinedConfidence:
        """SynMaps, and which kept slice speaks for each: the most alike of the marked ones. Where
        a structure is followed the neighbour has its share in the map and sets its scale."""
        marked = combine(self.synpo, self.synpo.confidences(encoded.features, kept), kept)
        if near is None or near.kept is None:
            return marked
        recent = self.synpo.confidence(encoded.features, near.kept)
        both = (1 - near.share) * marked.confidence + near.share * recent
        return replace(marked, confidence=both, supports=(near.kept,) * len(encoded))

    def points(
        self, looks: Sequence[CombinedConfidence], near: Sequence[Near | None]
    ) -> list[Proposal]:
        """Points at the places that each structure's maps (N, R, R) are highest and doubtful at."""
        allowed = [self.space.valid if n is None else self.space.valid & n.place for n in near]
        maps = [
            look.confidence.masked_fill(~place, -torch.inf)
            for look, place in zip(looks, allowed, strict=True)
        ]
        supports = [one for look in looks for one in look.supports]
        points = iter(self.synpo.prompts(torch.cat(maps), supports, seed=self.space.seed))
        return [
            Proposal(look.confidence, list(islice(points, len(look.confidence))),
                     look.affinity if n is None or n.kept is None
                     else self.synpo.affinity(look.confidence, n.kept))
            for look, n in zip(looks, near, strict=True)
        ]
