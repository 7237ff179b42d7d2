"""The same support on several volumes of the scene."""

from __future__ import annotations

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core (pip install slicer-core)")

from FewShotSAMModule.runs import logic  # noqa: E402
from FewShotSAMModule.runs.many import segment_many  # noqa: E402
from run_scenes import LIVER, SMALL, add_volume, contents  # noqa: E402

from FewShotSAMLib import InputError, Support, Volume  # noqa: E402
from FewShotSAMLib.phantom.abdomen import abdomen  # noqa: E402


@pytest.fixture
def kept(tmp_path):
    other = abdomen(**SMALL, seed=1)
    support = Support.from_labels(
        other.image, other.marked(other.marked_slice()), axis="axial", keep_labels=[LIVER]
    )
    support.save(tmp_path / "liver support.nrrd")
    return tmp_path / "liver support.nrrd"


@pytest.fixture
def volumes(scene):
    nodes = []
    for seed in (0, 3):
        nodes.append(add_volume(abdomen(**SMALL, seed=seed).image))
        nodes[-1].SetName(f"patient {seed}")
    return nodes


def test_each_volume_gets_a_segmentation_like_that_of_its_own_run(volumes, kept, worker):
    steps, over = [], []
    many = segment_many(
        volumes, kept, device="cpu", worker=worker, callback=over.append,
        progress=lambda done, count, _step: steps.append((done, count)),
    )  # fmt: skip
    assert many.over and many.state == "over" and not many.failed and many.progress == (2, 2)
    assert over == many.runs and [run.volume_node for run in over] == volumes
    assert sorted(set(steps)) == [(0, 2), (1, 2)] and steps == sorted(steps)
    assert len(set(many.nodes)) == 2
    alone = logic.segment(
        volumes[1], supports=[kept], device="cpu", worker=worker, wait=False
    )
    alone.wait()
    assert np.array_equal(many.runs[1].result.labels.voxels, alone.result.labels.voxels)


def test_one_that_fails_does_not_keep_the_others(scene, volumes, kept, worker):
    flat, gone = (
        add_volume(Volume(np.zeros((8, 32, 32), np.int16), name=name)) for name in ("flat", "gone")
    )
    many = segment_many([flat, gone, volumes[0]], [kept], device="cpu", worker=worker, wait=False)
    scene.RemoveNode(gone)
    many.wait()
    assert set(many.failed) == {"flat", "gone"} and "removed" in many.failed["gone"]
    assert all("\n" not in line for line in many.failed.values())
    assert len(many.nodes) == 1 and many.runs[-1].volume_node is volumes[0]


def test_cancelled_in_the_middle_keeps_what_is_done(volumes, kept, worker):
    many = segment_many(volumes, kept, device="cpu", worker=worker, wait=False)
    while many.progress[0] < 1:
        many.poll()
    between = contents()
    while len(many.runs) < 2:
        many.poll()
    many.cancel()
    many.wait()
    assert many.state == "cancelled" and len(many.nodes) == 1 and not many.failed
    assert contents() == between


def test_an_interruption_leaves_nothing_half_done(volumes, kept, worker):
    before = contents()

    def interrupted() -> None:
        raise KeyboardInterrupt

    many = segment_many(volumes, kept, device="cpu", worker=worker, wait=False)
    with pytest.raises(KeyboardInterrupt):
        many.wait(interrupted)
    assert many.over and contents() == before


@pytest.mark.parametrize(("given", "options", "line"), [
    ([], {}, "at least one volume"), (None, {"range": (1, 2)}, "range is of one volume"),
    (None, {"output_segmentation": object()}, "output_segmentation is of one volume"),
])  # fmt: skip
def test_what_cannot_be_is_one_line(volumes, kept, given, options, line):
    with pytest.raises(InputError, match=line):
        segment_many(volumes if given is None else given, kept, **options)
    with pytest.raises(InputError, match="support"):
        segment_many(volumes, [])
    with pytest.raises(InputError, match="none"):
        segment_many(volumes, kept.with_name("none.nrrd"))
