"""The Slicer extension's files say the same as the tree."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
LIBRARY = ROOT / "FewShotSAMLib"
MODULE = ROOT / "FewShotSAM"


def s4ext() -> dict[str, str]:
    lines = (ROOT / "FewShotSAM.s4ext").read_text(encoding="utf-8").splitlines()
    entries = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    assert all(len(entry) == 2 for entry in entries), entries
    assert len({key for key, _ in entries}) == len(entries), "a key is given twice"
    return dict(entries)


def cmake_variables() -> dict[str, str]:
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    return dict(re.findall(r'^set\(EXTENSION_(\w+) "([^"]+)"\)$', text, flags=re.MULTILINE))


def test_every_python_file_of_the_library_is_installed():
    text = (LIBRARY / "CMakeLists.txt").read_text(encoding="utf-8")
    listed = re.search(r"SCRIPTS\n(.*?)\n  RESOURCES", text, flags=re.DOTALL)[1].split()
    there = [path.relative_to(LIBRARY).as_posix() for path in LIBRARY.rglob("*.py")]
    assert sorted(set(there) - set(listed)) == [], "add these to FewShotSAMLib/CMakeLists.txt"
    assert sorted(set(listed) - set(there)) == [], "these are gone"
    assert len(listed) == len(set(listed))


def test_every_other_file_of_the_library_is_installed():
    text = (LIBRARY / "CMakeLists.txt").read_text(encoding="utf-8")
    listed = re.search(r"\n  RESOURCES\n(.*?)\n  WITH", text, flags=re.DOTALL)[1].split()
    there = [path for path in LIBRARY.rglob("*") if path.is_file()]
    kept = [path for path in there if path.suffix not in (".py", ".pyc", ".txt")]
    assert sorted(listed) == sorted(path.relative_to(LIBRARY).as_posix() for path in kept)
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for path in kept:
        package = ".".join(path.parent.relative_to(ROOT).parts)
        assert f'"{package}" = ["*{path.suffix}"]' in project, f"{path}: not in the wheel"


def test_every_file_of_the_module_is_installed():
    text = (MODULE / "CMakeLists.txt").read_text(encoding="utf-8")
    files = re.search(r"SCRIPTS\n(.*?)\n  RESOURCES\n(.*?)\n  WITH", text, flags=re.DOTALL)
    scripts, resources = files[1].split(), files[2].split()
    there = [path for path in MODULE.rglob("*") if path.is_file()]
    there = [path.relative_to(MODULE).as_posix() for path in there if path.suffix != ".pyc"]
    kept = [name for name in there if name.startswith("Resources/")]
    code = [name for name in there if name.endswith(".py") and name not in kept]
    for listed, found in ((scripts, code), (resources, kept)):
        assert sorted(set(found) - set(listed)) == [], "add these to FewShotSAM/CMakeLists.txt"
        assert sorted(set(listed) - set(found)) == [], "these are gone"
        assert len(listed) == len(set(listed))


def test_both_parts_of_the_extension_are_built():
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    assert re.findall(r"^add_subdirectory\((\w+)\)$", text, flags=re.MULTILINE) == [
        "FewShotSAMLib",
        "FewShotSAM",
    ]


def test_module_has_the_files_that_slicer_looks_for():
    for name in ("FewShotSAM.py", "Resources/UI/FewShotSAM.ui", "Resources/Icons/FewShotSAM.png"):
        assert (MODULE / name).is_file(), name


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("scm", "git"),
        ("depends", "PyTorch"),
        ("build_subdirectory", "."),
        ("category", "Segmentation"),
        ("enabled", "1"),
    ],
)
def test_s4ext_says(key, value):
    assert s4ext()[key] == value


def test_s4ext_has_all_keys_of_the_format():
    assert set(s4ext()) == {
        "scm", "scmurl", "scmrevision", "depends", "build_subdirectory", "homepage",
        "contributors", "category", "iconurl", "status", "description", "screenshoturls",
        "enabled",
    }  # fmt: skip
    assert s4ext()["scmurl"].endswith(".git")


def test_s4ext_and_cmake_agree():
    described, configured = s4ext(), cmake_variables()
    assert set(configured) == {
        "HOMEPAGE", "CATEGORY", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS",
        "DEPENDS",
    }  # fmt: skip
    for name, value in configured.items():
        assert described[name.lower()] == value


def test_pictures_named_by_the_extension_are_in_the_repository():
    for key in ("iconurl", "screenshoturls"):
        for url in s4ext()[key].split():
            assert (ROOT / url.split("/main/", 1)[1]).is_file(), url
