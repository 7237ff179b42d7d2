"""Pictures and prompts of every kind, and whether a model answers them as its package does."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from FewShotSAMLib.models.interfaces import PromptBatch

if TYPE_CHECKING:
    from FewShotSAMLib.models.batched_network import PromptedNetwork

NAN = float("nan")


def pictures(count: int, size: int, seed: int = 0) -> np.ndarray:
    """(N, S, S, 3) uint8 pictures with large and small structure."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 3, 8, 8))
    smooth = torch.nn.functional.interpolate(
        torch.from_numpy(coarse).float(), size=(size, size), mode="bilinear"
    )
    noisy = smooth.numpy() + rng.normal(0, 12, smooth.shape)
    return noisy.clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1).copy()


def as_input(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


# Each prompt: picture, points, labels, box, has a mask.
def prompts(size: int) -> list[tuple]:
    s = size / 128
    return [
        (0, [[20, 30]], [1], None, False),
        (1, [[20, 30], [90.5, 64], [3, 120], [64, 64]], [1, 1, 0, 0], None, False),
        (1, [], [], [10, 20, 90, 100], False),
        (0, [[50, 60], [100, 20]], [1, 0], [30, 40, 120.5, 110], False),
        (0, [[77, 13]], [0], None, True),
        (1, [], [], [5, 6, 60, 70], True),
        (0, [], [], None, True),
    ] if s == 1 else [
        (p, [[x * s, y * s] for x, y in points], labels, box and [v * s for v in box], mask)
        for p, points, labels, box, mask in prompts(128)
    ]


def batch(rows: list[tuple], masks: torch.Tensor) -> tuple[torch.Tensor, PromptBatch]:
    """All rows in one padded batch."""
    most = max(len(r[2]) for r in rows)
    points = torch.zeros(len(rows), most, 2)
    labels = torch.full((len(rows), most), -1)
    for i, (_, p, kinds, _, _) in enumerate(rows):
        if kinds:
            points[i, : len(kinds)] = torch.tensor(p, dtype=torch.float32)
            labels[i, : len(kinds)] = torch.tensor(kinds)
    boxes = torch.tensor([r[3] or [NAN] * 4 for r in rows], dtype=torch.float32)
    given = torch.tensor([r[4] for r in rows])[:, None, None, None]
    return torch.tensor([r[0] for r in rows]), PromptBatch(
        points, labels, boxes, torch.where(given, masks, NAN)
    )


def expected(predictor, row: tuple, mask: torch.Tensor):
    """What the package gives for one prompt: masks, quality, low-resolution logits."""
    _, points, labels, box, has_mask = row
    return predictor.predict(
        np.array(points, np.float32) if labels else None,
        np.array(labels) if labels else None,
        box=np.array(box, np.float32) if box else None,
        mask_input=mask.numpy() if has_mask else None,
        multimask_output=True,
    )


def check_masks(logits: np.ndarray, masks: np.ndarray) -> None:
    """The same masks; where rounding decides, of a logit below 1e-4, a few in a million may turn.
    """
    turned = (logits > 0) != masks.astype(bool)
    assert turned.mean() < 2e-5
    assert np.abs(logits[turned]).max(initial=0) < 1e-4


def check_parity(
    model: PromptedNetwork,
    predictor,
    images: np.ndarray,
    rows: list[tuple],
    *,
    features: Callable[[Tensor], tuple[Tensor, Tensor]],
    whole: Callable[[Tensor], Tensor],
    largest: float = np.inf,
) -> None:
    """Embeds and decodes everything at once, and with the package's predictor one by one.

    Args:
        model: with `predictor`'s network.
        predictor: the package's.
        images: (N, S, S, 3) uint8.
        rows: such as `prompts` gives.
        features: from the model's of one picture (C, h, w) to what the predictor should hold of
            it, and what it holds.
        whole: low-resolution logits (1, 3, S/4, S/4) resized as the package does.
        largest: the predictor cuts its low-resolution logits to this.
    """
    side = model.input_size // 4
    masks = torch.randn(len(rows), 1, side, side) * 4
    which, prompt = batch(rows, masks)
    embeddings = model.embed(as_input(images))
    logits, quality = model.decode(embeddings, which, prompt)
    assert logits.std() > 0.1  # else there is nothing to compare
    for picture in sorted({r[0] for r in rows}):
        predictor.set_image(images[picture])
        own, theirs = features(embeddings.features[picture])
        torch.testing.assert_close(own, theirs, atol=1e-4, rtol=1e-4)
        for i, row in enumerate(rows):
            if row[0] != picture:
                continue
            found, overlap, low = expected(predictor, row, masks[i])
            np.testing.assert_allclose(logits[i].clamp(-largest, largest).numpy(), low, atol=1e-4)
            np.testing.assert_allclose(quality[i].numpy(), overlap, atol=1e-4)
            check_masks(whole(logits[i : i + 1])[0].numpy(), found)
