"""Supports from several places count the same structures the same way."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("slicer.util", reason="needs slicer-core (pip install slicer-core)")

from FewShotSAMModule.scene.segments import SegmentInfo  # noqa: E402
from FewShotSAMModule.scene.structures import together  # noqa: E402

from FewShotSAMLib import Segment, Support, Volume  # noqa: E402

RED = (1.0, 0.0, 0.0)


def support(names: dict[int, str], seed: int = 0) -> Support:
    """Labels in order, each one row of a slice."""
    random = np.random.default_rng(seed)
    image = Volume(random.integers(0, 900, (3, 16, 16)).astype(np.int16), modality="MR")
    drawn = np.zeros((3, 16, 16), np.uint16)
    for row, label in enumerate(names):
        drawn[1, 2 * row + 1, 2:9] = label
    segments = {label: Segment(name, RED, f"code of {name}") for label, name in names.items()}
    labels = image.with_voxels(drawn, modality="other", segments=segments)
    return Support.from_labels(image, labels, axis="axial")


def infos(names: dict[int, str]) -> dict[int, SegmentInfo]:
    return {label: SegmentInfo(f"id {name}", name, RED) for label, name in names.items()}


def rows(one: Support) -> dict[str, list[int]]:
    """Rows on which each structure is drawn."""
    return {
        name: one.masks(label)[0].any(axis=1).nonzero()[0].tolist()
        for label, name in one.names.items()
    }


def test_painted_ones_alone_stay_as_they_are():
    painted, known = support({1: "liver"}), infos({1: "liver"})
    assert together([painted], known, []) == ((painted,), known)


def test_a_file_alone_keeps_its_labels():
    kept = support({3: "liver", 300: "spleen"})
    (found,), segments = together([], {}, [kept])
    assert found.names == {3: "liver", 300: "spleen"} and rows(found) == rows(kept)
    assert {label: info.name for label, info in segments.items()} == found.names
    assert segments[300] == SegmentInfo("spleen", "spleen", RED, "code of spleen")
    assert found.labels.voxels.dtype == np.uint16


def test_the_same_name_is_the_same_structure():
    """What is 1 in the file is 2 in the scene; a new structure whose label is taken gets a free
    one."""
    painted, known = support({1: "spleen", 2: "liver"}), infos({1: "spleen", 2: "liver"})
    kept = support({1: "liver", 2: "aorta", 7: "colon"}, seed=1)
    supports, segments = together([painted], known, [kept])
    assert supports[0] is painted
    assert supports[1].names == {2: "liver", 3: "aorta", 7: "colon"}
    assert rows(supports[1]) == rows(kept)
    assert {n: info.name for n, info in segments.items()} == {
        1: "spleen", 2: "liver", 3: "aorta", 7: "colon"
    }  # fmt: skip
    assert segments[2] == known[2], "the scene's look counts"
    assert supports[1].slices_of(3) == kept.slices_of(2)


def test_ids_are_never_given_twice():
    known = {1: SegmentInfo("aorta", "vessel", RED)}
    _, segments = together([support({1: "vessel"})], known, [support({5: "aorta"}, seed=1)])
    assert [info.id for info in segments.values()] == ["aorta", "aorta_2"]
