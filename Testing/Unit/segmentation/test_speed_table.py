"""The table of `Testing/Benchmarks/speed.py`: measured small, kept, and compared."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.append(str(ROOT / "Testing" / "Benchmarks"))

import speed  # noqa: E402
from speed_table import Ratio, read, save, slower  # noqa: E402

SMALL = ["--slices", "3", "--structures", "4", "--sizes", "64", "--turns", "1"]


def test_a_ratio_is_of_the_least_and_its_noise_of_all():
    one = Ratio.of([3.0, 4.0, 8.0], [1.0, 2.0, 2.0])
    assert one == Ratio(3.0, 2.0)


@pytest.mark.parametrize(
    ("now", "worse"),
    [
        (Ratio(2.0, 0.0), []),
        (Ratio(1.0, 0.0), []),
        (Ratio(2.3, 0.0), []),  # within what was noise before
        (Ratio(2.3, 0.6), []),  # and within what is noise now
        (Ratio(2.5, 0.0), ["stage"]),
    ],
)
def test_slower_is_what_grew_beyond_the_noise_of_both(now, worse):
    assert slower({"stage": now, "new": Ratio(9.0, 0.0)}, {"stage": Ratio(2.0, 0.4)}) == worse


def test_small_growth_and_stages_that_take_no_time_do_not_count():
    before = {"long": Ratio(10.0, 0.0), "short": Ratio(0.01, 0.0)}
    assert slower({"long": Ratio(10.9, 0.0), "short": Ratio(0.029, 0.0)}, before) == []
    assert slower({"long": Ratio(11.1, 0.0), "short": Ratio(0.031, 0.0)}, before) == [*before]


def test_structures_are_organs_or_their_parts():
    organs = np.zeros((2, 40, 40), np.uint8)
    for n, corner in enumerate([(0, 0), (0, 20), (20, 0), (20, 20)], 1):
        organs[:, corner[0] : corner[0] + 16, corner[1] : corner[1] + 16] = n
    for structures in (1, 4, 16):
        labels = speed.divided(organs, structures)
        assert set(np.unique(labels)) == set(range(structures + 1))
    assert np.array_equal(labels > 0, organs > 0)


def test_each_kind_of_more_is_measured_over_the_usual_case():
    given = "--slices 4 3 6 --structures 4 --sizes 64 48"
    options = speed.arguments(given.split())
    cases = speed.chosen_cases(options)
    assert [(case.slices, case.size) for case in cases] == [(4, 64), (3, 64), (6, 64), (4, 48)]
    made = speed.volumes(cases)
    for case, (image, truth) in made.items():
        assert image.shape == truth.shape == (case.slices, case.size, case.size)
        assert np.allclose(np.multiply(image.spacing, image.shape[::-1]), (320, 320, 200))
        assert set(np.unique(truth.voxels)) == set(range(5))
    rows = speed.Bench(speed.load_segmenter(device="cpu").encoders).costs(made, 1)
    assert [name for name in rows if name.startswith("cost")] == [
        "cost of slices 3 / 4", "cost of slices 6 / 4", "cost of size 48 / 64"
    ]
    assert all(row.value > 0 for row in rows.values())


@pytest.mark.slow
def test_it_measures_keeps_and_compares(tmp_path, capsys):
    """Beside a file that says that everything was quicker."""
    before, now = tmp_path / "before.json", tmp_path / "now.json"
    setting = speed.setting_of(speed.arguments(SMALL))
    quick = {name: Ratio(0.1, 0.0) for name in ("run / networks", "memory, of the run")}
    save(before, setting, quick)
    assert speed.main([*SMALL, "--save", str(now), "--compare", str(before)]) == 1
    said = capsys.readouterr()
    assert said.out.count("slower") == 2
    assert "run / networks; memory, of the run" in said.err
    rows = read(now, setting)
    for name in ("run / networks", "stage decode / networks", "slices / networks, 4 organs"):
        assert name in said.out and rows[name].value > 0
    assert rows["memory, of the run"].value > 1


def test_what_was_measured_otherwise_is_not_compared(tmp_path, capsys):
    save(tmp_path / "before.json", speed.setting_of(speed.arguments(SMALL)), {})
    for name in ("before.json", "none.json"):
        assert speed.main(["--compare", str(tmp_path / name)]) == 2
        assert name in capsys.readouterr().err


def test_the_kept_file_is_of_the_usual_setting():
    options = speed.arguments([])
    rows = read(ROOT / "Testing" / "Benchmarks" / "speed.json", speed.setting_of(options))
    assert {"run / networks", "cost of slices 300 / 36", "cost of structures 16 / 4"} <= set(rows)
