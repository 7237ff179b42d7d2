"""What of the panel can be used when, and what it says."""

from __future__ import annotations

from dataclasses import replace

import pytest
from FewShotSAMModule.panel.choices import Into, Method, SupportSource
from FewShotSAMModule.panel.state import (
    CANCELLING,
    IDLE,
    INSTALLING,
    RUNNING,
    Facts,
    panel_state,
    slice_range,
)

READY = Facts(
    volume="CT", segmentation="Segmentation", segments=2, chosen=2, slices=40, current_slice=12
)
JOBS = (RUNNING, CANCELLING, INSTALLING)


def test_everything_needed_is_there():
    state = panel_state(READY)
    assert state.ready
    assert state.hint == ""
    assert state.slice_hint == ""
    assert state.enabled["segmentVolumeButton"]
    assert state.enabled["segmentSliceButton"]
    assert not state.enabled["cancelButton"]
    assert not state.visible["progressBar"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"volume": ""}, "Choose a volume"),
        ({"segmentation": ""}, "Choose or create a segmentation"),
        ({"segments": 0, "chosen": 0}, "Add a segment"),
        ({"chosen": 0}, "Tick at least one structure"),
        ({"source": SupportSource.file}, "Choose a support file"),
        (
            {"source": SupportSource.file, "support_file": "liver.nrrd"},
            "liver.nrrd: there is no such file",
        ),
        ({"into": Into.existing}, "Choose the segmentation that the result goes into"),
        (
            {"into": Into.existing, "output": "Segmentation", "output_is_support": True},
            "Segmentation: holds the marked slices",
        ),
        ({"method": Method.fob, "fob_weights": "mine.pth"}, "mine.pth: there is no such file"),
        ({"first": 9, "last": 3}, "Slices 9 to 3"),
        ({"first": 2, "last": 40}, "CT has 40 slices, 0 to 39"),
        ({"first": 40}, "CT has 40 slices, 0 to 39"),
    ],
)
def test_one_line_says_what_is_missing(changes, words):
    state = panel_state(replace(READY, **changes))
    assert words in state.hint
    assert "\n" not in state.hint
    assert not state.ready
    assert not state.enabled["segmentVolumeButton"]
    assert not state.enabled["segmentSliceButton"]
    assert not state.enabled["copyPythonButton"]


def test_a_volume_can_be_segmented_though_no_view_shows_it():
    state = panel_state(replace(READY, current_slice=None))
    assert state.enabled["segmentVolumeButton"]
    assert not state.enabled["segmentSliceButton"]
    assert "slice view" in state.slice_hint
    assert state.hint == ""


def test_a_support_file_needs_no_segmentation():
    facts = replace(
        READY, source=SupportSource.file, support_file="liver.nrrd", support_file_exists=True,
        segmentation="", segments=0, chosen=0,
    )  # fmt: skip
    state = panel_state(facts)
    assert state.ready
    assert state.visible["supportFileEdit"]
    assert not state.visible["segmentationSelector"]
    assert not state.visible["paintSection"]


@pytest.mark.parametrize("job", JOBS)
def test_nothing_changes_under_a_running_job(job):
    state = panel_state(replace(READY, job=job, reviewed=True, doubtful=3))
    usable = {name for name, enabled in state.enabled.items() if enabled}
    looking = {"cancelButton", "stopButton", "reviewStrip", "copyPythonButton"}
    assert usable <= looking
    assert ("cancelButton" in usable) == (job != CANCELLING)
    assert ("stopButton" in usable) == (job == "running"), "half an installation is of no use"
    assert state.visible["progressBar"]


def test_review_needs_a_result():
    review = {
        "previousDoubtfulButton", "nextDoubtfulButton", "acceptSliceButton", "rejectSliceButton",
        "addSupportButton", "nextMarkButton",
    }  # fmt: skip
    assert not any(panel_state(READY).enabled[name] for name in review)
    reviewed = replace(READY, reviewed=True, doubtful=2)
    assert all(panel_state(reviewed).enabled[name] for name in review)
    certain = panel_state(replace(reviewed, doubtful=0)).enabled
    assert not certain["nextDoubtfulButton"]
    assert certain["acceptSliceButton"]


@pytest.mark.parametrize(
    ("decision", "accept", "reject"),
    [("", True, True), ("accepted", False, True), ("rejected", True, False)],
)
def test_a_decision_can_be_changed_but_not_repeated(decision, accept, reject):
    enabled = panel_state(replace(READY, reviewed=True, decision=decision)).enabled
    assert enabled["acceptSliceButton"] == accept
    assert enabled["rejectSliceButton"] == reject


@pytest.mark.parametrize("method", list(Method))
def test_fob_weights_are_for_methods_with_fob(method):
    state = panel_state(replace(READY, method=method, fob_weights="mine.pth"))
    assert state.enabled["fobWeightsEdit"] == (method is not Method.synpo)
    assert state.ready == (method is Method.synpo), "what is not used need not be there"
    assert panel_state(replace(READY, method=method)).ready, "the preset has weights"
    there = replace(READY, method=method, fob_weights="mine.pth", fob_weights_known=True)
    assert panel_state(there).ready


def test_overwriting_matters_only_in_an_existing_segmentation():
    new = panel_state(READY)
    assert not new.visible["overwriteBox"]
    existing = panel_state(replace(READY, into=Into.existing, output="Organs"))
    assert existing.visible["overwriteBox"]
    assert existing.enabled["overwriteBox"]
    assert existing.ready


@pytest.mark.parametrize("undoable", [True, False])
def test_the_last_result_can_be_taken_back_when_there_is_one(undoable):
    facts = replace(READY, undoable=undoable)
    assert panel_state(facts).enabled["undoResultButton"] == undoable
    assert not panel_state(replace(facts, job=RUNNING)).enabled["undoResultButton"]


def test_what_has_to_be_fetched_is_said_beforehand():
    state = panel_state(
        replace(READY, to_install=("PyTorch", "scipy"), to_download=("sam2.1-tiny",))
    )
    assert state.ready
    assert "install PyTorch and scipy and to download sam2.1-tiny first" in state.hint
    assert state.enabled["installButton"]
    assert state.enabled["weightsFileButton"]
    assert not panel_state(READY).enabled["installButton"]
    running = panel_state(replace(READY, to_install=("PyTorch",), job=RUNNING))
    assert running.hint == ""


def test_the_states_name_the_same_widgets():
    names = {frozenset(panel_state(f).enabled) for f in (Facts(), READY, replace(READY, job=IDLE))}
    assert len(names) == 1


@pytest.mark.parametrize(
    ("first", "last", "slices", "expected"),
    [
        (0, -1, 40, None),
        (0, 39, 40, None),
        (0, -1, 0, None),
        (5, -1, 40, (5, 39)),
        (0, 20, 40, (0, 20)),
        (3, 7, 0, (3, 7)),
    ],
)
def test_range_as_the_library_takes_it(first, last, slices, expected):
    assert slice_range(first, last, slices) == expected


def test_an_open_end_needs_a_known_number_of_slices():
    with pytest.raises(ValueError, match="last slice"):
        slice_range(5, -1, 0)
