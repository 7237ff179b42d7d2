"""What is missing, what a person is asked, and how it is installed: decisions without Qt, real pip,
a real download."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from FewShotSAMModule import dependencies, install_steps
from FewShotSAMModule.dependencies import Missing, consent_text, missing, requirements, steps
from FewShotSAMModule.install_steps import (
    InstallCancelled,
    InstallError,
    PackageStep,
    TorchStep,
    WeightsStep,
    choose_pip,
    constraints_file,
    run_steps,
)
from FewShotSAMModule.needed_networks import is_fob_weights

from FewShotSAMLib import InputError
from FewShotSAMLib.models.weights import WeightStore
from FewShotSAMLib.models.weights_catalogue import Catalogue, catalogue

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT / "Testing" / "Unit") not in sys.path:
    sys.path.append(str(ROOT / "Testing" / "Unit"))

from file_server import serving  # noqa: E402

EVERYTHING = {
    "torch": "2.7.0+cu126", "scipy": "1.14.0", "scikit-learn": "1.5", "safetensors": "0.4.5",
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


# ---------------------------------------------------------------------------- what is missing


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
        ({"scikit_learn": None}, "embedded", "scikit-learn", "needs it"),
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
        "from FewShotSAMModule.dependencies import missing, consent_text\n"
        "consent_text(missing('best'))\n"
        "print(*{'torch', 'scipy', 'sklearn', 'timm', 'slicer', 'vtk'} & set(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", command], cwd=ROOT / "FewShotSAM", capture_output=True, text=True,
        encoding="utf-8", env={**__import__("os").environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert (done.stdout.split(), done.returncode) == ([], 0), done.stdout + done.stderr


# -------------------------------------------------------------------------- requirements.txt


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
    # Slicer has the first three; it reads files itself, so the panel needs no nibabel.
    elsewhere = {"numpy>=1.24", "SimpleITK>=2.3", "pydicom>=2.4", "nibabel>=5.0",
                 f"torch>={dependencies.LEAST_TORCH}"}  # fmt: skip
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


# ------------------------------------------------------------------------------------ consent


def test_the_text_names_everything(empty, tmp_path):
    lacking = Python(torch=None, timm=None).missing("fast", store=empty)
    text = consent_text(lacking, tmp_path)
    for part in ("torch>=2.6", "timm>=1.0", "sam2.1-tiny, 156 MB, Apache-2.0", str(tmp_path),
                 "https://", "SHA-256 7402e0d8", "3 GB"):  # fmt: skip
        assert part in text
    small = consent_text(Python(scipy=None).missing())
    assert "weights" not in small and "3 GB" not in small and "scipy>=1.10" in small


# ------------------------------------------------------------------------------------ the steps


def wheel(folder: Path, name: str, version: str, needs: str = "") -> Path:
    """A package of one empty module."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    requires = f"Requires-Dist: {needs}\n" if needs else ""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", "")
        archive.writestr(
            f"{info}/METADATA",
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}",
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\n"
            "Tag: py3-none-any\n",
        )  # fmt: skip
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def pip(tmp_path, monkeypatch):
    """The real pip with packages of a folder only, into another."""
    shop, target = tmp_path / "shop", tmp_path / "site"
    shop.mkdir()
    monkeypatch.syspath_prepend(str(target))

    def install(arguments) -> None:
        command = [sys.executable, "-m", "pip", "install", "--no-index", "--find-links", str(shop)]
        subprocess.run(
            [*command, "--target", str(target), "--quiet", *arguments], check=True,
            capture_output=True,
        )  # fmt: skip

    install.shop, install.target = shop, target
    return install


def test_a_package_is_installed(pip):
    wheel(pip.shop, "fss_tiny", "1.4")
    PackageStep("fss-tiny>=1.2", "fss_tiny", pip).run()
    assert (pip.target / "fss_tiny.py").is_file()


def test_a_failure_names_package_reason_and_remedy(pip):
    wheel(pip.shop, "fss_tiny", "1.0")
    with pytest.raises(InstallError) as caught:
        PackageStep("fss-tiny>=1.2", "fss_tiny", pip).run()
    line = str(caught.value)
    for part in ("fss-tiny>=1.2", "exit status 1", "network", "slicer.util.pip_install("):
        assert part in line
    assert "\n" not in line


def test_what_slicer_is_built_with_stays(pip):
    """A package that asks for another numpy is refused, not obeyed."""
    wheel(pip.shop, "fss_greedy", "1.0", needs="numpy<1.0")
    wheel(pip.shop, "numpy", "0.9")
    with pytest.raises(InstallError, match="fss-greedy"):
        PackageStep("fss-greedy>=1.0", "fss_greedy", pip).run()
    assert not (pip.target / "numpy.py").exists()
    with constraints_file() as path:
        kept = path.read_text(encoding="utf-8").splitlines()
    assert any(re.fullmatch(r"numpy==\d.*", line) for line in kept)
    assert not path.exists()


def test_a_package_that_cannot_be_found_afterwards():
    with pytest.raises(InstallError, match="restart Slicer"):
        PackageStep("nothing>=1", "fss_nothing", lambda arguments: None).run()


