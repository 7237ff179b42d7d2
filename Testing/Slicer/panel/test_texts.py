"""Progress in words, the choices' words, and the script that the panel writes."""

from __future__ import annotations

import ast

import pytest
from FewShotSAMModule.panel import choices
from FewShotSAMModule.panel.script_text import Choices, changed_options, python_text
from FewShotSAMModule.runs.progress_text import (
    Pace,
    done_line,
    doubts_line,
    duration,
    progress_line,
)

from FewShotSAMLib.segmentation.results import DOUBTFUL, FOUND, NOT_FOUND, StructureResult


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "0 s"), (3.4, "3 s"), (59.6, "1 min"), (125, "2 min 5 s"), (120, "2 min"),
        (754, "12 min"), (3600, "1 h"), (3840, "1 h 4 min"), (-1, "0 s"),
    ],
)  # fmt: skip
def test_durations_are_as_long_as_needed(seconds, text):
    assert duration(seconds) == text


def test_pace_extrapolates_the_stage_at_hand():
    now = [100.0]
    pace = Pace(lambda: now[0])
    assert pace.seen("look", 0, 10) is None
    now[0] += 0.5
    assert pace.seen("look", 1, 10) is None, "half a second is too short to tell"
    now[0] += 1.5
    assert pace.seen("look", 5, 10) == pytest.approx(2.0)
    now[0] += 0.1
    assert pace.seen("propagate", 0, 40) is None, "another stage has another pace"
    now[0] += 10.0
    assert pace.seen("propagate", 20, 40) == pytest.approx(10.0)
    assert pace.seen("propagate", 40, 40) == pytest.approx(0.0)
    assert pace.elapsed == pytest.approx(12.1)


def test_progress_names_slices_left_and_time():
    assert progress_line("propagate", 12, 36, 65.0) == (
        "Following the structures: 12 of 36 done, 24 slices left, 1 min 5 s to go"
    )
    assert progress_line("slices", 35, 36, None) == "Segmenting: 35 of 36 done, 1 slice left"
    assert progress_line("load", 0, 1, None) == "Loading the networks"
    assert progress_line("load", 0, 0, None, "Loading sam2.1-tiny") == "Loading sam2.1-tiny"
    assert progress_line("write back", 0, 0, None) == "Write back"


def test_every_stage_of_the_library_that_counts_has_words():
    import re
    from pathlib import Path

    import FewShotSAMLib

    folder = Path(FewShotSAMLib.__file__).parent / "segmentation"
    text = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    stages = set(re.findall(r'(?:\.report|segmented_runs)\([^"()]*"([^"]+)"', text))
    stages |= set(re.findall(r'\bstage(?:: str = |=)"(\w+)"', text))
    assert {"look", "slices", "propagate", "again", "return"} <= stages
    for stage in stages:
        assert "slices left" in progress_line(stage, 1, 9, None), stage


def test_done_line_says_when_nothing_was_found():
    assert "Nothing was found" in done_line({}, 3.0, "cpu", 0)
    line = done_line({1: "liver", 2: "spleen"}, 3.0, "cpu", 1)
    assert line == "Done: liver, spleen, in 3 s on cpu. Look at 1 doubtful slice below."


def test_what_is_missing_is_said_first_and_what_is_sure_is_not_said():
    sure, unsure, gone = (
        StructureResult(n, name, confidence, state)
        for n, (name, confidence, state) in enumerate(
            [("liver", 0.9, FOUND), ("left kidney", 0.41, DOUBTFUL), ("spleen", 0.0, NOT_FOUND)]
        )
    )
    assert doubts_line([]) == doubts_line([sure]) == ""
    said = doubts_line([sure, unsure, gone])
    assert said.startswith("NOT FOUND, left empty: spleen; mark a slice here")
    assert "DOUBTFUL, check it or mark a slice here: left kidney (estimated Dice 0.41)." in said
    assert "liver" not in said


def enums():
    return [value for value in vars(choices).values() if isinstance(value, choices.Enum.__class__)]


def test_choices_have_labels_of_their_own():
    found = [e for e in enums() if e not in (choices.Enum, choices.Choice)]
    assert len(found) >= 7
    for enum in found:
        labels = [member.label() for member in enum]
        assert all(labels)
        assert len(set(labels)) == len(labels)
        assert all(member.name == member.value for member in enum), "a saved scene keeps names"


def test_choices_are_the_library_s_words():
    pytest.importorskip("torch", reason="the library's lists need PyTorch")
    from FewShotSAMLib.apps.options import STRATEGIES
    from FewShotSAMLib.data.slicing import AXES
    from FewShotSAMLib.prompting.registry import METHODS
    from FewShotSAMLib.weights.catalogue import catalogue

    assert [m.value for m in choices.Method] == list(METHODS)
    assert [m.label() for m in choices.Method] == [entry.label for entry in METHODS.values()]
    assert {p.value for p in choices.Preset} <= set(catalogue().presets)
    assert {s.value for s in choices.Strategy} <= set(STRATEGIES)
    assert {a.value for a in choices.Axis} == {"auto", *AXES}


def test_script_is_python_and_quotes_names():
    text = python_text(
        Choices(
            volume="Leber \"süß\" [1]", segmentation="it's\\mine", output="out",
            options={"model": "fast", "segment_ids": ["Segment_1"], "range": (3, 9)},
        )
    )  # fmt: skip
    tree = ast.parse(text)
    call = next(
        node for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "segment"
    )  # fmt: skip
    assert [argument.id for argument in call.args] == ["volume", "support", "output"]
    given = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
    assert given == {"model": "fast", "segment_ids": ["Segment_1"], "range": (3, 9)}
    constants = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    assert {'Leber "süß" [1]', "it's\\mine", "out"} <= constants


def test_script_with_a_support_file_passes_no_segmentation():
    text = python_text(Choices(volume="CT", support_file="liver support.nrrd"))
    assert "    None,\n    supports=['liver support.nrrd'],\n" in text
    ast.parse(text)


def test_only_changed_options_are_written():
    defaults = {"model": "embedded", "seed": 0}
    assert changed_options({"model": "embedded", "seed": 3}, defaults) == {"seed": 3}
    with pytest.raises(KeyError):
        changed_options({"modell": "embedded"}, defaults)
