"""What the unit tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from FewShotSAMLib.phantom.abdomen import Phantom
    from FewShotSAMLib.segmentation.segmenter import Segmenter


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Small tensors only lose by being shared out, and several test processes run side by side."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def segmenter() -> Segmenter:
    """The shipped model on the CPU, at half its usual size (see `at_half_size`)."""
    from small_abdomens import at_half_size

    from FewShotSAMLib.segmentation.segmenter import load_segmenter

    return at_half_size(load_segmenter(device="cpu"))


@pytest.fixture(scope="module")
def patient() -> Phantom:
    """A small generated abdomen, to draw on."""
    from small_abdomens import two_patients

    return two_patients()[0]


@pytest.fixture(scope="module")
def other() -> Phantom:
    """Another patient than `patient`."""
    from small_abdomens import two_patients

    return two_patients()[1]
