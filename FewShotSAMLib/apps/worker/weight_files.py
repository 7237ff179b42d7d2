"""Files of weights, fetched and checked for another process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...weights.catalogue import Catalogue, WeightFile
from ...weights.store import WeightStore

# A longer wait between two lines tells a person nothing new, a shorter one costs time.
_EVERY_BYTES = 1 << 20


def weights_header(
    entry: WeightFile, folder: Path, mirror: str = "", source: Path | None = None
) -> dict[str, Any]:
    """What the command "weights" is asked with; see `fetch_weights`."""
    return {
        "entry": asdict(entry),
        "folder": str(folder),
        "mirror": mirror,
        "source": None if source is None else str(source),
    }


def fetch_weights(
    header: Mapping[str, Any],
    progress: Callable[[int, int | None], None],
    tell: Callable[[str], None],
    cancel: threading.Event,
) -> None:
    """Downloads a file of weights, or takes it from a file or folder, and checks it.

    Args:
        header: from `weights_header`: the file's entry in the catalogue, the folder it goes to,
            a mirror's address or "", and where it lies already, or None.
        progress: called with bytes (done, in all).
        tell: called with remarks, one line each.
        cancel: ends a download; what has arrived is kept.

    Raises:
        InputError: it cannot be had, or is another file.
        Cancelled: `cancel` was set.
    """
    from ...segmentation.results import Cancelled
    from ...weights.downloads import DownloadCancelled

    entry = WeightFile(**header["entry"])
    store = WeightStore(Path(header["folder"]), Catalogue({entry.name: entry}, {}), tell=tell)
    if header["source"] is not None:
        store.install(entry.name, Path(header["source"]))
        return
    said = [-_EVERY_BYTES]

    def seldom(done: int, total: int | None) -> None:
        if done - said[0] >= _EVERY_BYTES or done == total:
            said[0] = done
            progress(done, total)

    try:
        store.download(entry.name, mirror=header["mirror"], progress=seldom, cancel=cancel)
    except DownloadCancelled:
        raise Cancelled from None
