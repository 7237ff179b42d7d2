"""Where downloaded weights lie on this machine, and where they are downloaded from.

Two things can be set, each by an environment variable or in the settings file:

    FEWSHOTSAM_WEIGHTS, "weights": the folder of the weights
    FEWSHOTSAM_MIRROR,  "mirror":  an address under which the weight files lie by their names

The variable wins. The settings file is JSON, `settings.json` in the user's configuration folder
(FEWSHOTSAM_SETTINGS names another), for example

    {"weights": "D:/models", "mirror": "https://files.hospital.example/weights"}
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..data.errors import InputError

WEIGHTS_VARIABLE = "FEWSHOTSAM_WEIGHTS"
MIRROR_VARIABLE = "FEWSHOTSAM_MIRROR"
SETTINGS_VARIABLE = "FEWSHOTSAM_SETTINGS"
_KNOWN = ("weights", "mirror")
_NAME = "fewshotsam"


@dataclass(frozen=True)
class WeightsPlace:
    """What was set, or the conventions of the platform.

    Attributes:
        folder: of the weights; it may not exist yet.
        reason: who says so, for people.
        mirror: base address of a mirror, or "".
        settings: the settings file; it may not exist.
    """

    folder: Path
    reason: str
    mirror: str
    settings: Path


def weights_place(
    environment: Mapping[str, str] | None = None,
    platform: str = sys.platform,
    home: Path | None = None,
) -> WeightsPlace:
    """Where weights lie and come from.

    Args:
        environment: variables; the process's own by default.
        platform: as `sys.platform`.
        home: the user's home folder; looked up by default.

    Raises:
        InputError: the settings file cannot be understood.
    """
    environment = os.environ if environment is None else environment
    home = home or Path.home()
    named = environment.get(SETTINGS_VARIABLE)
    default = _configuration_folder(environment, platform, home) / _NAME / "settings.json"
    settings = Path(named).expanduser() if named else default
    content = _read_settings(settings)
    mirror = environment.get(MIRROR_VARIABLE) or content.get("mirror", "")
    folder, reason = _set_folder(environment, settings, content) or (
        cache_folder(environment, platform, home) / "weights", "the convention of this system"
    )
    return WeightsPlace(folder, reason, mirror, settings)


def _set_folder(
    environment: Mapping[str, str], settings: Path, content: Mapping[str, str]
) -> tuple[Path, str] | None:
    """The folder of the weights and who says so, where somebody does."""
    if environment.get(WEIGHTS_VARIABLE):
        return Path(environment[WEIGHTS_VARIABLE]).expanduser().absolute(), WEIGHTS_VARIABLE
    if content.get("weights"):
        return settings.parent / Path(content["weights"]).expanduser(), str(settings)
    return None


def cache_folder(
    environment: Mapping[str, str] | None = None,
    platform: str = sys.platform,
    home: Path | None = None,
) -> Path:
    """Where this program keeps what it can get or measure again; the folder may not exist yet.

    Args:
        environment, platform, home: as `weights_place`.

    Raises:
        RuntimeError: the user has no home folder.
    """
    environment = os.environ if environment is None else environment
    return _system_cache(environment, platform, home or Path.home()) / _NAME


def _system_cache(environment: Mapping[str, str], platform: str, home: Path) -> Path:
    if platform == "win32":
        return _from_variable(environment, "LOCALAPPDATA") or home / "AppData" / "Local"
    if platform == "darwin":
        return home / "Library" / "Caches"
    return _from_variable(environment, "XDG_CACHE_HOME") or home / ".cache"


def _configuration_folder(environment: Mapping[str, str], platform: str, home: Path) -> Path:
    if platform == "win32":
        return _from_variable(environment, "APPDATA") or home / "AppData" / "Roaming"
    if platform == "darwin":
        return home / "Library" / "Application Support"
    return _from_variable(environment, "XDG_CONFIG_HOME") or home / ".config"


def _from_variable(environment: Mapping[str, str], name: str) -> Path | None:
    """The folder in a variable; a relative one is to be ignored (XDG Base Directory)."""
    folder = Path(environment.get(name, ""))
    return folder if folder.is_absolute() else None


def _read_settings(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    known = ", ".join(_KNOWN)
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as problem:
        raise InputError(f"{path}: not readable as JSON ({problem}); correct it") from None
    if not isinstance(content, dict) or not all(isinstance(v, str) for v in content.values()):
        raise InputError(f"{path}: must be one JSON object of texts; known settings: {known}")
    unknown = sorted(set(content) - set(_KNOWN))
    if unknown:
        raise InputError(f"{path}: unknown setting {unknown[0]!r}; known settings: {known}")
    return content
