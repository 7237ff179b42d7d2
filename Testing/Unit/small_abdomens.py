"""Small generated abdomens: their sizes and labels, supports of them, and how well one was found.

The fixtures `patient` and `other` are two of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from FewShotSAMLib.data.support import Support
from FewShotSAMLib.evaluation.metrics import dice
from FewShotSAMLib.phantom.abdomen import Phantom, abdomen

if TYPE_CHECKING:
    from FewShotSAMLib.segmentation.results import VolumeResult
    from FewShotSAMLib.segmentation.segmenter import Segmenter

SMALL = {"shape": (8, 64, 64), "spacing": (5.2, 5.2, 25.0)}
LIVER, RIGHT_KIDNEY, LEFT_KIDNEY, SPLEEN = 1, 2, 3, 4
STRATEGIES = ("slices", "propagate")


def two_patients(size: dict = SMALL) -> tuple[Phantom, Phantom]:
    """One to draw on, and another."""
    return abdomen(**size), abdomen(**size, seed=3)


def marked(
    phantom: Phantom, *labels: int, index: int | None = None, overview: bool = True
) -> Support:
    """A support of one axial slice; without labels, of all of them."""
    index = phantom.marked_slice() if index is None else index
    return Support.from_labels(
        phantom.image, phantom.marked(index), axis="axial", keep_labels=labels or None,
        overview=overview,
    )


def at_half_size(segmenter: Segmenter) -> Segmenter:
    """The same, whose shipped network sees pictures at half its usual size: a quarter of the work,
    and still more pixels than small abdomens have."""
    for network in (segmenter.encoders.model, segmenter.encoders.features):
        network.input_size = 128
    return segmenter


def score(result: VolumeResult, phantom: Phantom, label: int) -> float:
    """Dice of one structure over the whole volume."""
    return dice(result.labels.voxels == label, phantom.truth.voxels == label)
