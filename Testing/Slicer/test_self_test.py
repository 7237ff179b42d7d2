"""The module's self test and sample data, as far as they run without the application."""

from __future__ import annotations

import inspect
import os
from types import SimpleNamespace

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("torch", reason="segmenting needs PyTorch")

from FewShotSAMModule import self_test  # noqa: E402
from FewShotSAMModule.runs import logic, sample_abdomen  # noqa: E402
from FewShotSAMModule.scene import sample_data  # noqa: E402
from FewShotSAMModule.scene.results import ResultWriter  # noqa: E402
from FewShotSAMModule.scene.segments import read_segments  # noqa: E402
from FewShotSAMModule.scene.slice_edits import read_slice  # noqa: E402
from FewShotSAMModule.scene.volumes import read_volume_node  # noqa: E402

# Saving and loading a bundle needs the application's I/O manager.
NEEDS_APPLICATION = {"save_and_load"}
HERE = [step for step in self_test.STEPS if step.__name__ not in NEEDS_APPLICATION]


@pytest.fixture(scope="module", autouse=True)
def one_process():
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    yield
    logic.shared_worker().close()
    if before is None:
        del os.environ["OMP_NUM_THREADS"]
    else:
        os.environ["OMP_NUM_THREADS"] = before


@pytest.fixture
def console():
    """What the self test asks of `FewShotSAMLogic`, which only the application can make."""
    return SimpleNamespace(segment=logic.segment, segment_slice=logic.segment_slice)


@pytest.mark.parametrize("step", HERE, ids=lambda step: step.__name__)
def test_step_passes(scene, console, step):
    step(console)


def test_every_step_says_what_it_shows():
    assert len(self_test.STEPS) >= 6
    for step in self_test.STEPS:
        assert inspect.getdoc(step)


def test_generated_abdomen_lies_as_the_library_has_it(scene):
    from FewShotSAMLib.phantom.abdomen import abdomen

    shape, spacing = (12, 48, 56), (5.0, 6.0, 16.0)
    volume, marked = sample_data.add_generated_abdomen(shape, spacing)
    phantom = abdomen(shape, spacing)
    read = read_volume_node(volume)
    assert read.same_grid(phantom.image)
    assert np.array_equal(read.voxels, phantom.image.voxels)
    assert read.modality == "MR"
    ids = {int(info.id.split("_")[1]): info.id for info in read_segments(marked)}
    k = phantom.marked_slice()
    assert np.array_equal(read_slice(volume, marked, ids, 0, k), phantom.truth.voxels[k])
    assert not read_slice(volume, marked, ids, 0, k - 1).any()


def test_organs_carry_terminology(scene):
    _, marked = sample_data.add_generated_abdomen((12, 48, 56), (5.0, 6.0, 16.0))
    for info in read_segments(marked):
        parts = info.terminology.split("~")
        assert len(parts) == 7
        assert all(part.count("^") == 2 for part in [*parts[1:4], *parts[5:]])
        assert parts[2].split("^")[2].lower() in info.name
    assert sample_data.terminology("something else") == ""


def test_sample_data_is_registered_with_checksums(monkeypatch):
    registered = []
    stand_in = SimpleNamespace(
        SampleDataLogic=SimpleNamespace(
            registerCustomSampleDataSource=lambda **source: registered.append(source)
        )
    )
    monkeypatch.setitem(__import__("sys").modules, "SampleData", stand_in)
    sample_abdomen.register_sample_data()
    assert len(registered) == 2
    for source in registered:
        if source["uris"]:
            digest = source["checksums"].removeprefix("SHA256:")
            assert len(digest) == 64
            assert source["uris"].endswith(digest)
        else:
            assert source["customDownloader"]


def test_the_generated_abdomen_is_made_by_the_process_and_shown(scene, monkeypatch):
    from FewShotSAMLib.phantom.abdomen import abdomen

    shown, ticks = [], []
    manager = SimpleNamespace()
    monkeypatch.setattr(
        slicer, "app",
        SimpleNamespace(layoutManager=lambda: manager, processEvents=lambda: ticks.append(1)),
        raising=False,
    )  # fmt: skip
    monkeypatch.setattr(
        slicer.util, "setSliceViewerLayers", lambda **layers: shown.append(layers), raising=False
    )
    shape, spacing = (12, 48, 56), (5.0, 6.0, 16.0)
    volume, marked = sample_abdomen.show_generated_abdomen(shape, spacing)
    assert np.array_equal(read_volume_node(volume).voxels, abdomen(shape, spacing).image.voxels)
    assert marked.GetName() == "Marked slice" and len(read_segments(marked)) == 4
    assert shown == [{"background": volume, "fit": True}]
    assert ticks, "the window stays at hand meanwhile"
    writer = ResultWriter(volume, {1: read_segments(marked)[0]})
    assert writer.commit(np.zeros(shape, np.uint8)).GetName() == "Generated abdomen FewShotSAM"
