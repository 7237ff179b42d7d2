"""Property tests of files run with few examples every time, and with many at night:
``pytest -m nightly``."""

from __future__ import annotations

from collections.abc import Sequence

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the nightly tests out unless they are asked for."""
    if "nightly" in config.option.markexpr:
        return
    left_out = _nightly(items)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _nightly(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    return [item for item in items if item.get_closest_marker("nightly")]
