"""A small patient, in the scene too, and one process that segments it."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def phantom():
    """A generated abdomen of eight slices, as the library has it."""
    from FewShotSAMLib.phantom.abdomen import abdomen

    return abdomen((8, 64, 64), (5.2, 5.2, 25.0))


@pytest.fixture(scope="session")
def worker():
    """A process of one thread; it stays warm for all tests of this folder."""
    from FewShotSAMModule.runs.source import forget_sources
    from FewShotSAMModule.runs.worker import Worker

    one = Worker(environment={"OMP_NUM_THREADS": "1"})
    yield one
    one.close()
    forget_sources()


@pytest.fixture
def volume(scene, phantom):
    """The phantom as a volume node."""
    from run_scenes import add_volume

    return add_volume(phantom.image)


@pytest.fixture
def painted(volume, phantom):
    """Liver and spleen, painted on one slice."""
    from run_scenes import LIVER, SPLEEN, paint

    return paint(volume, phantom.marked(phantom.marked_slice()), LIVER, SPLEEN)
