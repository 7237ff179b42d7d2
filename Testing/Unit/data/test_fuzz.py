"""Damaged files of every kind are read or refused in one line; `make fuzz` reads 2000 of them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.append(str(ROOT / "Testing" / "Benchmarks"))

from fuzz_readers import READ, REFUSED, Child, outcomes, write_valid  # noqa: E402


@pytest.fixture(scope="module")
def child():
    one = Child()
    yield one
    one.close()


def test_what_is_whole_is_read(child, tmp_path):
    for path in write_valid(tmp_path):
        assert child.ask(path) == READ, path.name


def test_damaged_files_do_no_harm(tmp_path):
    found = list(outcomes(0, 60, tmp_path))
    assert len(found) == 60
    harm = [one for one in found if not one.harmless]
    assert not harm, harm
    assert any(one.said == READ for one in found)
    assert any(one.said.startswith(REFUSED) for one in found)


@pytest.mark.parametrize("number", [2139, 2869, 5149])
def test_what_once_ended_the_process_is_refused(tmp_path, number):
    """A long line of an NRRD header that is no field, or has zero bytes."""
    (one,) = outcomes(number, 1, tmp_path)
    assert one.kind == "support.nrrd" and one.said.startswith(REFUSED), one.said


def test_harm_is_noticed(child, tmp_path):
    """A file that is none of the readers' kinds, and a process that dies."""
    (tmp_path / "a.nrrd").write_bytes(b"no image")
    assert child.ask(tmp_path / "a.nrrd").startswith(REFUSED)
    child._process.kill()
    said = child.ask(tmp_path / "a.nrrd")
    assert said.startswith("died"), said
    assert child.ask(tmp_path / "a.nrrd").startswith(REFUSED), "another process goes on"
