"""Method "synpo": points from confidence maps, with nothing to train."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..encoded_slices import EncodedSlices
from ..interfaces import MethodBuilder, MethodSettings, Near, Proposal, SliceSpace
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
        return self.points(self.look(encoded, kept, near), near)

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

    def points(self, look: CombinedConfidence, near: Near | None) -> Proposal:
        """Points at the places that the maps (N, R, R) are highest and doubtful at."""
        maps, affinity = look.confidence, look.affinity
        if near is not None:
            maps = maps.masked_fill(~near.place, -torch.inf)
        if near is not None and near.kept is not None:
            affinity = self.synpo.affinity(look.confidence, near.kept)
        points = self.synpo.prompts(
            maps, look.supports, seed=self.space.seed, valid=self.space.valid
        )
        return Proposal(look.confidence, points, affinity)
