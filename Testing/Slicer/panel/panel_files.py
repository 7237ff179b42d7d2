"""The files of the panel: its .ui, its code, the parameters that it binds; read without Slicer."""

from __future__ import annotations

import ast
from pathlib import Path

MODULE = Path(__file__).resolve().parents[3] / "FewShotSAM"
UI = MODULE / "Resources" / "UI" / "FewShotSAM.ui"
CODE = [MODULE / "FewShotSAM.py", *sorted((MODULE / "FewShotSAMModule").rglob("*.py"))]
# Dotted names of the parts that have to be imported anew for each stand-in of Qt.
WITH_QT = [
    ".".join(path.relative_to(MODULE).with_suffix("").parts)
    for path in CODE
    if path.stem.endswith("_section") or "\nimport qt\n" in path.read_text(encoding="utf-8")
]


def fields() -> dict[str, str]:
    """Name -> annotation of the parameter class, read without Slicer."""
    path = MODULE / "FewShotSAMModule" / "panel" / "parameters.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    [parameters] = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    return {
        node.target.id: ast.unparse(node.annotation)
        for node in parameters.body
        if isinstance(node, ast.AnnAssign)
    }
