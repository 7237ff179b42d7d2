"""The steps of `acceptance.py`, as far as they run without the application."""

from __future__ import annotations

import acceptance
from panel_driver import fullest, show

# These need Slicer's own saving, loading and closing of scenes.
IN_THE_APPLICATION = {"save_and_load", "close_the_scene"}


def test_the_steps_pass_on_the_stand_ins(panel):
    panel.parameters.firstSlice, panel.parameters.lastSlice = 5, 10
    show(panel, fullest(panel.parameters.volume, panel.parameters.supportSegmentation) + 1)
    session = acceptance.Session(panel)
    steps = [one for one in acceptance.STEPS if one.__name__ not in IN_THE_APPLICATION]
    assert len(steps) == len(acceptance.STEPS) - len(IN_THE_APPLICATION)
    rows = [acceptance.do(session, step) for step in steps if step is not acceptance.cancel]
    assert [row.problem for row in rows] == [""] * len(rows)
    text = acceptance.table(rows)
    assert text.count("passed") == len(rows) and text.count("\n") == len(rows) + 1


def test_a_step_that_fails_is_told_of_and_the_others_go_on(panel):
    def broken(session):
        """Something is not as written."""
        raise AssertionError("two\nlines")

    row = acceptance.do(acceptance.Session(panel), broken)
    assert row.problem == "AssertionError: two"
    assert "| Something is not as written. | AssertionError: two |" in acceptance.table([row])
