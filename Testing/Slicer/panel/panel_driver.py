"""A panel on stand-ins for the application, and the hands of the person in front of it.

The scene, the library and the segmentation process are the real ones; `standin_application` says
what that shows and what it does not.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed")
pytest.importorskip("torch", reason="segmenting needs PyTorch")
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import standin_application as application  # noqa: E402
from FewShotSAMModule.panel import choices  # noqa: E402
from FewShotSAMModule.panel.context import Context  # noqa: E402
from FewShotSAMModule.panel.state import IDLE  # noqa: E402
from FewShotSAMModule.runs import logic  # noqa: E402
from FewShotSAMModule.scene.slice_edits import read_slice  # noqa: E402
from panel_files import UI, WITH_QT, fields  # noqa: E402


def start(scene, monkeypatch):
    """The application's stand-ins, and the parts with Qt imported anew on them when next asked
    for; returns the widgets and their root."""
    application.start(scene, monkeypatch)
    forget()
    return application.widgets(UI)


def forget():
    """Lets go of the parts that were imported on stand-ins."""
    for name in WITH_QT:
        sys.modules.pop(name, None)


def console():
    """What the panel asks of `FewShotSAMLogic`, which only the application can make."""
    return SimpleNamespace(
        segment=logic.segment, segment_slice=logic.segment_slice, worker=logic.shared_worker
    )


def part(name):
    """A part of the panel, on the stand-ins of this test."""
    return importlib.import_module(f"FewShotSAMModule.panel.{name}")


def parameters(**changes):
    values = {
        "volume": None, "supportSource": choices.SupportSource.segmentation,
        "supportSegmentation": None, "supportFile": "", "skippedStructures": [],
        "preset": choices.Preset.embedded, "into": choices.Into.new, "output": None,
        "overwrite": choices.Overwrite.never, "method": choices.Method.synpo,
        "fobWeights": "", "strategy": choices.Strategy.propagate,
        "axis": choices.Axis.auto, "extent": choices.Extent.all, "aroundSlices": 5,
        "firstSlice": 0, "lastSlice": -1,
        "device": choices.Device.cpu, "precision": choices.Precision.fp32, "seed": 0,
        "doubtfulBelow": 0.8, "keepWarm": True, "keepCopy": False,
    }  # fmt: skip
    assert set(values) == set(fields())
    return application.Parameters(**{**values, **changes, "device": choices.Device.cpu})


def settle(until=lambda: True, seconds=600.0):
    """Lets timers run until each that rings once has rung and a condition holds."""
    over = time.monotonic() + seconds
    slicer.app.processEvents()
    while application.rings_soon() or not until():
        assert time.monotonic() < over, "it takes too long"
        time.sleep(0.005)
        slicer.app.processEvents()


def finish(panel):
    settle(lambda: panel.idle)
    return panel.ui.statusText.text


def show(panel, index):
    """The axial view goes to a slice."""
    from FewShotSAMModule.scene.viewing import show_slice

    show_slice(panel.parameters.volume, 0, index, panel.shown.nodes()[0])
    settle()


def segmentations():
    return slicer.util.getNodesByClass("vtkMRMLSegmentationNode")


def found(panel):
    """Labels (k, j, i) of the segmentation under review."""
    review = panel.review
    volume = panel.parameters.volume
    count = volume.GetImageData().GetDimensions()[2]
    return np.stack(
        [read_slice(volume, review.node, review.segment_ids, 0, k) for k in range(count)]
    )


def drawn(panel, k):
    ids = {n + 1: info.id for n, info in enumerate(panel.structures.segments)}
    return read_slice(panel.parameters.volume, panel.parameters.supportSegmentation, ids, 0, k)


def bare_context(ui, **known):
    """What a section is given, without a panel: no view shows anything and nothing is going on
    but for what is ``known``. Returns it, and the list of what is said."""
    said = []
    given = {
        "place": lambda: None, "view": lambda axis: None, "say": said.append,
        "refresh": lambda: None, "refresh_soon": lambda: None, "job": lambda: IDLE, **known,
    }  # fmt: skip
    return Context(ui, console(), **given), said


def red_view():
    """The axial slice view."""
    return slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode()


def fullest(volume, segmentation):
    """The axial slice with most of the segmentation's first segment."""
    first = {1: segmentation.GetSegmentation().GetNthSegmentID(0)}
    count = volume.GetImageData().GetDimensions()[2]
    sizes = [np.count_nonzero(read_slice(volume, segmentation, first, 0, k)) for k in range(count)]
    return int(np.argmax(sizes))
