"""Installing one thing at a time: PyTorch, a package, a file of weights."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from FewShotSAMLib.weights.store import WeightStore

# What must stay as it is, whatever a package asks for: Slicer is built with them, or they were
# chosen for this machine's GPU.
KEPT = ("numpy", "SimpleITK", "vtk", "torch", "torchvision")
REQUESTER = "FewShotSAM"
_log = logging.getLogger(__name__)


class InstallError(RuntimeError):
    """Something could not be installed. One line: what, why, and what to do about it."""


class InstallCancelled(Exception):
    """A person stopped it. What was installed already stays; going on later starts from there."""


class Step(Protocol):
    """One thing to install.

    Attributes:
        title: for a person, "segment-anything" or "weights of sam2.1-tiny (156 MB)".
        in_background: `run` may be called in another thread; else it wants the main one.
        progress: bytes (done, in all), where they are counted; None in all where not known.
    """

    title: str
    in_background: bool
    progress: tuple[int, int | None] | None

    def run(self) -> None:
        """Installs it. Raises InstallError, or InstallCancelled."""
        ...

    def cancel(self) -> None:
        """Stops it where that can be done in the middle."""
        ...


Pip = Callable[[Sequence[str]], None]
# Takes an entry of the catalogue, a folder, and keywords mirror, source, progress and cancel.
Fetch = Callable[..., None]


def choose_pip(slicer: Any) -> Pip:
    """Slicer's own way to install packages, which shows what it does: `slicer.packaging` (5.11
    and later), else `slicer.util.pip_install`.

    The result is called with pip's arguments, one a string.
    """
    try:
        packaging = importlib.import_module("slicer.packaging")
    except ImportError:
        packaging = None
    if packaging is None:
        return lambda arguments: slicer.util.pip_install(list(arguments))

    def install(arguments: Sequence[str]) -> None:
        packaging.pip_install(list(arguments), requester=REQUESTER)

    return install


class PackageStep:
    """A package by pip.

    Args:
        requirement: such as "scipy>=1.10".
        module: the name it is imported by.
        pip: installs; see `choose_pip`.
        options: further arguments of pip.
        environment: variables for its time.
    """

    in_background = False
    progress = None

    def __init__(
        self,
        requirement: str,
        module: str,
        pip: Pip,
        *,
        options: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.title, self.requirement, self.module = requirement, requirement, module
        self._pip, self._options, self._environment = pip, tuple(options), dict(environment or {})

    def run(self) -> None:
        """Installs it, with what Slicer is built with held as it is."""
        by_hand = f"slicer.util.pip_install({self.requirement!r})"
        try:
            with _variables(self._environment), constraints_file() as constraints:
                self._pip([*self._options, "-c", str(constraints), self.requirement])
        except Exception as problem:
            _log.exception("%s cannot be installed", self.requirement)
            raise InstallError(
                f"{self.requirement}: cannot be installed ({_reason(problem)}); check the network "
                f"and its proxy, see the Python console, or run there: {by_hand}"
            ) from problem
        importlib.invalidate_caches()
        if not is_found(self.module):
            raise InstallError(
                f"{self.requirement}: was installed and is not found; restart Slicer, and if it "
                f"is still missing run in the Python console: {by_hand}"
            )

    def cancel(self) -> None:
        """pip is not stopped in the middle: half a package is worse than one."""


class TorchStep:
    """PyTorch by the PyTorch extension, which chooses the build for this machine's GPU.

    Args:
        least: lowest version.
        logic: makes a `PyTorchUtilsLogic`; by default that of the extension.
    """

    in_background = False
    progress = None

    def __init__(self, least: str, logic: Callable[[], Any] | None = None) -> None:
        self.title = f"PyTorch (torch>={least} and torchvision)"
        self._least, self._logic = least, logic or _torch_logic

    def run(self) -> None:
        """Has the PyTorch extension install it."""
        try:
            found = self._logic().installTorch(
                askConfirmation=False, torchVersionRequirement=f">={self._least}"
            )
        except InstallError:
            raise
        except Exception as problem:
            _log.exception("PyTorch cannot be installed")
            raise InstallError(
                f"PyTorch: cannot be installed ({_reason(problem)}); try it in the module PyTorch "
                "Utils, which shows what is wrong"
            ) from problem
        importlib.invalidate_caches()
        if found is None or not is_found("torch"):
            raise InstallError(
                "PyTorch: was not installed; install it in the module PyTorch Utils, then restart "
                "Slicer"
            )

    def cancel(self) -> None:
        """Not in the middle."""


class WeightsStep:
    """A file of weights from its public address or a mirror.

    Args:
        name: as in the catalogue.
        store: where it goes.
        mirror: address of a mirror, or "".
        fetch: downloads or takes a file in another process, see `runs.weights_fetch`; None does
            it in this one.
    """

    in_background = True

    def __init__(
        self, name: str, store: WeightStore, mirror: str = "", fetch: Fetch | None = None
    ) -> None:
        entry = store.known.weight_file(name)
        self.title = f"weights of {name} ({entry.size_text})"
        self.name = name
        self.progress: tuple[int, int | None] | None = None
        self._store, self._mirror, self._fetch = store, mirror, fetch
        self._cancel = threading.Event()

    def run(self) -> None:
        """Downloads what is not there yet, and checks it."""
        from FewShotSAMLib import InputError
        from FewShotSAMLib.weights.downloads import DownloadCancelled

        asked = {"mirror": self._mirror, "progress": self._tell, "cancel": self._cancel}
        try:
            if self._fetch is None:
                self._store.download(self.name, **asked)
            else:
                self._fetch(self._store.known.weight_file(self.name), self._store.folder, **asked)
        except DownloadCancelled as problem:
            raise InstallCancelled(self.title) from problem
        except (InputError, OSError) as problem:
            raise InstallError(f"weights of {self.name}: {_reason(problem)}") from problem

    def use_file(self, path: Path) -> None:
        """Takes a file that came another way, for places without a network.

        Raises:
            InstallError: it is not the right one.
        """
        from FewShotSAMLib import InputError

        try:
            if self._fetch is None:
                self._store.install(self.name, Path(path))
            else:
                entry = self._store.known.weight_file(self.name)
                self._fetch(entry, self._store.folder, source=Path(path))
        except (InputError, OSError) as problem:
            raise InstallError(f"weights of {self.name}: {_reason(problem)}") from problem

    def cancel(self) -> None:
        """What has arrived stays, and the next download goes on from there."""
        self._cancel.set()

    def _tell(self, done: int, total: int | None) -> None:
        self.progress = done, total


def run_steps(
    steps: Sequence[Step],
    tell: Callable[[str, int, int], None] = lambda title, n, count: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> None:
    """All steps one after the other, for scripts; a panel may call them itself.

    Args:
        tell: called before each with its title, its number from 1, and how many there are.
        cancelled: asked before each.

    Raises:
        InstallError: one failed; those before it are installed.
        InstallCancelled: `cancelled` said so.
    """
    for n, step in enumerate(steps, 1):
        if cancelled():
            raise InstallCancelled(step.title)
        tell(step.title, n, len(steps))
        step.run()


@contextmanager
def constraints_file() -> Iterator[Path]:
    """A file for pip's option -c that holds what must stay at the versions that are there."""
    lines = []
    for name in KEPT:
        try:
            lines.append(f"{name}=={metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "constraints.txt")
        path.write_text("\n".join([*lines, ""]), encoding="utf-8")
        yield path


def is_found(module: str) -> bool:
    """Whether a module can be imported; it is not."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


@contextmanager
def _variables(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _torch_logic() -> Any:
    try:
        module = importlib.import_module("PyTorchUtils")
    except ImportError:
        raise InstallError(
            "PyTorch: the extension PyTorch is not installed; install it in the Extensions "
            "Manager, restart Slicer and try again"
        ) from None
    return module.PyTorchUtilsLogic()


def _reason(problem: BaseException) -> str:
    line = " ".join(str(problem).split())
    return line or type(problem).__name__
