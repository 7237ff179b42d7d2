"""What Slicer's extensions index, citation tools and readers of the tutorial are given."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from FewShotSAMLib.version import __version__

ROOT = Path(__file__).resolve().parents[2]
ENTRY = json.loads((ROOT / "FewShotSAM.json").read_text(encoding="utf-8"))

# The rules of the index's schema, version 1.0.2: every key that it knows, and what it may be.
SCHEMA = (
    "https://raw.githubusercontent.com/Slicer/Slicer/main/Schemas/"
    "slicer-extension-catalog-entry-schema-v1.0.2.json#"
)
REQUIRED = {"$schema", "category", "scm_url"}
RULES = {
    "$schema": lambda value: value == SCHEMA,
    "category": lambda value: isinstance(value, str) and value,
    "scm_url": lambda value: re.fullmatch(r"https://\S+\.git", value),
    "scm_revision": lambda value: isinstance(value, str) and value,
    "scm_type": lambda value: value in ("git", "local"),
    "build_dependencies": lambda value: all(isinstance(one, str) for one in value),
    "dicom_support_rule": lambda value: isinstance(value, str),
    "build_subdirectory": lambda value: isinstance(value, str),
    "enabled": lambda value: isinstance(value, bool),
    "tier": lambda value: type(value) is int and 1 <= value <= 5,
}


def broken(entry):
    """The keys of an entry that break the schema's rules."""
    known = {key for key in entry if key in RULES}
    wrong = {key for key in known if not RULES[key](entry[key])}
    return wrong | (REQUIRED - set(entry)) | (set(entry) - set(RULES))


def test_the_entry_keeps_the_rules_of_the_index():
    assert broken(ENTRY) == set()
    assert list(ENTRY) == sorted(ENTRY), "the index keeps its keys in order"


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"tier": 0}, "tier"), ({"tier": True}, "tier"), ({"enabled": "1"}, "enabled"),
        ({"scm_type": "svn"}, "scm_type"), ({"homepage": "x"}, "homepage"),
        ({"build_dependencies": [1]}, "build_dependencies"), ({"$schema": "1"}, "$schema"),
    ],
)  # fmt: skip
def test_a_wrong_entry_would_be_seen(change, key):
    assert broken({**ENTRY, **change}) == {key}
    assert broken({k: v for k, v in ENTRY.items() if k != "category"}) == {"category"}


def test_the_entry_and_the_build_say_the_same():
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    said = dict(re.findall(r'^set\(EXTENSION_(\w+) "([^"]+)"\)$', text, flags=re.MULTILINE))
    assert ENTRY["category"] == said["CATEGORY"]
    assert ENTRY["build_dependencies"] == said["DEPENDS"].split()
    assert "project(FewShotSAM)" in text, "the file's name"
    described = (ROOT / "FewShotSAM.s4ext").read_text(encoding="utf-8")
    assert f"scmurl {ENTRY['scm_url']}\n" in described


@pytest.mark.parametrize(
    ("modality", "supported"), [("CT", True), ("MR", True), ("SEG", False), ("RTSTRUCT", False)]
)
def test_the_dicom_rule_names_the_modalities(modality, supported):
    """The rule language shares comparisons, strings and `or` with Python."""
    rule = ENTRY["dicom_support_rule"]
    assert re.fullmatch(r"Modality == '\w+'( or Modality == '\w+')*", rule)
    named = re.findall(r"'(\w+)'", rule)
    assert (modality in named) is supported


def test_the_citation_is_of_this_version_and_names_both_papers():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {__version__}\n" in text
    assert text.startswith("cff-version: 1.2.0\nmessage: ")
    for key in ("title", "type", "authors", "license", "repository-code"):
        assert re.search(rf"^{key}:", text, flags=re.MULTILINE), key
    for paper in ("2506.15153", "2603.21287"):
        assert f"url: https://arxiv.org/abs/{paper}\n" in text


def test_the_tutorial_shows_pictures_that_are_there_and_says_what_reviewers_ask_for():
    path = ROOT / "docs" / "slicer.md"
    text = path.read_text(encoding="utf-8")
    pictures = re.findall(r"\]\((pictures/[^)]+)\)", text)
    assert len(pictures) == 4
    for name in pictures:
        assert (path.parent / name).stat().st_size < 400_000
    for said in ("models remove", "Apache-2.0", "arxiv.org/abs/2506.15153", "not a medical device"):
        assert said in text


def test_every_system_is_tested():
    text = (ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8")
    for system in ("ubuntu-latest", "windows-latest", "macos-latest"):
        assert system in text
    assert "make test" in text
