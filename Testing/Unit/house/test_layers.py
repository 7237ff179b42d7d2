"""Imports point one way, help is quick, and what is imported is declared."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
LIBRARY = ROOT / "FewShotSAMLib"
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
DISTRIBUTION = {
    "dicomweb_client": "dicomweb-client",
    "sklearn": "scikit-learn",
    "PIL": "pillow",
    "segment_anything": "segment-anything",
    "hydra": "hydra-core",
    "skimage": "scikit-image",
    "surface_distance": "surface-distance",
}
# Offered as extras and imported where they are used.
OPTIONAL = {
    "torchvision",
    "dicomweb-client",
    "requests",
    "timm",
    "segment-anything",
    "sam2",
    "hydra-core",
    "omegaconf",
    "highdicom",
    "scikit-image",
    "pydicom",
    "dask",
    "distributed",
    "radiomics",
}


def listed(name: str) -> list[str]:
    """The strings of a list in pyproject.toml."""
    body = re.search(rf"^{name} = \[(.*?)\]\n", PROJECT, flags=re.DOTALL | re.MULTILINE)[1]
    return re.findall(r'"([^"]+)"', body)


def imported_packages(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


def test_import_contracts_hold():
    command = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"
    done = subprocess.run(
        [sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_the_library_imports_is_declared():
    declared = {re.split(r"[<>=;\[ ]", entry)[0] for entry in listed("dependencies")} | OPTIONAL
    for path in sorted(LIBRARY.rglob("*.py")):
        foreign = imported_packages(path) - set(sys.stdlib_module_names) - {"FewShotSAMLib"}
        missing = {DISTRIBUTION.get(name, name) for name in foreign} - declared
        assert not missing, f"{path}: {missing}"


def test_every_package_is_in_the_wheel():
    folders = {path.parent for path in LIBRARY.rglob("*.py")}
    names = {folder.relative_to(ROOT).as_posix().replace("/", ".") for folder in folders}
    assert names | {"FewShotSAMLib.Resources"} == set(listed("packages"))


def test_help_and_the_package_itself_load_nothing_heavy():
    command = (
        "import sys, FewShotSAMLib\n"
        "from FewShotSAMLib.apps.main import command_parser\n"
        "command_parser().format_help()\n"
        "print(*{'torch', 'numpy', 'scipy', 'SimpleITK', 'tqdm', 'PIL'} & set(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, encoding="utf-8"
    )
    assert done.stdout.split() == [], done.stdout
    assert done.returncode == 0, done.stderr
