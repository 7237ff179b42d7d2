"""The documentation site builds without a warning, and its commands and names are there."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import FewShotSAMLib
from FewShotSAMLib.apps.main import command_parser

ROOT = Path(__file__).resolve().parents[3]
PAGES = sorted((ROOT / "docs").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_names(page):
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    for command in re.findall(r"^fewshotsam (.+)$", text, flags=re.MULTILINE):
        args = command_parser().parse_args(shlex.split(command.split("  #")[0]))
        assert args.command in command
    for name in re.findall(r"\bfss\.(\w+)", text):
        assert hasattr(FewShotSAMLib, name), name


def test_site_builds(tmp_path):
    """In strict mode a dead link or a docstring that says what is not there is an error."""
    pytest.importorskip("mkdocs", reason="the extra `docs` brings MkDocs")
    pytest.importorskip("mkdocstrings", reason="the extra `docs` brings MkDocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "python.html").read_text(encoding="utf-8")
    assert "segment_many" in text and "formats" in text
