"""SynPo, FoB and both together on real images: prompts and Dice, with and without each step.

    python Testing/Accuracy/fusion.py [--support 3] [--cases N ...] [--fob FILE]

Abdominal MR, the papers' protocol: one support patient with three slices, the others are queries,
given slices, each slice on its own. The last rows are the product's own calls, slice by slice and
propagated. "pos. in" and "neg. in" are the shares of points that lie inside the organ.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from goals import given_slices  # noqa: E402
from registration_baseline import MR_ORGANS, mr_cases  # noqa: E402

from FewShotSAMLib.data.slicing import extract_slices  # noqa: E402
from FewShotSAMLib.data.support import Support  # noqa: E402
from FewShotSAMLib.evaluation.protocol import (  # noqa: E402
    Case,
    evaluate_given_slices,
    organ_slices,
    query_chunks,
    support_slices,
)
from FewShotSAMLib.evaluation.tables import build_table  # noqa: E402
from FewShotSAMLib.prompting.encoded_slices import EncodedSlices  # noqa: E402
from FewShotSAMLib.prompting.fob_slices import FobSliceAnswer  # noqa: E402
from FewShotSAMLib.prompting.fusion import joined_maps, joined_points  # noqa: E402
from FewShotSAMLib.prompting.point_prompts import PointPrompts  # noqa: E402
from FewShotSAMLib.prompting.synpo import SynPoSupport  # noqa: E402
from FewShotSAMLib.segmentation.segmenter import Segmenter, load_segmenter  # noqa: E402
from FewShotSAMLib.segmentation.slices import decode, segment_slices  # noqa: E402
from FewShotSAMLib.segmentation.work import Work  # noqa: E402

Points = list[PointPrompts]


@dataclass(frozen=True, eq=False)
class Chunk:
    """Slices of one query that share a support slice, with what SynPo and FoB say of them.

    Attributes:
        synmap, joined: (N, R, R); synpo, taken: points from either map.
        truth: (N, H, W) bool; cover: (N, R, R) bool, the same in the region of interest.
    """

    work: Work
    encoded: EncodedSlices
    support: SynPoSupport
    answer: FobSliceAnswer
    synmap: Tensor
    joined: Tensor
    synpo: Points
    taken: Points
    truth: np.ndarray
    cover: np.ndarray


def chunks(segmenter: Segmenter, support: Case, query: Case, label: int) -> Iterator[Chunk]:
    """The three chunks of one organ."""
    own, given = organ_slices(support, label, "axial"), organ_slices(query, label, "axial")
    for part, place in zip(query_chunks(given), support_slices(len(own)), strict=True):
        if not part:
            continue
        one = Support.from_labels(
            support.image, support.labels, axis="axial", slices=[own[place]], keep_labels=[label]
        )
        work = segmenter.work(query.image, [one])
        kept, guide = work.structures[0].kept[0], work.method.synpo
        encoded = EncodedSlices.concatenate([work.slices.one(k) for k in part])
        answer = work.method.fob.background.answer(encoded, [kept.background] * len(part))
        synmap = guide.synpo.confidence(encoded.features, kept.synpo)
        joined = joined_maps(synmap, answer.alike)
        truth = extract_slices(query.labels.voxels, "axial")[list(part)] == label
        yield Chunk(
            work, encoded, kept.synpo, answer, synmap, joined,
            *(
                guide.synpo.prompts(m, kept.synpo, valid=guide.space.valid)
                for m in (synmap, joined)
            ),
            truth, (work.frame.masks_to_model(torch.from_numpy(truth))[:, 0] > 0.5).numpy(),
        )


def with_negatives(positives: Points, negatives: Points | None) -> Points:
    """The positives of some and the negatives of others."""
    others = negatives or [PointPrompts()] * len(positives)
    return [PointPrompts.of(p.positives, n.negatives) for p, n in zip(positives, others)]


def fused(c: Chunk, positives: Points | None = None, confidence: Tensor | None = None) -> Points:
    """The product's points, or with other positives or another map for the negatives' limit."""
    maps = (c.joined if confidence is None else confidence).numpy()
    return [
        joined_points(p, f, m, c.support)
        for p, f, m in zip(positives or c.taken, c.answer.prompts, maps, strict=True)
    ]


# name -> (points, confidence map for the decoder or None, refined)
Variant = Callable[[Chunk], tuple[Points, Tensor | None, bool]]
VARIANTS: dict[str, Variant] = {
    "SynPo": lambda c: (c.synpo, c.synmap, True),
    "SynPo, not refined": lambda c: (c.synpo, c.synmap, False),
    "FoB, points alone (as published)": lambda c: (c.answer.prompts, None, False),
    "FoB's points, SynPo's map": lambda c: (c.answer.prompts, c.synmap, False),
    "fusion": lambda c: (fused(c), c.joined, False),
    "- with the refinement": lambda c: (fused(c), c.joined, True),
    "- SynMap instead of the joined map": lambda c: (fused(c, c.synpo, c.synmap), c.synmap, False),
    "- the product itself as the map": lambda c: (
        fused(c), c.synmap.clamp(min=0) * c.answer.alike.clamp(min=0), False),
    "- SynPo's positives": lambda c: (fused(c, c.synpo), c.joined, False),
    "- SynPo's negatives": lambda c: (c.taken, c.joined, False),
    "- FoB's negatives, all": lambda c: (
        with_negatives(c.taken, c.answer.prompts), c.joined, False),
    "- no negatives": lambda c: (with_negatives(c.taken, None), c.joined, False),
}


def masks_of(c: Chunk, variant: Variant) -> tuple[np.ndarray, Points]:
    """Masks (N, H, W) and the points that gave them."""
    points, confidence, refined = variant(c)
    model, picture = c.work.slices.encoders.model, torch.arange(len(points))
    if refined:
        masks = replace(c.work.method.masks, refine=True)
        logits = segment_slices(model, c.encoded, picture, points, confidence, masks).logits
    else:
        logits = decode(
            model, c.encoded, picture, points, roi_size=c.work.frame.size,
            confidence=None if confidence is None else confidence[:, None],
        ).logits
    return (c.work.frame.logits_to_slice(logits[:, None])[:, 0] > 0).numpy(), points


def inside(points: np.ndarray, cover: np.ndarray) -> list[bool]:
    """Which points (P, 2) lie in a mask (R, R)."""
    x, y = np.clip(np.rint(points), 0, len(cover) - 1).astype(int).T
    return cover[y, x].tolist()


@torch.inference_mode()
def ablation(segmenter: Segmenter, support: Case, queries: list[Case]) -> None:
    """Prints a row a variant."""
    dices = {name: {organ: [] for organ in MR_ORGANS.values()} for name in VARIANTS}
    hits: dict[str, tuple[list, list]] = {name: ([], []) for name in VARIANTS}
    for query in queries:
        for label, organ in MR_ORGANS.items():
            found: dict[str, list] = {name: [] for name in VARIANTS}
            truth = []
            for chunk in chunks(segmenter, support, query, label):
                truth.append(chunk.truth)
                for name, variant in VARIANTS.items():
                    masks, points = masks_of(chunk, variant)
                    found[name].append(masks)
                    for one, cover in zip(points, chunk.cover, strict=True):
                        hits[name][0].extend(inside(one.positives, cover))
                        hits[name][1].extend(inside(one.negatives, cover))
            whole = np.concatenate(truth)
            for name, parts in found.items():
                mask = np.concatenate(parts)
                dices[name][organ].append(2 * (mask & whole).sum() / (mask.sum() + whole.sum()))
    print("| variant | " + " | ".join(MR_ORGANS.values()) + " | mean | pos. in | neg. in |")
    print("|---" * (len(MR_ORGANS) + 4) + "|")
    for name, organs in dices.items():
        row = [np.mean(values) for values in organs.values()]
        shares = [np.mean(h) if h else float("nan") for h in hits[name]]
        print(f"| {name} | " + " | ".join(f"{v:.3f}" for v in (*row, np.mean(row), *shares)) + " |",
              flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--support", type=int, nargs="+", default=[3])
    parser.add_argument("--cases", type=int, nargs="+", help="only these queries")
    parser.add_argument("--fob", help="other weights than the shipped ones")
    parser.add_argument("--skip", choices=("ablation", "product"), help="leave one part out")
    chosen = parser.parse_args()
    cases = list(mr_cases(chosen.data))
    segmenter = load_segmenter("embedded", "auto", "cpu", fob=chosen.fob)
    for number in chosen.support:
        support = next(c for c in cases if c.name == f"MR {number}")
        queries = [c for c in cases if c is not support and (
            chosen.cases is None or int(c.name.split()[1]) in chosen.cases)]
        print(f"\nsupport {support.name}, {len(queries)} queries\n")
        if chosen.skip != "ablation":
            ablation(segmenter, support, queries)
        if chosen.skip == "product":
            continue
        for method in ("synpo", "fob", "auto"):
            one = segmenter if method == "auto" else load_segmenter(
                "embedded", method, "cpu", fob=None if method == "synpo" else chosen.fob)
            for strategy in ("slices", "propagate"):
                scores = evaluate_given_slices(
                    support, queries, MR_ORGANS, partial(given_slices, one, strategy)
                )
                table = build_table(scores, "given").to_markdown()
                print(f"\n--method {method}, {strategy}\n\n{table}", flush=True)


if __name__ == "__main__":
    main()
