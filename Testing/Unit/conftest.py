"""What the unit tests share."""

from __future__ import annotations

import signal
from collections.abc import Iterator
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


@pytest.fixture
def heard_interrupts() -> Iterator[None]:
    """Children hear SIGINT: the shell that started the tests may have it ignored, and a child
    inherits that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
