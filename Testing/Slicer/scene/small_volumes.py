"""A small anisotropic volume that lies as patients do."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("slicer", reason="needs slicer-core (pip install slicer-core)")

from scene_nodes import affine

SIZE = (6, 8, 10)
PLACE = affine((1, 1.5, 4), (10, -20, 30), signs=(-1, -1, 1))
LPS = np.array([-1, -1, 1])


def voxels(seed=0, size=SIZE):
    return np.random.default_rng(seed).integers(0, 99, size).astype(np.int16)
