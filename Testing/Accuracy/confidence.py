"""How well scores estimate Dice, and the weights they are made with.

    python Testing/Accuracy/confidence.py --fit [--pairs N]    # on generated abdomens
    python Testing/Accuracy/confidence.py [--data ../shared/data] [--cases N ...]

Generated pairs are two patients of `FewShotSAMLib.phantom` made difficult: organs brighter or
darker than in the support, one missing, low contrast, noise, fields of view that overlap in part.
On real patients nothing is fitted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from scipy import ndimage
from scipy.optimize import minimize
from scipy.stats import spearmanr

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from registration_baseline import mr_cases  # noqa: E402

from FewShotSAMLib.data.support import Support  # noqa: E402
from FewShotSAMLib.evaluation.metrics import dice  # noqa: E402
from FewShotSAMLib.phantom.abdomen import Phantom, abdomen  # noqa: E402
from FewShotSAMLib.segmentation.found import Signals  # noqa: E402
from FewShotSAMLib.segmentation.segmenter import Segmenter, load_segmenter  # noqa: E402

SIZE = {"shape": (20, 128, 128), "spacing": (2.5, 2.5, 10.0)}
PATIENTS = 14
LARGE = 0.04  # what large weights cost, beside the error; chosen on the MR 1, 2, 3 and 5
WRONG = 0.05  # Dice below which a mask is drawn on nothing; other patients' count a half: more of
RARER = 0.5  # the generated ones are such than of real ones; chosen on the MR 1, 2, 3 and 5
NAMES = tuple(field.name for field in fields(Signals))


@dataclass(frozen=True)
class Row:
    """One structure in one slice where a mask was drawn."""

    other: bool
    signals: Signals
    score: float
    dice: float


def altered(
    phantom: Phantom, random: np.random.Generator, *, strength: float, flat: float, noise: float,
    missing: int | None = None,
) -> Phantom:
    """Another appearance: organs scaled by exp(strength * normal), contrast taken away, noise,
    one organ replaced by the tissue around."""
    grey, truth = phantom.image.voxels.astype(np.float32) / 700, phantom.truth.voxels.copy()
    scale = np.ones_like(grey)
    for label in phantom.truth.segments:
        scale[truth == label] *= np.exp(random.normal() * strength)
    if missing is not None:
        around = np.median(grey[(grey > 0.1) & (truth == 0)])
        inside = ndimage.gaussian_filter((truth == missing).astype(np.float32), (0.4, 1.2, 1.2))
        grey = grey * (1 - inside) + inside * (around + 0.05 * random.normal(size=grey.shape))
        truth[truth == missing] = 0
    grey = (grey * ndimage.gaussian_filter(scale, (0, 1, 1))).clip(0) ** np.exp(
        random.normal() * 0.15
    )
    grey = grey * (1 - flat) + ndimage.gaussian_filter(grey, (1, 8, 8)) * flat
    grey = np.hypot(*(g + noise * random.normal(size=grey.shape) for g in (grey, 0)))
    return Phantom(
        phantom.image.with_voxels(np.rint(grey * 700).astype(np.int16)),
        replace(phantom.truth, voxels=truth),
    )


def cropped(phantom: Phantom, first: int, last: int) -> Phantom:
    """Some slices only."""
    origin = tuple(phantom.image.index_to_world((0, 0, first)))
    return Phantom(*(
        replace(v, voxels=np.ascontiguousarray(v.voxels[first:last]), origin=origin)
        for v in (phantom.image, phantom.truth)
    ))


def generated_pairs(count: int) -> Iterator[tuple[Phantom, Phantom]]:
    """(support, query), every third time the same patient twice."""
    random = np.random.default_rng(0)
    patients = [abdomen(**SIZE, seed=seed) for seed in range(PATIENTS)]
    for number in range(count):
        flat, noise = random.uniform(0, 0.7), random.uniform(0, 0.12)
        marked = altered(
            patients[number % PATIENTS], random, strength=0.15, flat=flat, noise=noise / 2
        )
        if number % 3 == 2:
            yield marked, marked
            continue
        query = altered(
            patients[(number * 5 + 3) % PATIENTS], random, strength=random.uniform(0, 1),
            flat=flat, noise=noise,
            missing=int(random.integers(1, 5)) if random.random() < 0.4 else None,
        )
        if random.random() < 0.4:
            slices = SIZE["shape"][0]
            query = cropped(
                query, int(random.integers(0, slices // 3)),
                slices - int(random.integers(0, slices // 3)),
            )
        yield marked, query


def rows(segmenter: Segmenter, image, truth, support: Support, other: bool) -> Iterator[Row]:
    """Every mask that was drawn, with its Dice."""
    result = segmenter.segment(image, [support])
    for one in result.slices:
        if one.present and one.signals is not None:
            found = result.labels.voxels[one.index] == one.label
            yield Row(
                other, one.signals, one.score, dice(found, truth.voxels[one.index] == one.label)
            )


def fitted(several: list[Row]) -> np.ndarray:
    """Constant and one weight, 0 or more, for each signal: least absolute error of Dice, small
    weights preferred."""
    signals = np.array([[1.0, *(getattr(r.signals, n) for n in NAMES)] for r in several])
    truth = np.array([r.dice for r in several])
    varies = np.r_[True, signals[:, 1:].std(0) > 1e-6]
    counts = np.array([RARER if r.other and r.dice < WRONG else 1.0 for r in several])

    def loss(weights: np.ndarray) -> float:
        estimate = 1 / (1 + np.exp(-signals @ (weights * varies)))
        below = np.minimum(weights[1:], 0)
        apart = np.average(np.sqrt((estimate - truth) ** 2 + 0.01), weights=counts)
        return 3 * apart + LARGE * (weights[1:] ** 2).mean() + (below**2).sum()

    return minimize(loss, np.zeros(signals.shape[1])).x * varies


def report(title: str, several: list[Row]) -> None:
    """Rank correlation and mean absolute error of the scores."""
    if not several:
        return
    score, truth = (np.array([getattr(r, name) for r in several]) for name in ("score", "dice"))
    print(
        f"{title}: {len(several)} masks, mean Dice {truth.mean():.3f}, mean score "
        f"{score.mean():.3f}, rank correlation {spearmanr(score, truth)[0]:.2f}, mean absolute "
        f"error {np.abs(score - truth).mean():.3f}", flush=True,
    )


def main() -> None:
    """Measure or fit, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fit", action="store_true", help="on generated abdomens")
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--cases", type=int, nargs="+", default=[8, 10, 13, 15])
    chosen = parser.parse_args()
    segmenter, found = load_segmenter(device="cpu"), []
    if chosen.fit:
        for marked, query in generated_pairs(chosen.pairs):
            support = Support.from_labels(marked.image, marked.truth, axis="axial", slices="middle")
            found += rows(segmenter, query.image, query.truth, support, query is not marked)
    else:
        cases = [c for c in mr_cases(chosen.data) if int(c.name.split()[1]) in chosen.cases]
        for one in cases:
            support = Support.from_labels(one.image, one.labels, axis="axial", slices="middle")
            for query in cases:
                found += rows(segmenter, query.image, query.labels, support, query is not one)
    for other, title in ((False, "the same patient"), (True, "other patients")):
        several = [r for r in found if r.other == other]
        report(title, several)
        if chosen.fit:
            weights = zip(("constant", *NAMES), fitted(several), strict=True)
            print("  " + ", ".join(f"{name} {value:.2f}" for name, value in weights))


if __name__ == "__main__":
    main()