def test_sam2_brings_no_torch_of_its_own(monkeypatch):
    import os

    seen = []
    lacking = [Missing("sam2", "", "package", "sam2>=1.1")]
    (step,) = steps(lacking, pip=lambda a: seen.append((a, os.environ.get("SAM2_BUILD_CUDA"))))
    monkeypatch.delenv("SAM2_BUILD_CUDA", raising=False)
    monkeypatch.setattr(install_steps, "is_found", lambda module: module == "sam2")
    step.run()
    arguments, variable = seen[0]
    assert {"--no-deps", "--no-build-isolation"} <= set(arguments) and arguments[-1] == "sam2>=1.1"
    assert variable == "0" and "SAM2_BUILD_CUDA" not in os.environ


def test_torch_comes_from_the_pytorch_extension(monkeypatch):
    asked = []
    logic = SimpleNamespace(installTorch=lambda **options: asked.append(options) or object())
    (step,) = steps([Missing("torch", "", "package", "torch>=2.6")], torch_logic=lambda: logic)
    step.run()
    assert asked == [{"askConfirmation": False, "torchVersionRequirement": ">=2.6"}]
    assert "2.6" in step.title


def test_torch_without_its_extension():
    with pytest.raises(InstallError, match="Extensions Manager"):
        TorchStep("2.2").run()


@pytest.mark.parametrize("outcome", [None, RuntimeError("no space left\non device")])
def test_torch_that_does_not_come(outcome):
    def install(**_):
        if outcome is None:
            return None
        raise outcome

    with pytest.raises(InstallError) as caught:
        TorchStep("2.2", lambda: SimpleNamespace(installTorch=install)).run()
    assert "PyTorch Utils" in str(caught.value) and "\n" not in str(caught.value)


def test_slicers_way_to_install(monkeypatch):
    """`slicer.packaging` where there is one, else `slicer.util`."""
    seen = []
    old = SimpleNamespace(util=SimpleNamespace(pip_install=lambda a: seen.append(("old", a))))
    monkeypatch.setitem(sys.modules, "slicer.packaging", None)
    choose_pip(old)(["-c", "file", "scipy>=1.10"])
    new = SimpleNamespace(pip_install=lambda a, requester: seen.append((requester, a)))
    monkeypatch.setitem(sys.modules, "slicer", SimpleNamespace(packaging=new))
    monkeypatch.setitem(sys.modules, "slicer.packaging", new)
    choose_pip(old)(["scipy>=1.10"])
    assert seen == [("old", ["-c", "file", "scipy>=1.10"]), ("FewShotSAM", ["scipy>=1.10"])]


# ---------------------------------------------------------------------------------- weights


def small_store(folder: Path, url: str, content: bytes) -> WeightStore:
    entry = replace(
        catalogue().weight_file("sam2.1-tiny"), url=f"{url}/tiny.pt", size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )  # fmt: skip
    return WeightStore(folder, Catalogue({entry.name: entry}, {}))


def test_weights_are_downloaded(tmp_path):
    content = bytes(range(256)) * 500
    with serving() as server:
        server.files["/tiny.pt"] = content
        store = small_store(tmp_path, server.url, content)
        lacking = [Missing("sam2.1-tiny", "", "weights", "")]
        (step,) = steps(lacking, store=store)
        assert step.in_background and step.progress is None
        step.run()
    assert store.is_checked("sam2.1-tiny")
    assert step.progress == (len(content), len(content))


def test_a_failed_download_says_how_to_go_on(tmp_path):
    with serving() as server:
        store = small_store(tmp_path, server.url, b"some")
        with pytest.raises(InstallError) as caught:
            WeightsStep("sam2.1-tiny", store).run()
    line = str(caught.value)
    assert server.url in line and "SHA-256" in line and "\n" not in line
    assert not store.is_present("sam2.1-tiny")


def test_a_cancelled_download(tmp_path):
    content = bytes(100_000)
    with serving() as server:
        server.files["/tiny.pt"] = content
        store = small_store(tmp_path, server.url, content)
        step = WeightsStep("sam2.1-tiny", store)
        step.cancel()
        with pytest.raises(InstallCancelled):
            step.run()
        assert not store.is_present("sam2.1-tiny")
        WeightsStep("sam2.1-tiny", store).run()
    assert store.is_checked("sam2.1-tiny")


def test_weights_from_a_file(tmp_path):
    content = b"weights from a stick"
    store = small_store(tmp_path / "weights", "http://127.0.0.1:9", content)
    (tmp_path / "brought.pt").write_bytes(content)
    (tmp_path / "wrong.pt").write_bytes(content[::-1])
    step = WeightsStep("sam2.1-tiny", store)
    with pytest.raises(InstallError, match="wrong.pt"):
        step.use_file(tmp_path / "wrong.pt")
    step.use_file(tmp_path / "brought.pt")
    assert store.is_checked("sam2.1-tiny")


# ------------------------------------------------------------------------- one after the other


def test_cancelled_between_two_steps_and_taken_up_again(pip):
    wheel(pip.shop, "fss_one", "1.0")
    wheel(pip.shop, "fss_two", "1.0")
    lacking = [
        Missing("fss_one", "", "package", "fss_one>=1.0"),
        Missing("fss_two", "", "package", "fss_two>=1.0"),
    ]
    told = []

    def tell(title: str, number: int, count: int) -> None:
        told.append((title, number, count))

    with pytest.raises(InstallCancelled, match="fss_two"):
        run_steps(steps(lacking, pip=pip), tell, cancelled=lambda: bool(told))
    assert (pip.target / "fss_one.py").is_file() and not (pip.target / "fss_two.py").exists()
    run_steps(steps(lacking[1:], pip=pip), tell)
    assert (pip.target / "fss_two.py").is_file()
    assert told == [("fss_one>=1.0", 1, 2), ("fss_two>=1.0", 1, 1)]
