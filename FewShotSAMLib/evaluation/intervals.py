"""How far a mean could lie from where it is, had other patients been measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

LEVEL = 0.95
RESAMPLES = 4999


def bootstrap_interval(
    values: Sequence[float], level: float = LEVEL, seed: int = 0
) -> tuple[float, float]:
    """The bias-corrected and accelerated bootstrap interval of a mean (Efron, 1987).

    Args:
        values: one a patient; NaN is left out.
        level: how much of the resampled means it holds.
        seed: of the resampling.

    Returns:
        Its ends; NaN with fewer than two values, both the value where all are alike.
    """
    known = np.asarray(values, float)
    known = known[np.isfinite(known)]
    if len(known) < 2:
        return float("nan"), float("nan")
    if np.ptp(known) == 0:
        return float(known[0]), float(known[0])
    found = stats.bootstrap(
        (known,), np.mean, confidence_level=level, n_resamples=RESAMPLES, method="BCa",
        rng=np.random.default_rng(seed),
    )  # fmt: skip
    return float(found.confidence_interval.low), float(found.confidence_interval.high)
