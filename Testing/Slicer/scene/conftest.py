"""What the tests of written results share."""

from __future__ import annotations

import numpy as np
import pytest
from scene_nodes import add_transform, add_volume, affine


@pytest.fixture
def volume(scene):
    """A small oblique volume under a transform."""
    from result_scenes import PLACE, SIZE

    voxels = np.random.default_rng(0).integers(0, 99, SIZE).astype(np.int16)
    move = add_transform(scene, affine((1, 1, 1), (5, 6, 7), (0.3, 0, 0.2)))
    return add_volume(scene, voxels, PLACE, move, name="Bäuche")
