"""The module's self test: what a user does, on a generated abdomen, through the real parts.

The steps run inside of Slicer (Reload & Test, or `FewShotSAMTest().runTest()` in the console), and
in the repository's tests without the application. Each starts with an empty scene.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from FewShotSAMLib import InputError

from .scene.sample_data import add_segmentation, add_volume
from .scene.segments import read_segments
from .scene.slice_edits import read_slice

# Small, so that the whole test takes a minute on a laptop.
_SHAPE, _SPACING = (24, 128, 128), (2.5, 2.5, 8.0)


def paint_and_segment(logic: Any) -> None:
    """One painted slice gives the volume, with the names of the painted segments."""
    phantom, volume, painted = _abdomen()
    result = logic.segment(volume, painted, device="cpu")
    names = [info.name for info in read_segments(result)]
    assert names == [info.name for info in read_segments(painted)], names
    dice = _dice(phantom, volume, result)
    assert min(dice.values()) > 0.7, dice


def cancel(logic: Any) -> None:
    """A cancelled run leaves the scene as it was, and the next run works."""
    phantom, volume, painted = _abdomen()
    before = _contents()
    run = logic.segment(volume, painted, device="cpu", wait=False)
    _poll(run, until=lambda: run.progress is not None or run.over)
    run.cancel()
    _poll(run, until=lambda: run.over)
    assert run.state == "cancelled", (run.state, run.message)
    assert _contents() == before
    k = phantom.marked_slice()
    assert logic.segment(volume, painted, device="cpu", range=(k, k + 1)) is not None


def undo(logic: Any) -> None:
    """One undo takes the result back."""
    phantom, volume, painted = _abdomen()
    before = _contents()
    k = phantom.marked_slice()
    run = logic.segment(volume, painted, range=(k - 1, k + 1), device="cpu", wait=False)
    _poll(run, until=lambda: run.over)
    assert run.state == "done", run.message
    assert _contents() != before
    run.undo()
    assert _contents() == before


def move_a_point(logic: Any) -> None:
    """A structure follows its points: without a positive one it is taken not to be there."""
    phantom, volume, painted = _abdomen()
    index = phantom.marked_slice() + 2
    first = logic.segment_slice(volume, painted, index, commit=False, device="cpu")
    label = next(label for label, points in first.prompts.items() if len(points.positives))
    assert (first.preview.labels == label).any()
    from FewShotSAMLib.prompting.point_prompts import PointPrompts

    none = PointPrompts.of([], first.prompts[label].negatives)
    again = logic.segment_slice(
        volume, painted, index, commit=False, prompts={label: none}, device="cpu"
    )
    assert not (again.preview.labels == label).any()


def save_and_load(logic: Any) -> None:
    """A saved scene has the result when it is loaded again."""
    phantom, volume, painted = _abdomen()
    k = phantom.marked_slice()
    result = logic.segment(volume, painted, range=(k - 1, k + 1), device="cpu")
    name, segments = result.GetName(), read_segments(result)
    middle = _middle(volume, result)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "scene ü.mrb")
        assert slicer.util.saveScene(path)
        slicer.mrmlScene.Clear()
        assert slicer.util.loadScene(path)
        result = slicer.mrmlScene.GetFirstNodeByName(name)
        volume = slicer.mrmlScene.GetFirstNodeByName("Generated abdomen")
        loaded = read_segments(result)
        assert [(s.name, s.terminology) for s in loaded] == [
            (s.name, s.terminology) for s in segments
        ]
        # The file has colours with six digits.
        assert np.allclose([s.colour for s in loaded], [s.colour for s in segments], atol=1e-3)
        assert np.array_equal(_middle(volume, result), middle)


def bad_input(logic: Any) -> None:
    """Nothing painted: one line says so, and the scene is as it was."""
    _phantom, volume, _painted = _abdomen()
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Empty")
    before = _contents()
    try:
        logic.segment(volume, empty)
    except InputError as problem:
        assert "\n" not in str(problem), problem
    else:
        raise AssertionError("an empty segmentation was taken as a support")
    assert _contents() == before


# Those that the application alone can do come last.
STEPS = (paint_and_segment, cancel, undo, move_a_point, bad_input, save_and_load)


def _abdomen() -> tuple[Any, Any, Any]:
    from FewShotSAMLib.phantom.abdomen import abdomen

    phantom = abdomen(_SHAPE, _SPACING)
    volume = add_volume(phantom.image, "Generated abdomen")
    drawn = phantom.marked(phantom.marked_slice())
    return phantom, volume, add_segmentation(volume, drawn, "Marked slice")


def _poll(run: Any, until: Any, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not until():
        run.poll()
        if hasattr(slicer, "app"):
            slicer.app.processEvents()
        assert time.monotonic() < end, f"still {run.state} after {seconds} s"


def _dice(phantom: Any, volume: Any, result: Any) -> dict[str, float]:
    ids = {n: info.id for n, info in enumerate(read_segments(result), 1)}
    names = {n: info.name for n, info in enumerate(read_segments(result), 1)}
    found = np.stack([read_slice(volume, result, ids, 0, k) for k in range(_SHAPE[0])])
    truth = {one.name: value for value, one in phantom.truth.segments.items()}
    dice = {}
    for n, name in names.items():
        mask, true = found == n, phantom.truth.voxels == truth[name]
        dice[name] = 2.0 * (mask & true).sum() / max(mask.sum() + true.sum(), 1)
    return dice


def _middle(volume: Any, result: Any) -> np.ndarray:
    ids = {n: info.id for n, info in enumerate(read_segments(result), 1)}
    return read_slice(volume, result, ids, 0, _SHAPE[0] // 2)


def _contents() -> list[tuple[str, str]]:
    """Ids and names of all nodes but those that the application makes for itself."""
    scene = slicer.mrmlScene
    nodes = (scene.GetNthNode(n) for n in range(scene.GetNumberOfNodes()))
    kinds = ("vtkMRMLVolumeNode", "vtkMRMLSegmentationNode", "vtkMRMLMarkupsNode")
    return [(n.GetID(), n.GetName()) for n in nodes if any(n.IsA(kind) for kind in kinds)]
