"""What the files of the Slicer module import, read from the files: nothing is imported here."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

MODULE = Path(__file__).resolve().parents[3] / "FewShotSAM"
PARTS = sorted((MODULE / "FewShotSAMModule").rglob("*.py"))
FILES = [MODULE / "FewShotSAM.py", *PARTS]

# What Slicer's Python always has. Everything else is imported where it is used, after a person
# has agreed to install it.
ALWAYS_THERE = {"numpy", "vtk", "slicer", "SimpleITK"}
QT = {"qt", "ctk"}
# Importing the library itself is light, and so is all that is said of a volume.
LIGHT = {
    "FewShotSAMLib": {"InputError", "Segment", "Volume"},
    "FewShotSAMLib.prompting.registry": {"METHODS"},
}


def statements(path: Path) -> list[ast.stmt]:
    """What runs when a file is imported; not what is under TYPE_CHECKING."""
    found, waiting = [], list(ast.parse(path.read_text(encoding="utf-8")).body)
    while waiting:
        node = waiting.pop()
        found.append(node)
        typing_only = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if isinstance(node, (ast.If, ast.Try, ast.With, ast.ClassDef)) and not typing_only:
            parts = list(ast.iter_child_nodes(node))
            parts += [s for part in parts if isinstance(part, ast.ExceptHandler) for s in part.body]
            waiting += [part for part in parts if isinstance(part, ast.stmt)]
    return found


def imports(path: Path) -> list[tuple[str, tuple[str, ...]]]:
    """(module, names) of every import at import time; relative ones begin with a dot."""
    found = []
    for node in statements(path):
        if isinstance(node, ast.Import):
            found += [(alias.name, ()) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            name = "." * node.level + (node.module or "")
            found.append((name, tuple(alias.name for alias in node.names)))
    return found


def dotted(path: Path) -> str:
    """The name that a file is imported by."""
    return ".".join(path.relative_to(MODULE).with_suffix("").parts).removesuffix(".__init__")


def own_imports(path: Path) -> set[str]:
    """Dotted names of the module's own files that a file imports."""
    known, found = {dotted(part) for part in PARTS}, set()
    for name, names in imports(path):
        if name.startswith("."):
            level = len(name) - len(name.lstrip("."))
            folder = path.parents[level - 1].relative_to(MODULE)
            name = ".".join([*folder.parts, *filter(None, [name.lstrip(".")])])
        found |= {name, *(f"{name}.{one}" for one in names)} & known
    return found


def uses_qt(path: Path) -> bool:
    return any(name.split(".")[0] in QT for name, _ in imports(path))


@pytest.mark.parametrize("path", FILES, ids=dotted)
def test_nothing_that_has_to_be_installed_is_imported_with_the_module(path):
    for name, names in imports(path):
        top = name.split(".")[0]
        if name.startswith(".") or top in sys.stdlib_module_names | ALWAYS_THERE | QT:
            continue
        assert top in ("FewShotSAMLib", "FewShotSAMModule"), f"{name} at import time"
        if top == "FewShotSAMLib":
            assert name in LIGHT, f"{name}: import it inside of the function"
            assert set(names) <= LIGHT[name], f"{names}: import it inside of the function"


def test_what_needs_no_window_imports_nothing_that_does():
    with_qt = {dotted(path) for path in PARTS if uses_qt(path)}
    # A section is made of widgets, whatever it imports.
    with_qt |= {dotted(path) for path in PARTS if path.stem.endswith("_section")}
    panel = "FewShotSAMModule.panel."
    assert {panel + "panel", panel + "installation_section", panel + "review_section"} <= with_qt
    # Parameters are bound to widgets by Slicer, so they count as the panel.
    with_qt.add(panel + "parameters")
    for path in PARTS:
        if dotted(path) not in with_qt:
            assert not own_imports(path) & with_qt, path.name


def test_the_panel_is_loaded_when_it_is_opened():
    """Slicer imports every module at its start."""
    shell = MODULE / "FewShotSAM.py"
    assert not uses_qt(shell)
    assert own_imports(shell)
    assert not own_imports(shell) & {dotted(path) for path in PARTS if uses_qt(path)}
