"""What a model needs that is not there yet: found without importing anything, told in one text."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .needed_networks import needed_networks, package_group, reads_checkpoint
from .steps import Fetch, PackageStep, Pip, Step, TorchStep, WeightsStep, choose_pip, is_found

if TYPE_CHECKING:
    from FewShotSAMLib.weights.store import WeightStore

REQUIREMENTS = Path(__file__).resolve().parents[2] / "Resources" / "requirements.txt"
# The library by itself keeps to what Intel Macs have; the public models' checkpoints are read by
# later versions only.
LEAST_TORCH, LEAST_TORCH_FOR_MODELS = "2.2", "2.6"

PACKAGE, WEIGHTS = "package", "weights"
# Where the name to import is another than that of the package.
_MODULES = {
    "pillow": "PIL",
    "segment-anything": "segment_anything",
    "hydra-core": "hydra",
}
# sam2 asks for a compiler and a PyTorch of its own, unless it is told not to.
_PIP_OPTIONS = {"sam2": ("--no-build-isolation", "--no-deps")}
_ENVIRONMENT = {"sam2": {"SAM2_BUILD_CUDA": "0"}}
_LINE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:>=\s*([0-9.]+))?(?:\s*,\s*<\s*([0-9.]+))?$")


@dataclass(frozen=True)
class Requirement:
    """A line of requirements.txt.

    Attributes:
        name: of the package; module: what it is imported by.
        least: lowest version, or "".
        below: version it must stay below, or "".
        text: the line.
    """

    name: str
    module: str
    least: str
    below: str
    text: str


@dataclass(frozen=True)
class Missing:
    """Something to install or download.

    Attributes:
        name: "torch", "safetensors", "sam2.1-tiny".
        why: what it is for, or what is wrong with what is there.
        kind: "package" or "weights".
        text: requirement of a package, "scipy>=1.10"; size and licence of weights.
        address: where weights come from; "" where only a person can bring them.
        sha256: of weights, "" where nobody published it.
    """

    name: str
    why: str
    kind: str
    text: str
    address: str = ""
    sha256: str = ""


def missing(
    model: str = "embedded",
    features: str | None = None,
    *,
    method: str = "synpo",
    fob: str | None = None,
    store: WeightStore | None = None,
    version: Callable[[str], str | None] | None = None,
    found: Callable[[str], bool] = is_found,
) -> tuple[Missing, ...]:
    """What a model needs and this Python has not got, in the order to install it. Quick: nothing
    is imported and no file is read.

    Args:
        model, features, method, fob: as for `FewShotSAMLib.load_segmenter`.
        store: the weight files; the user's own by default.
        version: installed version of a package, None where there is none.
        found: whether a module can be imported.

    Raises:
        InputError: the model or the features are not known.
    """
    version = version or installed_version
    networks = needed_networks(model, features, method, fob)
    public = bool(networks) or reads_checkpoint(method, fob)
    groups = ("all", *(package_group(name) for name in networks))
    wanted = [one for group in dict.fromkeys(groups) for one in requirements().get(group, ())]
    lacking = [_torch(public, version, found)]
    lacking += [_package(one, model, version, found) for one in wanted]
    if networks:
        lacking += _weights(networks, store)
    return tuple(one for one in lacking if one is not None)


def consent_text(lacking: Sequence[Missing], folder: Path | None = None) -> str:
    """What a person is asked before anything is installed or downloaded; several lines.

    Args:
        lacking: from `missing`.
        folder: where weights go; the user's own folder by default.
    """
    packages = [one for one in lacking if one.kind == PACKAGE]
    weights = [one for one in lacking if one.kind == WEIGHTS]
    lines = []
    if packages:
        lines += ["These Python packages are installed into this Slicer:"]
        lines += [f"- {one.text} ({one.why})" for one in packages]
        if any(one.name == "torch" for one in packages):
            lines += ["PyTorch is large: up to 3 GB with support for an NVIDIA card."]
    if weights:
        if packages:
            lines.append("")
        lines += [f"These weights are downloaded to {folder or _weights_folder()}:"]
        lines += [line for one in weights for line in _weight_lines(one)]
    lines += ["", "Nothing of your images leaves this computer. It can be cancelled between two "
              "steps and taken up again later."]  # fmt: skip
    return "\n".join(lines)


def _weight_lines(one: Missing) -> list[str]:
    lines = [f"- {one.name}, {one.text}"]
    lines.append(f"  from {one.address}" if one.address else f"  {one.why}")
    return [*lines, f"  SHA-256 {one.sha256}"] if one.sha256 else lines


def steps(
    lacking: Sequence[Missing],
    *,
    pip: Pip | None = None,
    torch_logic: Callable[[], Any] | None = None,
    store: WeightStore | None = None,
    fetch: Fetch | None = None,
) -> list[Step]:
    """One step for each thing that is missing, to be run in this order.

    Args:
        lacking: from `missing`; after a failure or a cancel, ask again: what is there is left out.
        pip, torch_logic, store: for tests; by default Slicer's, the PyTorch extension's and the
            user's own.
        fetch: see `WeightsStep`.
    """

    def step(one: Missing) -> Step:
        if one.kind == WEIGHTS:
            return WeightsStep(one.name, store or _store(), _mirror(), fetch)
        if one.name == "torch":
            return TorchStep(one.text.partition(">=")[2], torch_logic)
        return _package_step(one, pip or _slicer_pip())

    return [step(one) for one in lacking]


def _package_step(one: Missing, pip: Pip) -> Step:
    options, environment = _PIP_OPTIONS.get(one.name, ()), _ENVIRONMENT.get(one.name)
    module = _MODULES.get(one.name, one.name)
    return PackageStep(one.text, module, pip, options=options, environment=environment)


def requirements(path: Path = REQUIREMENTS) -> Mapping[str, tuple[Requirement, ...]]:
    """The lines of requirements.txt by the group they stand under: "all", "sam", "sam2",
    "dinov2".

    Raises:
        ValueError: a line that is no range.
    """
    groups: dict[str, list[Requirement]] = {}
    group = "all"
    for line in path.read_text(encoding="utf-8").splitlines():
        text = line.strip()
        if heading := re.fullmatch(r"# for (\S+):", text):
            group = heading[1]
        if not text or text.startswith("#"):
            continue
        parts = _LINE.match(text)
        if parts is None:
            raise ValueError(f"{path.name}: {text!r} is no package with a range of versions")
        name, least, below = parts[1], parts[2] or "", parts[3] or ""
        module = _MODULES.get(name, name)
        groups.setdefault(group, []).append(Requirement(name, module, least, below, text))
    return {name: tuple(lines) for name, lines in groups.items()}


def installed_version(package: str) -> str | None:
    """Of a package, None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: "2.10.1+cu126" -> (2, 10, 1)."""
    parts = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(n) for n in parts[0].split(".")) if parts else ()


def _torch(
    models: bool, version: Callable[[str], str | None], found: Callable[[str], bool]
) -> Missing | None:
    least = LEAST_TORCH_FOR_MODELS if models else LEAST_TORCH
    have = version("torch")
    text = f"torch>={least}"
    if have is None or not found("torch"):
        return Missing("torch", "computes the networks", PACKAGE, text)
    if numbers(have) < numbers(least):
        return Missing("torch", f"version {have} is too old", PACKAGE, text)
    if models and not found("torchvision"):
        return Missing("torch", "torchvision is missing beside it", PACKAGE, text)
    return None


def _package(
    one: Requirement,
    model: str,
    version: Callable[[str], str | None],
    found: Callable[[str], bool],
) -> Missing | None:
    have = version(one.name)
    if not found(one.module):
        return Missing(one.name, f"the model {model} needs it", PACKAGE, one.text)
    # A module without a package's record was put there by Slicer, which knows what it does.
    if have is not None and one.least and numbers(have) < numbers(one.least):
        return Missing(one.name, f"version {have} is too old", PACKAGE, one.text)
    if have is not None and one.below and numbers(have) >= numbers(one.below):
        return Missing(one.name, f"version {have} is too new", PACKAGE, one.text)
    return None


def _weights(networks: Sequence[str], store: WeightStore | None) -> list[Missing]:
    store = store or _store()
    mirror = _mirror()
    lacking = []
    for name in networks:
        if store.is_present(name):
            continue
        entry = store.known.weight_file(name)
        address = entry.address(mirror)
        why = entry.purpose if address else f"get {entry.file} by hand, see {entry.source}"
        lacking.append(
            Missing(
                name, why, WEIGHTS, f"{entry.size_text}, {entry.licence_text}", address,
                entry.sha256,
            )  # fmt: skip
        )
    return lacking


def _store() -> WeightStore:
    from FewShotSAMLib.weights.store import WeightStore

    return WeightStore()


def _weights_folder() -> Path:
    from FewShotSAMLib.weights.folder import weights_place

    return weights_place().folder


def _mirror() -> str:
    from FewShotSAMLib.weights.folder import weights_place

    return weights_place().mirror


def _slicer_pip() -> Pip:
    import slicer

    return choose_pip(slicer)
