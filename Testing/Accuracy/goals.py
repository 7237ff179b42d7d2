"""Measure the design's goals for the embedded model: Dice on real images, and the time.

    python Testing/Accuracy/goals.py [--data ../shared/data] [--cases N ...] [--only ROW ...]

Rows: "truth" (prompts drawn from the truth), "given" (one support patient, other patients, given
slices), "whole" (one middle slice, same patient, whole volume, beside registration without
learning), "time" (a 36-slice volume with four organs).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from registration_baseline import (  # noqa: E402
    CT_ORGANS,
    MR_ORGANS,
    ct_case,
    mr_cases,
    registered,
)
from registration_baseline import segment as carry_only  # noqa: E402

from FewShotSAMLib.data.slicing import extract_slices  # noqa: E402
from FewShotSAMLib.data.support import Support  # noqa: E402
from FewShotSAMLib.evaluation.metrics import dice  # noqa: E402
from FewShotSAMLib.evaluation.protocol import (  # noqa: E402
    Case,
    Score,
    evaluate_given_slices,
    evaluate_same_patient,
)
from FewShotSAMLib.evaluation.tables import build_table  # noqa: E402
from FewShotSAMLib.prompting.point_prompts import PointPrompts  # noqa: E402
from FewShotSAMLib.segmentation.segmenter import Segmenter, load_segmenter  # noqa: E402
from FewShotSAMLib.segmentation.slices import decode  # noqa: E402


def truth_prompts(mask: np.ndarray, rng: np.random.Generator) -> PointPrompts:
    """5 points inside and 10 between 3 and 15 pixels outside of a mask (H, W)."""
    inside = np.argwhere(mask)
    away = ndimage.distance_transform_edt(~mask)
    ring = np.argwhere((away >= 3) & (away <= 15))
    positives = inside[rng.choice(len(inside), min(5, len(inside)), replace=False)]
    negatives = ring[rng.choice(len(ring), min(10, len(ring)), replace=False)]
    return PointPrompts.of(positives[:, ::-1], negatives[:, ::-1])


def with_truth_prompts(segmenter: Segmenter, cases: Sequence[Case], seed: int = 0) -> list[Score]:
    """Every slice of every organ from points drawn from the truth, decoded once."""
    scores = []
    for case in cases:
        rng = np.random.default_rng(seed)
        support = Support.from_labels(case.image, case.labels, names=MR_ORGANS, axis="axial")
        work = segmenter.work(case.image, [support])
        for label, organ in MR_ORGANS.items():
            truth = extract_slices(case.labels.voxels, "axial") == label
            found = np.zeros_like(truth)
            for index in np.flatnonzero(truth.any((1, 2))):
                prompts = truth_prompts(truth[index], rng)
                prompts = PointPrompts(work.frame.to_model(prompts.points), prompts.labels)
                masks = decode(
                    segmenter.encoders.model, work.slices.one(index), torch.zeros(1).long(),
                    [prompts], roi_size=work.frame.size,
                )
                found[index] = (work.frame.logits_to_slice(masks.logits[None])[0, 0] > 0).numpy()
            value = dice(found, truth)
            scores.append(Score(case.name, label, organ, value, value, *[float("nan")] * 4))
    return scores


def given_slices(
    segmenter: Segmenter, strategy: str, case: Case, label: int, chunk: Sequence[int],
    support: Support,
) -> np.ndarray:
    """Masks (n, H, W) of given slices from one support slice of another patient."""
    result = segmenter.segment(
        case.image, [support], strategy=strategy, range=(min(chunk), max(chunk)),
        assume_present=True,
    )
    return extract_slices(result.labels.voxels, "axial")[list(chunk)] == label


def whole_volume(segmenter: Segmenter, case: Case, support: Support) -> np.ndarray:
    """Labels (k, j, i) of a whole volume."""
    return segmenter.segment(case.image, [support], strategy="propagate").labels.voxels


def show(title: str, scores: list[Score], measures: Sequence[str]) -> None:
    """Tables on standard output."""
    for measure in measures:
        print(f"\n{title}: {measure}\n{build_table(scores, measure).to_markdown()}", flush=True)


def same_patient(segmenter: Segmenter, cases: Sequence[Case], organs: dict[int, str]) -> None:
    """Row 3, with registration alone (ending by the presence rule, and never) beside it."""
    name = cases[0].name.split()[0]
    scores = evaluate_same_patient(cases, organs, partial(whole_volume, segmenter))
    show(f"{name}, one middle slice, embedded", scores, ("whole", "given"))
    fields = {case.name: registered(case) for case in cases}
    for stop, rule in ((True, "ending by grey levels"), (False, "never ending")):
        run = partial(carry_only, fields=fields, stop=stop)
        scores = evaluate_same_patient(cases, organs, run)
        show(f"{name}, one middle slice, registration {rule}", scores, ("whole", "given"))


def timing(segmenter: Segmenter, case: Case) -> None:
    """Row 4: seconds of a second run, so that nothing is loaded or compiled in it."""
    support = Support.from_labels(case.image, case.labels, slices="middle")
    for _ in range(2):
        start = time.perf_counter()
        result = segmenter.segment(case.image, [support])
        seconds = time.perf_counter() - start
    stages = ", ".join(f"{name} {value:.2f}" for name, value in result.seconds.items())
    print(f"\n{case.name}, {case.image.shape[0]} slices, {len(result.names)} organs, "
          f"{torch.get_num_threads()} threads: {seconds:.1f} s ({stages})")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--cases", type=int, nargs="+", help="only these MR cases")
    parser.add_argument("--only", nargs="+", choices=("truth", "given", "whole", "time"))
    parser.add_argument("--support", type=int, nargs="+", default=[3],
                        help="MR cases that are support for the others in turn")
    chosen = parser.parse_args()
    rows = chosen.only or ["truth", "given", "whole", "time"]
    segmenter = load_segmenter("embedded", device="cpu")
    cases = [c for c in mr_cases(chosen.data)
             if chosen.cases is None or int(c.name.split()[1]) in chosen.cases]
    if "truth" in rows:
        show("MR, prompts from the truth", with_truth_prompts(segmenter, cases), ("whole",))
    if "given" in rows:
        for number in chosen.support:
            support = next(c for c in cases if c.name == f"MR {number}")
            others = [c for c in cases if c is not support]
            for strategy in ("slices", "propagate"):
                scores = evaluate_given_slices(
                    support, others, MR_ORGANS, partial(given_slices, segmenter, strategy)
                )
                show(f"MR, support {support.name}, {strategy}", scores, ("given",))
    if "whole" in rows:
        same_patient(segmenter, cases, MR_ORGANS)
        same_patient(segmenter, [ct_case(chosen.data)], CT_ORGANS)
    if "time" in rows:
        timing(segmenter, min(cases, key=lambda c: abs(c.image.shape[0] - 36)))


if __name__ == "__main__":
    main()
