"""What the unit tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from FewShotSAMLib.segmentation.segmenter import Segmenter


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Small tensors only lose by being shared out, and several test processes run side by side."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def segmenter() -> Segmenter:
    """The shipped model on the CPU."""
    from FewShotSAMLib.segmentation.segmenter import load_segmenter

    return load_segmenter(device="cpu")
