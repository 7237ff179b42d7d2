"""FewShotSAM: one marked slice in, an editable segmentation of the whole volume out.

The names below are imported when they are first used, so that ``import FewShotSAMLib`` is quick
and loads neither torch nor SimpleITK.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .version import __version__

_HOME_OF = {
    "InputError": "FewShotSAMLib.data.errors",
    "Segment": "FewShotSAMLib.data.volume",
    "Support": "FewShotSAMLib.data.support",
    "Volume": "FewShotSAMLib.data.volume",
    "load_segmenter": "FewShotSAMLib.segmentation.segmenter",
    "next_to_mark": "FewShotSAMLib.segmentation.next_mark",
    "read_labels": "FewShotSAMLib.data.reading",
    "read_volume": "FewShotSAMLib.data.reading",
    "segment_many": "FewShotSAMLib.apps.batch.many",
    "write_labels": "FewShotSAMLib.data.writing",
    "write_volume": "FewShotSAMLib.data.writing",
}

__all__ = [
    "InputError",
    "Segment",
    "Support",
    "Volume",
    "__version__",
    "load_segmenter",
    "next_to_mark",
    "read_labels",
    "read_volume",
    "segment_many",
    "write_labels",
    "write_volume",
]

if TYPE_CHECKING:
    from .apps.batch.many import segment_many
    from .data.errors import InputError
    from .data.reading import read_labels, read_volume
    from .data.support import Support
    from .data.volume import Segment, Volume
    from .data.writing import write_labels, write_volume
    from .segmentation.next_mark import next_to_mark
    from .segmentation.segmenter import load_segmenter


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
