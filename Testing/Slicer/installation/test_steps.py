"""How things are installed: the real pip from a folder, the PyTorch extension, a real download."""

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
from FewShotSAMModule.installation import steps as install_steps
from FewShotSAMModule.installation.dependencies import (
    Missing,
    steps,
)
from FewShotSAMModule.installation.steps import (
    InstallCancelled,
    InstallError,
    PackageStep,
    TorchStep,
    WeightsStep,
    choose_pip,
    constraints_file,
    run_steps,
)

from FewShotSAMLib.weights.catalogue import Catalogue, catalogue
from FewShotSAMLib.weights.store import WeightStore

ROOT = Path(__file__).resolve().parents[3]
if str(ROOT / "Testing" / "Unit") not in sys.path:
    sys.path.append(str(ROOT / "Testing" / "Unit"))

from file_server import serving  # noqa: E402


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
