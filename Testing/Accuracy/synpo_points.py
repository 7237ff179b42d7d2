"""SynPo's open choices on real images: near negatives, and what the opening takes away.

    python Testing/Accuracy/synpo_points.py [--cases 1 2 3 5]

Abdominal MR, each patient support for the others, given slices, each slice on its own, the middle
slice of each third of every organ. Mean Dice per slice and organ of

- negatives nearer to a positive than the positives' own largest distance: "centres", dropped after
  the clustering; "pixels", dropped before it; "kept";
- what lies around the kept component after the opening: "grown", by up to the one pixel that the
  model's logits reach beyond it; "exact", not at all.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.distance import cdist, pdist
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from registration_baseline import MR_ORGANS, mr_cases  # noqa: E402

from FewShotSAMLib.data.support import Support  # noqa: E402
from FewShotSAMLib.evaluation.metrics import dice  # noqa: E402
from FewShotSAMLib.evaluation.protocol import (  # noqa: E402
    Case,
    organ_slices,
    query_chunks,
    support_slices,
)
from FewShotSAMLib.prompting.encoded_slices import EncodedSlices  # noqa: E402
from FewShotSAMLib.prompting.point_prompts import PointPrompts  # noqa: E402
from FewShotSAMLib.prompting.points import cluster_centres, drop_near  # noqa: E402
from FewShotSAMLib.prompting.refinement import mask_prompt_logits  # noqa: E402
from FewShotSAMLib.prompting.synpo import SynPo, SynPoSupport  # noqa: E402
from FewShotSAMLib.segmentation.segmenter import Segmenter, load_segmenter  # noqa: E402
from FewShotSAMLib.segmentation.slices import clean, decode, only  # noqa: E402
from FewShotSAMLib.segmentation.work import Work  # noqa: E402

RULES = ("centres", "pixels", "kept")


def negatives(
    rule: str, synpo: SynPo, support: SynPoSupport, confidence: np.ndarray, positives: np.ndarray
) -> np.ndarray:
    """Negative points (Q, 2) of a map (R, R), by one of `RULES`."""
    p = synpo.parameters
    low, high = (support.background_mean - f * support.background_deviation
                 for f in (p.alpha, p.beta))
    rows, columns = np.nonzero((confidence >= low) & (confidence <= high))
    pixels = np.stack([columns, rows], 1)
    if rule == "pixels" and len(positives) > 1 and len(pixels):
        pixels = pixels[cdist(pixels, positives).min(1) >= pdist(positives).max()]
    most = p.gamma * p.negatives
    if len(pixels) > most:
        random = np.random.default_rng(0)
        pixels = pixels[np.sort(random.choice(len(pixels), size=most, replace=False))]
    (centres,) = cluster_centres([torch.from_numpy(pixels)], p.negatives, seed=0)
    return drop_near(centres, positives) if rule == "centres" else centres


def tasks(
    segmenter: Segmenter, support: Case, query: Case
) -> Iterator[tuple[str, Work, EncodedSlices, np.ndarray]]:
    """(organ, work, the encoded slice, truth) of the middle slice of each third of each organ."""
    for label, organ in MR_ORGANS.items():
        own, given = (organ_slices(case, label, "axial") for case in (support, query))
        for part, place in zip(query_chunks(given), support_slices(len(own)), strict=True):
            if part:
                one = Support.from_labels(
                    support.image, support.labels, axis="axial", slices=[own[place]],
                    keep_labels=[label],
                )
                work = segmenter.work(query.image, [one])
                work.slices.batch = 1
                index = part[len(part) // 2]
                truth = query.labels.voxels[index] == label
                yield organ, work, work.slices.one(index), truth


def masks(work: Work, encoded: EncodedSlices, points: PointPrompts, confidence: Tensor) -> dict:
    """Masks (H, W) by what is left around the component."""
    model, p = work.slices.encoders.model, work.method.masks
    share = {"roi_size": work.frame.size, "confidence": confidence[:, None]}
    zero = torch.zeros(1).long()
    first = decode(model, encoded, zero, [points], **share)
    kept = clean(first.logits, confidence, p)
    prompt = mask_prompt_logits(first.logits[:, None], kept, outside=p.outside_logit)
    second = decode(model, encoded, zero, [points], masks=prompt, **share).logits
    kept = clean(second, confidence, p)
    both = {"grown": only(second, kept),
            "exact": torch.where(kept, second, second.clamp(max=-1.0) - 4.0)}
    return {name: (work.frame.logits_to_slice(one[:, None])[0, 0] > 0).numpy()
            for name, one in both.items()}


@torch.inference_mode()
def measure(segmenter: Segmenter, cases: list[Case]) -> dict[tuple[str, str], dict[str, list]]:
    """Dice by (rule, around) and organ; the share of area that "grown" adds as ("", "added")."""
    scores: dict = defaultdict(lambda: defaultdict(list))
    pairs = [(a, b) for a in cases for b in cases if a is not b]
    for support, query in pairs:
        for organ, work, encoded, truth in tasks(segmenter, support, query):
            kept, synpo = work.structures[0].kept[0], work.method.synpo
            confidence = synpo.confidence(encoded.features, kept)
            positives = synpo.prompts(confidence, kept, valid=work.method.space.valid)[0].positives
            plane = np.where(work.method.space.valid.numpy(), confidence[0].numpy(), np.nan)
            for rule in RULES:
                others = negatives(rule, synpo, kept, plane, positives)
                points = PointPrompts.of(positives, others)
                found = masks(work, encoded, points, confidence)
                for around, mask in found.items():
                    scores[rule, around][organ].append(dice(mask, truth))
                exact = found["exact"].sum()
                if rule == "centres" and exact:
                    scores["", "added"][organ].append(found["grown"].sum() / exact - 1)
    return scores


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--cases", type=int, nargs="+", default=[1, 2, 3, 5])
    chosen = parser.parse_args()
    cases = [c for c in mr_cases(chosen.data) if int(c.name.split()[1]) in chosen.cases]
    organs = list(MR_ORGANS.values())
    print(f"patients {chosen.cases}\n| negatives, around | " + " | ".join(organs) + " | mean |")
    print("|---" * (len(organs) + 2) + "|")
    for (rule, around), row in measure(load_segmenter(device="cpu"), cases).items():
        means = [float(np.mean(row[organ])) for organ in organs]
        numbers = " | ".join(f"{v:.4f}" for v in (*means, np.mean(means)))
        print(f"| {rule} {around} | {numbers} |", flush=True)


if __name__ == "__main__":
    main()
