"""One slice on its own, with the points that the method chose or those that a person gave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from ..data.errors import InputError
from ..prompting.encoded_slices import EncodedSlices
from ..prompting.interfaces import Proposal
from ..prompting.point_prompts import PointPrompts
from ..prompting.refinement import mask_prompt_logits, open_masks
from .finding.expected import Guide, guided, margin, may_hold
from .independent import PRESENT
from .results import SliceResult
from .slices import SliceMasks, certainty, clean, decode, only, segment_slices
from .work import Work


@dataclass(frozen=True, eq=False)
class OneSlice:
    """Labels (H, W), one result for each structure, and (H, W) confidence maps by label."""

    labels: np.ndarray
    results: tuple[SliceResult, ...]
    confidence: Mapping[int, np.ndarray]


def segment_one(work: Work, index: int, given: Mapping[int, PointPrompts]) -> OneSlice:
    """Segments slice `index` (canonical).

    Args:
        given: by label, points in pixels (x, y) of the slice, instead of the chosen ones.

    Raises:
        InputError: points for a label that is not segmented or was drawn by hand in this slice,
            or a positive point outside of what the model sees.
    """
    _check(work, index, given)
    encoded = work.slices.one(index)
    proposals, guides = guided(work, encoded, [index], work.structures)
    found, points, scores = {}, {}, {}
    for structure, proposal, plan in zip(work.structures, proposals, guides, strict=True):
        label, by_person = structure.label, structure.label in given
        chosen = _seen(work, structure.name, given[label]) if by_person else proposal.prompts[0]
        points[label], scores[label] = chosen, 0.0
        if by_person and not len(chosen.positives):
            continue
        masks = (
            _pointed(work, encoded, proposal, chosen) if by_person
            else _proposed(work, encoded, proposal, plan)
        )
        model = work.slices.encoders.model
        scores[label] = certainty(model, masks.quality[0], proposal.affinity[0])
        if by_person or (scores[label] >= PRESENT and may_hold(plan, 0)):
            found[label] = work.outside(masks.logits[:1], [index])[0]
    pixels = work.write(index, found)
    return OneSlice(
        work.labels[index].copy(),
        tuple(
            work.slice_result(index, s, pixels, points[s.label], scores[s.label])
            for s in work.structures
        ),
        {
            s.label: _map_in_slice(work, p.confidence)
            for s, p in zip(work.structures, proposals, strict=True)
        },
    )


def _proposed(
    work: Work, encoded: EncodedSlices, proposal: Proposal, plan: Guide | None
) -> SliceMasks:
    """The mask of one structure from the method's points. One component is kept, the one that the
    confidence map backs."""
    picture = torch.zeros(1, dtype=torch.long, device=work.device)
    masks = segment_slices(
        work.slices.encoders.model, encoded, picture, proposal.prompts, proposal.confidence,
        work.method.masks, None if plan is None else plan.masks,
    )
    return replace(masks, logits=masks.logits + margin(work, plan))


def _pointed(
    work: Work, encoded: EncodedSlices, proposal: Proposal, points: PointPrompts
) -> SliceMasks:
    """The mask of one structure from a person's points.

    They say themselves which components are meant, and the confidence map stays out of decoding:
    models that read it believe it more than points that contradict it.
    """
    model, p = work.slices.encoders.model, work.method.masks
    picture = torch.zeros(1, dtype=torch.long, device=work.device)
    share = {"roi_size": work.frame.size, "mask_index": p.mask_index}
    first = decode(model, encoded, picture, [points], **share)
    kept = _pointed_at(first.logits, points, proposal, work)
    prior = mask_prompt_logits(first.logits[:, None], kept, outside=p.outside_logit)
    second = decode(model, encoded, picture, [points], masks=prior, **share)
    kept = _pointed_at(second.logits, points, proposal, work)
    return SliceMasks(only(second.logits, kept), second.quality)


def _pointed_at(logits: Tensor, points: PointPrompts, proposal: Proposal, work: Work) -> Tensor:
    """The components that hold a positive point, or the best one where none does: bool (1, m, m)
    of logits (1, m, m)."""
    inside = (logits > 0).cpu().numpy()
    size = logits.shape[-1]
    cells = (points.positives + 0.5) * (size / work.frame.size) - 0.5
    column, row = np.clip(np.rint(cells).astype(int), 0, size - 1).T
    numbered, _ = ndimage.label(open_masks(inside)[0], structure=np.ones((3, 3)))
    wanted = np.setdiff1d(numbered[row, column], 0)
    if not len(wanted):
        return clean(logits, proposal.confidence, work.method.masks)
    return torch.from_numpy(np.isin(numbered, wanted))[None].to(logits.device)


def _check(work: Work, index: int, given: Mapping[int, PointPrompts]) -> None:
    names = {structure.label: structure.name for structure in work.structures}
    for label in given:
        if label not in names:
            raise InputError(
                f"points for label {label}: it is not segmented; use one of "
                f"{', '.join(map(str, names))}"
            )
        if work.is_drawn(label, index):
            raise InputError(
                f"points for {names[label]}: it was drawn by hand in this slice, which stays as "
                "drawn; change the drawing"
            )


def _seen(work: Work, name: str, given: PointPrompts) -> PointPrompts:
    """A person's points of the slice as points of the region of interest."""
    size = work.frame.size
    points = work.frame.to_model(given.points)
    height, width = work.frame.shape
    inside = ((points > -0.5) & (points < size - 0.5)).all(axis=1)
    inside &= ((given.points > -0.5) & (given.points < (width - 0.5, height - 0.5))).all(axis=1)
    lost = given.points[~inside & (given.labels == 1)]
    if len(lost):
        x, y = lost[0]
        raise InputError(
            f"{name}: the positive point at ({x:.0f}, {y:.0f}) lies outside of the part of the "
            "slice that the model sees; move it into the body"
        )
    return PointPrompts(points[inside], given.labels[inside])


def _map_in_slice(work: Work, confidence: Tensor) -> np.ndarray:
    """A map (1, R, R) over the region of interest as float32 (H, W), lowest outside of it."""
    lowest = float(confidence.min())
    shifted = work.frame.logits_to_slice((confidence - lowest)[None])[0, 0].clamp(min=0.0)
    return (shifted + lowest).cpu().numpy().astype(np.float32)
