"""What is missing, and what a person is asked: decisions without Qt that import nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from FewShotSAMModule.installation import dependencies
from FewShotSAMModule.installation.dependencies import (
    Missing,
    consent_text,
    missing,
    requirements,
)
from FewShotSAMModule.installation.needed_networks import is_fob_weights

from FewShotSAMLib import InputError
from FewShotSAMLib.weights.catalogue import catalogue
from FewShotSAMLib.weights.store import WeightStore

ROOT = Path(__file__).resolve().parents[3]
EVERYTHING = {
    "torch": "2.7.0+cu126", "scipy": "1.14.0", "safetensors": "0.4.5",
    "pillow": "11.0", "psutil": "6.0", "tqdm": "4.67", "timm": "1.0.9", "hydra-core": "1.3.2",
    "iopath": "0.1.10", "setuptools": "75.0", "wheel": "0.44", "sam2": "1.1.0",
    "segment-anything": "1.0",
}  # fmt: skip


class Python:
    """A Python that has some packages."""

    def __init__(self, **changes: str | None) -> None:
        there = {**EVERYTHING, **{k.replace("_", "-"): v for k, v in changes.items()}}
        self.versions = {name: version for name, version in there.items() if version}
        modules = dependencies._MODULES
        self.modules = {modules.get(name, name) for name in self.versions} | {"torchvision"}

    def missing(self, model: str = "embedded", features=None, **options) -> list[Missing]:
        return list(missing(
            model, features, version=self.versions.get, found=self.modules.__contains__, **options
        ))


@pytest.fixture
def empty(tmp_path) -> WeightStore:
    return WeightStore(tmp_path / "weights")


def test_nothing_where_everything_is_there():
    assert Python().missing() == []
    assert not [one.name for one in missing()], "the tests' own environment has what it needs"


def test_torch_comes_first(empty):
    lacking = Python(torch=None, scipy=None).missing()
    assert [(one.name, one.text) for one in lacking] == [
        ("torch", "torch>=2.2"), ("scipy", "scipy>=1.10")
    ]  # fmt: skip
    assert Python(torch=None).missing("fast", store=empty)[0].text == "torch>=2.6"


@pytest.mark.parametrize(
    ("changes", "model", "name", "why"),
    [
        ({"torch": "2.1.2"}, "embedded", "torch", "2.1.2 is too old"),
        ({"torch": "2.4.0+cpu"}, "fast", "torch", "2.4.0+cpu is too old"),
        ({"scipy": "1.9.3"}, "embedded", "scipy", "1.9.3 is too old"),
        ({"safetensors": None}, "embedded", "safetensors", "needs it"),
        ({"pillow": None}, "embedded", "pillow", "needs it"),
    ],
)
def test_old_and_absent_packages(empty, changes, model, name, why):
    first = Python(**changes).missing(model, store=empty)[0]
    assert (first.name, first.kind) == (name, "package") and why in first.why


def test_versions_are_compared_as_numbers():
    assert Python(scipy="1.10.0rc1").missing() == []
    assert Python(torch="2.10.0").missing() == []


def test_a_module_of_slicers_own_is_taken_as_it_is():
    """Slicer has packages without a record."""
    python = Python()
    del python.versions["scipy"]
    assert python.missing() == []


def test_each_model_asks_for_its_own(empty):
    bare = Python(timm=None, hydra_core=None, sam2=None, segment_anything=None)
    assert bare.missing("embedded") == []

    def names(*model: str) -> list[str]:
        return [one.name for one in bare.missing(*model, store=empty)]

    assert names("fast") == ["hydra-core", "sam2", "timm", "sam2.1-tiny", "dinov2-small"]
    assert names("fast", "none") == ["hydra-core", "sam2", "sam2.1-tiny"]
    assert names("sam-vit-b") == ["segment-anything", "sam-vit-b"]
    assert names("embedded", "dinov2-small") == ["timm", "dinov2-small"]
    for model in catalogue().presets:
        names(model)


@pytest.mark.parametrize(
    ("model", "method", "fob", "weights"),
    [
        ("embedded", "synpo", None, []),
        ("embedded", "fob", None, []),
        ("embedded", "auto", "embedded", []),
        ("embedded", "fob", "fob-ct", ["fob-ct"]),
        ("embedded", "fob", "my fob.safetensors", []),
        ("embedded", "synpo", "fob-ct", []),
        ("fast", "auto", None, ["sam2.1-tiny", "dinov2-small"]),
        ("fob", "synpo", None, ["sam-vit-h"]),
        ("fob", "fob", None, ["sam-vit-h", "fob-ct", "fob-mr"]),
        ("fob", "auto", "fob-mr", ["sam-vit-h", "fob-mr"]),
        ("sam-vit-b", "fob", None, ["sam-vit-b"]),
    ],
)
def test_weights_of_fob_are_for_its_methods(empty, model, method, fob, weights):
    lacking = Python().missing(model, method=method, fob=fob, store=empty)
    assert [one.name for one in lacking] == weights


def test_a_published_checkpoint_of_fob_needs_what_the_public_models_need():
    old = Python(torch="2.4.0")
    assert old.missing(method="fob", fob="mine.safetensors") == []
    assert [one.name for one in old.missing(method="fob", fob="theirs.pth")] == ["torch"]
    assert old.missing(fob="theirs.pth") == [], "not with SynPo alone"


def test_weights_of_fob_are_a_file_or_a_name(tmp_path):
    path = tmp_path / "mine.safetensors"
    assert not is_fob_weights(str(path)) and not is_fob_weights("sam-vit-h")
    path.touch()
    assert is_fob_weights(str(path)) and is_fob_weights("fob-mr") and is_fob_weights("embedded")


def test_torchvision_is_for_models_only(empty):
    python = Python()
    python.modules.remove("torchvision")
    assert python.missing() == []
    assert python.missing("fast", store=empty)[0].why == "torchvision is missing beside it"


def test_unknown_models_are_refused():
    with pytest.raises(InputError, match="'huge'"):
        Python().missing("huge")
    with pytest.raises(InputError, match="'small'"):
        Python().missing("embedded", "small")


def test_weights_that_are_there_are_not_missing(empty):
    path = empty.path("sam2.1-tiny")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"whatever")
    assert [one.name for one in Python().missing("fast", store=empty)] == ["dinov2-small"]


def test_looking_imports_nothing():
    command = (
        "import sys\n"
        "from FewShotSAMModule.installation.dependencies import missing, consent_text\n"
        "consent_text(missing('best'))\n"
        "print(*{'torch', 'scipy', 'sklearn', 'timm', 'slicer', 'vtk'} & set(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", command], cwd=ROOT / "FewShotSAM", capture_output=True, text=True,
        encoding="utf-8", env={**__import__("os").environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert (done.stdout.split(), done.returncode) == ([], 0), done.stdout + done.stderr


def test_requirements_are_ranges_and_leave_slicers_own_alone():
    text = dependencies.REQUIREMENTS.read_text(encoding="utf-8")
    assert "==" not in text and "~=" not in text
    names = [one.name.lower() for group in requirements().values() for one in group]
    assert len(names) == len(set(names))
    assert not {"numpy", "simpleitk", "vtk", "torch", "torchvision"} & set(names)
    assert set(requirements()) == {"all", "sam", "sam2", "dinov2"}


def test_requirements_are_those_of_the_library():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.search(r"^dependencies = \[(.*?)\]\n", project, flags=re.DOTALL | re.MULTILINE)[1]
    declared = set(re.findall(r'"([^"]+)"', listed))
    ours = {one.text for one in requirements()["all"]}
    elsewhere = {"numpy>=1.24", "SimpleITK>=2.3", f"torch>={dependencies.LEAST_TORCH}"}
    elsewhere |= {"filelock>=3.12", "jinja2>=3.1"}  # PyTorch brings them
    # Slicer has the first; it reads files itself, so the panel needs no nibabel.
    elsewhere |= {"pydicom>=2.4", "nibabel>=5.0"}
    elsewhere |= {"surface-distance>=0.1"}  # `fewshotsam evaluate` alone
    assert ours | elsewhere == declared
    extra = re.search(r"^models = \[(.*?)\]\n", project, flags=re.DOTALL | re.MULTILINE)[1]
    models = set(re.findall(r'"([^"]+)"', extra))
    assert f"torch>={dependencies.LEAST_TORCH_FOR_MODELS}" in models
    groups = {one.text for name in ("sam", "sam2", "dinov2") for one in requirements()[name]}
    assert {one for one in models if not one.startswith("torch")} <= groups


def test_a_pin_is_refused(tmp_path):
    path = tmp_path / "requirements.txt"
    path.write_text("scipy==1.10\n", encoding="utf-8")
    with pytest.raises(ValueError, match="scipy==1.10"):
        requirements(path)


def test_the_text_names_everything(empty, tmp_path):
    lacking = Python(torch=None, timm=None).missing("fast", store=empty)
    text = consent_text(lacking, tmp_path)
    for part in ("torch>=2.6", "timm>=1.0", "sam2.1-tiny, 156 MB, Apache-2.0", str(tmp_path),
                 "https://", "SHA-256 7402e0d8", "3 GB"):  # fmt: skip
        assert part in text
    small = consent_text(Python(scipy=None).missing())
    assert "weights" not in small and "3 GB" not in small and "scipy>=1.10" in small
